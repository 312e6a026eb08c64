"""Families of a server's host objects: networks, interfaces, devices, secrets, filters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from polyvisor.driver import (
    Interfaces,
    Networks,
    NodeDevices,
    NwFilters,
    Secrets,
    StartedObjects,
)
from polyvisor.errors import NotFound, PolyvisorError
from polyvisor.objects import DhcpLease, ObjectSummary

if TYPE_CHECKING:
    from polyvisor.model import (  # noqa: F401 - the bases below name them
        InterfaceSpec,
        NetworkSpec,
        NodeDeviceSpec,
        NwFilterSpec,
        SecretSpec,
    )
    from polyvisor.model.document import Document
    from polyvisor_remote.client.driver import RemoteDriver

    _S = TypeVar("_S", bound=Document)
else:
    _S = TypeVar("_S")

__all__ = [
    "RemoteInterfaces",
    "RemoteNetworks",
    "RemoteNodeDevices",
    "RemoteNwFilters",
    "RemoteSecrets",
    "StartedFamily",
]

#: What lists of networks and pools can be asked for (``virConnectListAllNetworksFlags``).
_ACTIVE, _PERSISTENT, _AUTOSTART = 2, 4, 16
_INACTIVE_XML = 1
#: ``virSecretUsageType``.
_USAGES = ("none", "volume", "ceph", "iscsi", "tls", "vtpm")


class _Named(Generic[_S]):
    """What all families have: objects that are found by name and shown as documents."""

    #: What the family's procedures begin with.
    stem: ClassVar[str]
    #: The procedure that lists all of them.
    lister: ClassVar[str]

    def __init__(self, driver: RemoteDriver) -> None:
        self._link = driver.link

    def _call(self, verb: str, *arguments: Any) -> Any:
        return self._link.call(f"{self.stem}_{verb}", *arguments)

    def _all(self) -> Sequence[Any]:
        found: Sequence[Any] = self._link.call(self.lister, 1, 0)[0]
        return found


class _ByUuid(_Named[_S]):
    """Families whose objects have UUIDs, by which servers know them."""

    @staticmethod
    def _reference(key: str) -> tuple[Any, ...]:
        return "", UUID(key).bytes

    def _summary(self, found: Any) -> ObjectSummary:
        uuid = UUID(bytes=found.uuid)
        return ObjectSummary(str(uuid), found.name, uuid)

    def summaries(self) -> Sequence[ObjectSummary]:
        """Ask for all."""
        return sorted(map(self._summary, self._all()), key=lambda one: one.name)

    def by_name(self, name: str) -> ObjectSummary:
        """Ask for one by its name."""
        return self._summary(self._call("lookup_by_name", name)[0])

    def get(self, key: str) -> ObjectSummary:
        """Ask for one by its UUID."""
        try:
            uuid = UUID(key)
        except ValueError:
            kind = self.stem.replace("_", " ")
            raise NotFound(f"there is no {kind} {key!r}", kind=kind, key=key) from None
        return self._summary(self._call("lookup_by_uuid", uuid.bytes)[0])

    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Ask for its document."""
        xml: str = self._call("get_xml_desc", self._reference(key), self._xml_flags(inactive)).xml
        return xml

    @staticmethod
    def _xml_flags(inactive: bool) -> int:
        return 0

    def undefine(self, key: str) -> None:
        """Have it forgotten."""
        self._call("undefine", self._reference(key))

    def _key(self, made: Any) -> str:
        return str(UUID(bytes=made.uuid))


