"""The host's own: its network interfaces, devices, secrets, and rules for traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import NotFound
from polyvisor.model import InterfaceSpec, NwFilterSpec, SecretSpec
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.objects import (
    counted,
    filtered,
    key_of,
    named,
    reference,
)
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.driver import Interfaces, NodeDevices, NwFilters, Secrets
    from polyvisor.objects import ObjectSummary
    from polyvisor_remote.server.session import Session

#: ``virConnectListAllInterfacesFlags``: inactive and active, as networks have them.
_INTERFACES = 3
#: ``virConnectListAllNodeDeviceFlags``: kinds of device, one bit each.
_KINDS = (
    "system", "pci", "usb_device", "usb", "net", "scsi_host", "scsi_target", "scsi", "storage",
    "fc_host", "vports", "scsi_generic", "drm", "mdev_types", "mdev", "ccw", "css", "vdpa",
    "ap_card", "ap_queue", "ap_matrix", "vpd",
)  # fmt: skip
_DEVICE_STATES = 15 << 28
#: ``virSecretUsageType``.
_USAGES = ("none", "volume", "ceph", "iscsi", "tls", "vtpm")
# virConnectListAllSecretsFlags
_EPHEMERAL, _NO_EPHEMERAL, _PRIVATE, _NO_PRIVATE = 1, 2, 4, 8

# --- interfaces --------------------------------------------------------------------------------


def _interfaces(session: Session, procedure: str) -> Interfaces:
    return need(session.driver.interfaces, procedure)


def _interface(part: Interfaces, one: ObjectSummary) -> tuple[str, str]:
    return one.name, part.mac(one.key) or ""


@serves("connect_list_all_interfaces")
def list_all_interfaces(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    part = _interfaces(session, "connect_list_all_interfaces")
    found = [_interface(part, one) for one in filtered(part.summaries(), arguments.flags)]
    return counted(found, arguments, _INTERFACES, "connect_list_all_interfaces")


@serves("connect_num_of_interfaces")
def num_of_interfaces(session: Session, arguments: Any) -> tuple[int]:
    """Count the active ones."""
    found = _interfaces(session, "connect_num_of_interfaces").summaries()
    return (sum(one.active for one in found),)


@serves("connect_list_interfaces")
def list_interfaces(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the active ones."""
    found = _interfaces(session, "connect_list_interfaces").summaries()
    return (named(found, arguments.maxnames, active=True),)


@serves("connect_num_of_defined_interfaces")
def num_of_defined_interfaces(session: Session, arguments: Any) -> tuple[int]:
    """Count the inactive ones."""
    found = _interfaces(session, "connect_num_of_defined_interfaces").summaries()
    return (sum(not one.active for one in found),)


