"""The host's devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.objects import counted
from polyvisor_remote.server._families.routine import Family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.driver import NodeDevices
    from polyvisor.objects import ObjectSummary

#: ``virConnectListAllNodeDeviceFlags``: kinds of device, one bit each.
_KINDS = (
    "system", "pci", "usb_device", "usb", "net", "scsi_host", "scsi_target", "scsi", "storage",
    "fc_host", "vports", "scsi_generic", "drm", "mdev_types", "mdev", "ccw", "css", "vdpa",
    "ap_card", "ap_queue", "ap_matrix", "vpd",
)  # fmt: skip
_STATES = 15 << 28

# A call about one has its name itself.
DEVICES: Family[NodeDevices] = Family(
    "node_device", "node_devices", "name", lambda driver: driver.node_devices, key_of=str
)
DEVICES.serve_facts("active", "persistent", "autostart")
DEVICES.serve_end()


def _of_kind(part: NodeDevices, kind: str | None) -> Sequence[ObjectSummary]:
    found = part.summaries()
    if kind is None:
        return found
    return [one for one in found if kind in part.capabilities(one.key)]


@DEVICES.serves("connect_list_all_node_devices", flags=None)
def list_all(part: NodeDevices, arguments: Any) -> tuple[list[Any], int]:
    """Return those of the kinds that flags choose."""
    wanted = {name for bit, name in enumerate(_KINDS) if arguments.flags & 1 << bit}
    found = [
        (one.name,)
        for one in part.summaries()
        if not wanted or wanted.intersection(part.capabilities(one.key))
    ]
    known = (1 << len(_KINDS)) - 1 | _STATES
    return counted(found, arguments, known, "connect_list_all_node_devices")


@DEVICES.serves("node_num_of_devices")
def num(part: NodeDevices, arguments: Any) -> tuple[int]:
    """Count those of a kind."""
    return (len(_of_kind(part, arguments.cap)),)


@DEVICES.serves("node_list_devices")
def list_names(part: NodeDevices, arguments: Any) -> tuple[list[str]]:
    """Name those of a kind."""
    found = _of_kind(part, arguments.cap)
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@DEVICES.serves("node_device_lookup_by_name")
def lookup_by_name(part: NodeDevices, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    return ((part.by_name(arguments.name).name,),)


@DEVICES.serves("node_device_get_xml_desc", flags=1)
def get_xml_desc(part: NodeDevices, arguments: Any) -> tuple[str]:
    """Return its description."""
    return (part.xml(DEVICES.key(arguments)),)


@DEVICES.serves("node_device_get_parent")
def get_parent(part: NodeDevices, arguments: Any) -> tuple[str | None]:
    """Name the device that it hangs on."""
    return (part.parent(DEVICES.key(arguments)),)


@DEVICES.serves("node_device_num_of_caps")
def num_of_caps(part: NodeDevices, arguments: Any) -> tuple[int]:
    """Count what it is."""
    return (len(part.capabilities(DEVICES.key(arguments))),)


@DEVICES.serves("node_device_list_caps")
def list_caps(part: NodeDevices, arguments: Any) -> tuple[list[str]]:
    """Say what it is."""
    return (list(part.capabilities(DEVICES.key(arguments)))[: max(0, arguments.maxnames)],)


@DEVICES.serves("node_device_dettach", slow=True)
def dettach(part: NodeDevices, arguments: Any) -> None:
    """Take one from the host, for guests."""
    part.detach(DEVICES.key(arguments))


@DEVICES.serves("node_device_detach_flags", slow=True)
def detach_flags(part: NodeDevices, arguments: Any) -> None:
    """Take one from the host, to be handed on by a driver that is named."""
    part.detach(DEVICES.key(arguments), arguments.driverName)


@DEVICES.serves("node_device_re_attach", slow=True)
def re_attach(part: NodeDevices, arguments: Any) -> None:
    """Give one back to the host."""
    part.reattach(DEVICES.key(arguments))


@DEVICES.serves("node_device_reset", slow=True)
def reset(part: NodeDevices, arguments: Any) -> None:
    """Reset one."""
    part.reset(DEVICES.key(arguments))


@DEVICES.serves("node_device_create_xml", slow=True, flags=1)
def create_xml(part: NodeDevices, arguments: Any) -> tuple[Any]:
    """Make one of another."""
    from polyvisor.model import NodeDeviceSpec

    return ((part.create(NodeDeviceSpec.from_xml(arguments.xml_desc)),),)


@DEVICES.serves("node_device_lookup_scsi_host_by_wwn")
def lookup_scsi_host_by_wwn(part: NodeDevices, arguments: Any) -> tuple[Any]:
    """Find an adapter of Fibre Channel by its world wide names."""
    from polyvisor.model import NodeDeviceSpec
    from polyvisor.model.node_device_capability import FcHostCapability, ScsiHostCapability

    wanted = (arguments.wwnn, arguments.wwpn)
    for one in _of_kind(part, "fc_host"):
        spec = NodeDeviceSpec.from_xml(part.xml(one.key))
        for host in spec.capabilities:
            nested = host.capabilities if isinstance(host, ScsiHostCapability) else ()
            if any(isinstance(n, FcHostCapability) and (n.wwnn, n.wwpn) == wanted for n in nested):
                return ((one.name,),)
    raise DEVICES.missing(f"wwnn '{wanted[0]}' wwpn '{wanted[1]}'")