class StartedFamily(_ByUuid[_S], StartedObjects[_S]):
    """Families whose objects are started and stopped."""

    #: Whether defining and starting take flags too.
    flags: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    def _xml_flags(inactive: bool) -> int:
        return _INACTIVE_XML if inactive else 0

    def summaries(self) -> Sequence[ObjectSummary]:
        """Ask for all at once, by kinds."""
        every, *some = self._link.answers(
            [(self.lister, 1, flags) for flags in (0, _ACTIVE, _PERSISTENT, _AUTOSTART)]
        )
        active, persistent, autostart = ({one.uuid for one in answer[0]} for answer in some)
        found = [
            ObjectSummary(
                self._key(one),
                one.name,
                UUID(bytes=one.uuid),
                one.uuid in active,
                one.uuid in persistent,
                one.uuid in autostart,
            )
            for one in every[0]
        ]
        return sorted(found, key=lambda one: one.name)

    def _summary(self, found: Any) -> ObjectSummary:
        dom = (found.name, found.uuid)
        active, persistent, autostart = self._link.answers(
            [
                (f"{self.stem}_is_active", dom),
                (f"{self.stem}_is_persistent", dom),
                (f"{self.stem}_get_autostart", dom),
            ]
        )
        return ObjectSummary(
            self._key(found),
            found.name,
            UUID(bytes=found.uuid),
            bool(active.active),
            bool(persistent.persistent),
            bool(autostart.autostart),
        )

    def define(self, spec: _S) -> str:
        """Have a definition kept."""
        return self._key(self._call("define_xml", spec.to_xml(), *self.flags)[0])

    def create(self, spec: _S) -> str:
        """Have a transient one started."""
        return self._key(self._call("create_xml", spec.to_xml(), *self.flags)[0])

    def start(self, key: str) -> None:
        """Have it started."""
        self._call("create", self._reference(key), *self.flags)

    def destroy(self, key: str) -> None:
        """Have it stopped."""
        self._call("destroy", self._reference(key))

    def set_autostart(self, key: str, autostart: bool) -> None:
        """Have it started with the host, or not."""
        self._call("set_autostart", self._reference(key), int(autostart))


class RemoteNetworks(StartedFamily["NetworkSpec"], Networks):
    """Virtual networks."""

    stem, lister = "network", "connect_list_all_networks"

    def bridge(self, key: str) -> str:
        """Ask for its bridge."""
        name: str = self._call("get_bridge_name", self._reference(key)).name
        return name

    def leases(self, key: str, mac: str | None = None) -> Sequence[DhcpLease]:
        """Ask for the addresses that it gave out."""
        found = self._call("get_dhcp_leases", self._reference(key), mac, 1, 0).leases
        return [
            DhcpLease(
                interface=one.iface,
                mac=one.mac or "",
                address=one.ipaddr,
                prefix=one.prefix,
                expires=datetime.fromtimestamp(one.expirytime, UTC) if one.expirytime else None,
                hostname=one.hostname,
                client_id=one.clientid,
            )
            for one in found
        ]


class RemoteNwFilters(_ByUuid["NwFilterSpec"], NwFilters):
    """Rules for traffic."""

    stem, lister = "nwfilter", "connect_list_all_nwfilters"

    def define(self, spec: Any) -> str:
        """Have a definition kept."""
        return self._key(self._call("define_xml", spec.to_xml())[0])


class RemoteSecrets(_ByUuid["SecretSpec"], Secrets):
    """Passphrases and keys; what one is for is its name."""

    stem, lister = "secret", "connect_list_all_secrets"

    @staticmethod
    def _reference(key: str) -> tuple[Any, ...]:
        return UUID(key).bytes, 0, ""

    def _summary(self, found: Any) -> ObjectSummary:
        uuid = UUID(bytes=found.uuid)
        return ObjectSummary(str(uuid), found.usageID, uuid)

    def by_name(self, name: str) -> ObjectSummary:
        """Look for one by what it is for."""
        for one in self.summaries():
            if one.name == name:
                return one
        raise NotFound(f"there is no secret for {name!r}", kind="secret", key=name)

    def by_usage(self, kind: str, usage: str) -> ObjectSummary:
        """Ask for the secret for a use."""
        if kind not in _USAGES:
            raise NotFound(f"there is no secret for {kind} {usage!r}", kind="secret", key=usage)
        return self._summary(self._call("lookup_by_usage", _USAGES.index(kind), usage)[0])

    def define(self, spec: Any) -> str:
        """Have a definition kept."""
        return self._key(self._call("define_xml", spec.to_xml(), 0)[0])

    def value(self, key: str) -> bytes:
        """Ask for its value; the server keeps a private one to itself."""
        value: bytes = self._call("get_value", self._reference(key), 0).value
        return value

    def set_value(self, key: str, value: bytes) -> None:
        """Have a value kept."""
        self._call("set_value", self._reference(key), value, 0)