@serves("connect_list_defined_interfaces")
def list_defined_interfaces(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the inactive ones."""
    found = _interfaces(session, "connect_list_defined_interfaces").summaries()
    return (named(found, arguments.maxnames, active=False),)


@serves("interface_lookup_by_name")
def interface_lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    part = _interfaces(session, "interface_lookup_by_name")
    return (_interface(part, part.by_name(arguments.name)),)


@serves("interface_lookup_by_mac_string")
def interface_lookup_by_mac(session: Session, arguments: Any) -> tuple[Any]:
    """Find the one with a MAC address."""
    part = _interfaces(session, "interface_lookup_by_mac_string")
    found = part.by_mac(arguments.mac)
    if not found:
        raise NotFound(f"no interface with matching mac '{arguments.mac}'", kind="interface")
    if len(found) > 1:
        raise Failure(63, "multiple interfaces with matching MAC address")
    return (_interface(part, found[0]),)


@serves("interface_get_xml_desc")
def interface_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return its definition."""
    check_flags(arguments.flags, 1, "virInterfaceGetXMLDesc")
    part = _interfaces(session, "interface_get_xml_desc")
    return (part.xml(arguments.iface.name, inactive=bool(arguments.flags)),)


@serves("interface_define_xml", slow=True)
def interface_define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    check_flags(arguments.flags, 1, "virInterfaceDefineXML")
    part = _interfaces(session, "interface_define_xml")
    key = part.define(InterfaceSpec.from_xml(arguments.xml))
    return (_interface(part, part.get(key)),)


@serves("interface_undefine", slow=True)
def interface_undefine(session: Session, arguments: Any) -> None:
    """Forget a definition."""
    _interfaces(session, "interface_undefine").undefine(arguments.iface.name)


@serves("interface_create", slow=True)
def interface_create(session: Session, arguments: Any) -> None:
    """Bring one up."""
    check_flags(arguments.flags, 0, "virInterfaceCreate")
    _interfaces(session, "interface_create").start(arguments.iface.name)


@serves("interface_destroy", slow=True)
def interface_destroy(session: Session, arguments: Any) -> None:
    """Take one down."""
    check_flags(arguments.flags, 0, "virInterfaceDestroy")
    _interfaces(session, "interface_destroy").destroy(arguments.iface.name)


@serves("interface_is_active")
def interface_is_active(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is up."""
    part = _interfaces(session, "interface_is_active")
    return (int(part.get(arguments.iface.name).active),)


# --- devices -----------------------------------------------------------------------------------


def _devices(session: Session, procedure: str) -> NodeDevices:
    return need(session.driver.node_devices, procedure)


def _of_kind(part: NodeDevices, kind: str | None) -> Sequence[ObjectSummary]:
    found = part.summaries()
    return found if kind is None else [
        one for one in found if kind in part.capabilities(one.key)
    ]  # fmt: skip


@serves("connect_list_all_node_devices")
def list_all_node_devices(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those of the kinds that flags choose."""
    part = _devices(session, "connect_list_all_node_devices")
    wanted = {name for bit, name in enumerate(_KINDS) if arguments.flags & 1 << bit}
    found = [
        (one.name,)
        for one in part.summaries()
        if not wanted or wanted.intersection(part.capabilities(one.key))
    ]
    known = (1 << len(_KINDS)) - 1 | _DEVICE_STATES
    return counted(found, arguments, known, "connect_list_all_node_devices")


@serves("node_num_of_devices")
def node_num_of_devices(session: Session, arguments: Any) -> tuple[int]:
    """Count those of a kind."""
    check_flags(arguments.flags, 0, "virNodeNumOfDevices")
    return (len(_of_kind(_devices(session, "node_num_of_devices"), arguments.cap)),)


@serves("node_list_devices")
def node_list_devices(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name those of a kind."""
    check_flags(arguments.flags, 0, "virNodeListDevices")
    found = _of_kind(_devices(session, "node_list_devices"), arguments.cap)
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@serves("node_device_lookup_by_name")
def node_device_lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    part = _devices(session, "node_device_lookup_by_name")
    return ((part.by_name(arguments.name).name,),)


@serves("node_device_get_xml_desc")
def node_device_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return its description."""
    check_flags(arguments.flags, 1, "virNodeDeviceGetXMLDesc")
    return (_devices(session, "node_device_get_xml_desc").xml(arguments.name),)


@serves("node_device_get_parent")
def node_device_get_parent(session: Session, arguments: Any) -> tuple[str | None]:
    """Name the device that it hangs on."""
    return (_devices(session, "node_device_get_parent").parent(arguments.name),)


@serves("node_device_num_of_caps")
def node_device_num_of_caps(session: Session, arguments: Any) -> tuple[int]:
    """Count what it is."""
    part = _devices(session, "node_device_num_of_caps")
    return (len(part.capabilities(arguments.name)),)


@serves("node_device_list_caps")
def node_device_list_caps(session: Session, arguments: Any) -> tuple[list[str]]:
    """Say what it is."""
    part = _devices(session, "node_device_list_caps")
    return (list(part.capabilities(arguments.name))[: max(0, arguments.maxnames)],)


@serves("node_device_is_active")
def node_device_is_active(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is there."""
    return (int(_devices(session, "node_device_is_active").get(arguments.name).active),)


@serves("node_device_is_persistent")
def node_device_is_persistent(session: Session, arguments: Any) -> tuple[int]:
    """Say whether its definition outlasts it."""
    part = _devices(session, "node_device_is_persistent")
    return (int(part.get(arguments.name).persistent),)


@serves("node_device_get_autostart")
def node_device_get_autostart(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is made with the host's start."""
    part = _devices(session, "node_device_get_autostart")
    return (int(part.get(arguments.name).autostart),)


# --- secrets -----------------------------------------------------------------------------------


def _secrets(session: Session, procedure: str) -> Secrets:
    return need(session.driver.secrets, procedure)


def _spec(part: Secrets, key: str) -> SecretSpec:
    return SecretSpec.from_xml(part.xml(key))


def secret_reference(part: Secrets, key: str) -> tuple[bytes, int, str]:
    """Return a secret as clients know it: UUID, and what it is for."""
    spec = _spec(part, key)
    usage = spec.usage
    kind = _USAGES.index(usage.type) if usage is not None else 0
    return UUID(key).bytes, kind, (usage.id or "") if usage is not None else ""


@serves("connect_list_all_secrets")
def list_all_secrets(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    part = _secrets(session, "connect_list_all_secrets")
    flags = arguments.flags
    found = []
    for one in part.summaries():
        spec = _spec(part, one.key)
        passes = [
            yes if value else no
            for yes, no, value in (
                (_EPHEMERAL, _NO_EPHEMERAL, spec.ephemeral),
                (_PRIVATE, _NO_PRIVATE, spec.private),
            )
            if flags & (yes | no)
        ]
        if all(flags & bit for bit in passes):
            found.append(secret_reference(part, one.key))
    return counted(found, arguments, 15, "connect_list_all_secrets")


@serves("connect_num_of_secrets")
def num_of_secrets(session: Session, arguments: Any) -> tuple[int]:
    """Count them."""
    return (len(_secrets(session, "connect_num_of_secrets").summaries()),)


@serves("connect_list_secrets")
def list_secrets(session: Session, arguments: Any) -> tuple[list[str]]:
    """Return their UUIDs as text."""
    found = _secrets(session, "connect_list_secrets").summaries()
    return ([one.key for one in found][: max(0, arguments.maxuuids)],)


@serves("secret_lookup_by_uuid")
def secret_lookup_by_uuid(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its UUID."""
    part = _secrets(session, "secret_lookup_by_uuid")
    key = str(UUID(bytes=arguments.uuid))
    try:
        return (secret_reference(part, part.get(key).key),)
    except NotFound as error:
        raise NotFound(f"no secret with matching uuid '{key}'", kind="secret") from error


@serves("secret_lookup_by_usage")
def secret_lookup_by_usage(session: Session, arguments: Any) -> tuple[Any]:
    """Find the one for a use."""
    part = _secrets(session, "secret_lookup_by_usage")
    kind, usage = arguments.usageType, arguments.usageID
    try:
        if not 0 < kind < len(_USAGES):
            raise NotFound(f"no use has the number {kind}", kind="secret")
        return (secret_reference(part, part.by_usage(_USAGES[kind], usage).key),)
    except NotFound as error:
        raise NotFound(f"no secret with matching usage '{usage}'", kind="secret") from error


@serves("secret_define_xml", slow=True)
def secret_define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    check_flags(arguments.flags, 1, "virSecretDefineXML")
    part = _secrets(session, "secret_define_xml")
    return (secret_reference(part, part.define(SecretSpec.from_xml(arguments.xml))),)


@serves("secret_get_xml_desc")
def secret_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition, in which no value stands."""
    check_flags(arguments.flags, 0, "virSecretGetXMLDesc")
    return (_secrets(session, "secret_get_xml_desc").xml(key_of(arguments.secret)),)


@serves("secret_set_value", slow=True)
def secret_set_value(session: Session, arguments: Any) -> None:
    """Give one a value."""
    check_flags(arguments.flags, 0, "virSecretSetValue")
    part = _secrets(session, "secret_set_value")
    part.set_value(key_of(arguments.secret), arguments.value)


@serves("secret_get_value")
def secret_get_value(session: Session, arguments: Any) -> tuple[bytes]:
    """Return the value of one that is not private."""
    check_flags(arguments.flags, 0, "virSecretGetValue")
    part = _secrets(session, "secret_get_value")
    key = key_of(arguments.secret)
    if _spec(part, key).private:
        raise Failure(73, "secret is private")
    return (part.value(key),)


@serves("secret_undefine", slow=True)
def secret_undefine(session: Session, arguments: Any) -> None:
    """Forget one and its value."""
    _secrets(session, "secret_undefine").undefine(key_of(arguments.secret))


# --- rules for traffic -------------------------------------------------------------------------


def _filters(session: Session, procedure: str) -> NwFilters:
    return need(session.driver.nwfilters, procedure)


@serves("connect_list_all_nwfilters")
def list_all_nwfilters(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return them."""
    found = _filters(session, "connect_list_all_nwfilters").summaries()
    return counted(list(map(reference, found)), arguments, 0, "connect_list_all_nwfilters")


@serves("connect_num_of_nwfilters")
def num_of_nwfilters(session: Session, arguments: Any) -> tuple[int]:
    """Count them."""
    return (len(_filters(session, "connect_num_of_nwfilters").summaries()),)


@serves("connect_list_nwfilters")
def list_nwfilters(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name them."""
    found = _filters(session, "connect_list_nwfilters").summaries()
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@serves("nwfilter_lookup_by_name")
def nwfilter_lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    return (reference(_filters(session, "nwfilter_lookup_by_name").by_name(arguments.name)),)


@serves("nwfilter_lookup_by_uuid")
def nwfilter_lookup_by_uuid(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its UUID."""
    key = str(UUID(bytes=arguments.uuid))
    return (reference(_filters(session, "nwfilter_lookup_by_uuid").get(key)),)


@serves("nwfilter_get_xml_desc")
def nwfilter_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition."""
    check_flags(arguments.flags, 0, "virNWFilterGetXMLDesc")
    return (_filters(session, "nwfilter_get_xml_desc").xml(key_of(arguments.nwfilter)),)


def _define_filter(session: Session, xml: str, procedure: str) -> tuple[Any]:
    part = _filters(session, procedure)
    return (reference(part.get(part.define(NwFilterSpec.from_xml(xml)))),)


@serves("nwfilter_define_xml", slow=True)
def nwfilter_define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    return _define_filter(session, arguments.xml, "nwfilter_define_xml")


@serves("nwfilter_define_xml_flags", slow=True)
def nwfilter_define_xml_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition; every one is validated."""
    check_flags(arguments.flags, 1, "virNWFilterDefineXMLFlags")
    return _define_filter(session, arguments.xml, "nwfilter_define_xml_flags")


@serves("nwfilter_undefine", slow=True)
def nwfilter_undefine(session: Session, arguments: Any) -> None:
    """Forget a definition."""
    _filters(session, "nwfilter_undefine").undefine(key_of(arguments.nwfilter))
