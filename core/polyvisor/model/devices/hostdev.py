"""Devices of the host that the guest gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import HEX, ON_OFF, UINT, ULONG, YES_NO, choices
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    flag,
    inner,
    value,
)
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Auth, Initiator, SourceHost
    from polyvisor.model.devices.interface import InterfaceIp, InterfaceRoute, Teaming

__all__ = [
    "Adapter",
    "CapabilityHostdev",
    "CapabilitySource",
    "HostPciAddress",
    "HostScsiAddress",
    "HostUsbAddress",
    "Hostdev",
    "MdevHostdev",
    "MdevSource",
    "ParentAddress",
    "PciHostdev",
    "PciSource",
    "ScsiHostHostdev",
    "ScsiHostSource",
    "ScsiHostdev",
    "ScsiSource",
    "UsbHostdev",
    "UsbSource",
]


@element(kw_only=True)
class HostPciAddress(Element):
    """A PCI device of the host."""

    type: str | None = attr()
    domain: int | None = attr(HEX(4))
    bus: int | None = attr(HEX(2))
    slot: int | None = attr(HEX(2))
    function: int | None = attr(HEX(1))
    multifunction: bool | None = attr(ON_OFF)


@element(kw_only=True)
class HostUsbAddress(Element):
    """A USB device of the host by place."""

    type: str | None = attr()
    bus: int | None = attr(UINT)
    device: int | None = attr(UINT)
    port: str | None = attr()


@element(kw_only=True)
class HostScsiAddress(Element):
    """A SCSI device of the host."""

    type: str | None = attr()
    bus: int | None = attr(UINT)
    target: int | None = attr(UINT)
    unit: int | None = attr(ULONG)


@element(kw_only=True)
class PciSource(Element):
    """A PCI device."""

    write_filtering: bool | None = attr(YES_NO, name="writeFiltering")
    address: HostPciAddress | None = child(HostPciAddress)


@element(kw_only=True)
class UsbSource(Element):
    """A USB device, by place or by vendor and product."""

    startup_policy: str | None = attr(name="startupPolicy")
    guest_reset: str | None = attr(name="guestReset")
    vendor_id: int | None = inner("vendor", "id", HEX(4))
    product_id: int | None = inner("product", "id", HEX(4))
    address: HostUsbAddress | None = child(HostUsbAddress)


@element(kw_only=True)
class ParentAddress(Element):
    """The PCI device that an adapter belongs to."""

    unique_id: int | None = attr(UINT)
    address: HostPciAddress | None = child(HostPciAddress)


@element(kw_only=True)
class Adapter(Element):
    """A SCSI adapter of the host, by name or by what it belongs to."""

    type: Literal["scsi_host", "fc_host"] | None = attr(choices(Literal["scsi_host", "fc_host"]))
    name: str | None = attr()
    parent: str | None = attr()
    managed: bool | None = attr(YES_NO)
    parent_wwnn: str | None = attr()
    parent_wwpn: str | None = attr()
    parent_fabric_wwn: str | None = attr()
    wwnn: str | None = attr()
    wwpn: str | None = attr()
    parentaddr: ParentAddress | None = child(ParentAddress)


@element(kw_only=True)
class ScsiSource(Element):
    """A SCSI device, of an adapter or through iSCSI."""

    protocol: str | None = attr()
    name: str | None = attr()
    adapter: Adapter | None = child(Adapter)
    address: HostScsiAddress | None = child(HostScsiAddress)
    hosts: tuple[SourceHost, ...] = children(".devices.disk_source:SourceHost", "host")
    auth: Auth | None = child(".devices.disk_source:Auth")
    initiator: Initiator | None = child(".devices.disk_source:Initiator")


@element(kw_only=True)
class ScsiHostSource(Element):
    """A SCSI host through vhost."""

    protocol: str | None = attr()
    wwpn: str | None = attr()


@element(kw_only=True)
class MdevSource(Element):
    """A mediated device."""

    uuid: str | None = inner("address", "uuid")


@element(kw_only=True)
class CapabilitySource(Element):
    """A device node or interface for a container."""

    block: str | None = value()
    char: str | None = value()
    interface: str | None = value()


@element(kw_only=True)
class Hostdev(Device):
    """A device of the host; the type decides the class."""

    mode: Literal["subsystem", "capabilities"] | None = attr(
        choices(Literal["subsystem", "capabilities"])
    )
    type: str = attr(required=True)
    managed: bool | None = attr(YES_NO)
    sgio: str | None = attr()
    rawio: bool | None = attr(YES_NO)
    model: str | None = attr()
    display: bool | None = attr(ON_OFF)
    ramfb: bool | None = attr(ON_OFF)
    #: ``"vfio"``, ``"xen"`` or ``"kvm"``.
    driver: str | None = inner("driver", "name")


@element(kw_only=True)
class PciHostdev(Hostdev):
    """A PCI device of the host."""

    type: str = attr(default="pci")
    source: PciSource | None = child(PciSource)
    teaming: Teaming | None = child(".devices.interface:Teaming")


@element(kw_only=True)
class UsbHostdev(Hostdev):
    """A USB device of the host."""

    type: str = attr(default="usb")
    source: UsbSource | None = child(UsbSource)


@element(kw_only=True)
class ScsiHostdev(Hostdev):
    """A SCSI device of the host."""

    type: str = attr(default="scsi")
    source: ScsiSource | None = child(ScsiSource)
    readonly: bool = flag()
    shareable: bool = flag()


@element(kw_only=True)
class ScsiHostHostdev(Hostdev):
    """A SCSI host of the host, through vhost."""

    type: str = attr(default="scsi_host")
    source: ScsiHostSource | None = child(ScsiHostSource)


@element(kw_only=True)
class MdevHostdev(Hostdev):
    """A mediated device of the host."""

    type: str = attr(default="mdev")
    source: MdevSource | None = child(MdevSource)


@element(kw_only=True)
class CapabilityHostdev(Hostdev):
    """A device node or interface of the host, for a container."""

    type: str = attr(required=True)
    source: CapabilitySource | None = child(CapabilitySource)
    ips: tuple[InterfaceIp, ...] = children(".devices.interface:InterfaceIp", "ip")
    routes: tuple[InterfaceRoute, ...] = children(".devices.interface:InterfaceRoute", "route")