class RemoteInterfaces(_Named["InterfaceSpec"], Interfaces):
    """The host's own network interfaces, by name."""

    stem, lister = "interface", "connect_list_all_interfaces"

    def summaries(self) -> Sequence[ObjectSummary]:
        """Ask for all, and which of them are up."""
        every, up = self._link.answers([(self.lister, 1, 0), (self.lister, 1, _ACTIVE)])
        active = {one.name for one in up.ifaces}
        found = [
            ObjectSummary(one.name, one.name, active=one.name in active) for one in every.ifaces
        ]
        return sorted(found, key=lambda one: one.name)

    def by_name(self, name: str) -> ObjectSummary:
        """Ask for one by its name."""
        found = self._call("lookup_by_name", name).iface
        return self._summary(found)

    def get(self, key: str) -> ObjectSummary:
        """Ask for one by its name, which is its key."""
        return self.by_name(key)

    def _summary(self, found: Any) -> ObjectSummary:
        active = self._call("is_active", tuple(found)).active
        return ObjectSummary(found.name, found.name, active=bool(active))

    def by_mac(self, mac: str) -> Sequence[ObjectSummary]:
        """Ask for those with a MAC address."""
        try:
            return [self._summary(self._call("lookup_by_mac_string", mac).iface)]
        except NotFound:
            return []
        except PolyvisorError:
            # There are several, of which the server names none.
            return [one for one in self.summaries() if self.mac(one.key) == mac]

    def mac(self, key: str) -> str | None:
        """Ask for its MAC address."""
        return self._call("lookup_by_name", key).iface.mac or None

    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Ask for its document."""
        xml: str = self._call("get_xml_desc", (key, ""), _INACTIVE_XML if inactive else 0).xml
        return xml

    def define(self, spec: Any) -> str:
        """Have a definition kept."""
        name: str = self._call("define_xml", spec.to_xml(), 0).iface.name
        return name

    def undefine(self, key: str) -> None:
        """Have it forgotten."""
        self._call("undefine", (key, ""))

    def start(self, key: str) -> None:
        """Have it brought up."""
        self._call("create", (key, ""), 0)

    def destroy(self, key: str) -> None:
        """Have it taken down."""
        self._call("destroy", (key, ""), 0)


class RemoteNodeDevices(_Named["NodeDeviceSpec"], NodeDevices):
    """The host's devices, by name."""

    stem, lister = "node_device", "connect_list_all_node_devices"

    def summaries(self) -> Sequence[ObjectSummary]:
        """Ask for all."""
        found = [ObjectSummary(one.name, one.name) for one in self._all()]
        return sorted(found, key=lambda one: one.name)

    def by_name(self, name: str) -> ObjectSummary:
        """Ask for one."""
        found = self._call("lookup_by_name", name).dev.name
        return ObjectSummary(found, found)

    def get(self, key: str) -> ObjectSummary:
        """Ask for one by its name, which is its key."""
        return self.by_name(key)

    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Ask for its document."""
        xml: str = self._call("get_xml_desc", key, 0).xml
        return xml

    def parent(self, key: str) -> str | None:
        """Ask what it hangs on."""
        name: str | None = self._call("get_parent", key).parentName
        return name

    def capabilities(self, key: str) -> Sequence[str]:
        """Ask what it is."""
        number = self._call("num_of_caps", key).num
        names: Sequence[str] = self._call("list_caps", key, number).names
        return names

    def detach(self, key: str, driver: str | None = None) -> None:
        """Have it taken from the host."""
        self._call("detach_flags", key, driver, 0)

    def reattach(self, key: str) -> None:
        """Have it given back."""
        self._call("re_attach", key)

    def reset(self, key: str) -> None:
        """Have it reset."""
        self._call("reset", key)

    def create(self, spec: NodeDeviceSpec) -> str:
        """Have one made."""
        name: str = self._call("create_xml", spec.to_xml(), 0).dev.name
        return name

    def destroy(self, key: str) -> None:
        """Have it removed."""
        self._call("destroy", key)
