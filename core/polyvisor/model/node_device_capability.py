"""What devices of the host can do: the system, USB, networks, SCSI, storage, graphics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import BIT, HEX, UINT, ULONG, UUID_TEXT, choices
from polyvisor.model.binding import (
    Choice,
    Element,
    attr,
    child,
    children,
    element,
    inners,
    text,
    value,
)

if TYPE_CHECKING:
    from polyvisor.model.interface import InterfaceLink

__all__ = [
    "Capability",
    "DeviceId",
    "DrmCapability",
    "FcHostCapability",
    "FcRemotePortCapability",
    "HotpluggableCapability",
    "NetCapability",
    "NetKindCapability",
    "RemovableCapability",
    "ScsiCapability",
    "ScsiGenericCapability",
    "ScsiHostCapability",
    "ScsiTargetCapability",
    "StorageCapability",
    "SystemCapability",
    "SystemFirmware",
    "SystemHardware",
    "UsbDeviceCapability",
    "UsbInterfaceCapability",
    "VdpaCapability",
    "VportOpsCapability",
]


@element(kw_only=True)
class Capability(Element):
    """Base of what a device can do."""

    def kept(self) -> Self:
        """Return what libvirt keeps of it."""
        return self


@element(kw_only=True)
class DeviceId(Element):
    """A number of a list of vendors or products, and the name it has there."""

    id: int | None = attr(HEX(4))
    name: str | None = text()


@element(kw_only=True)
class SystemHardware(Element):
    """The machine."""

    vendor: str | None = value()
    version: str | None = value()
    serial: str | None = value()
    uuid: UUID | None = value(UUID_TEXT)


@element(kw_only=True)
class SystemFirmware(Element):
    """Its firmware."""

    vendor: str | None = value()
    version: str | None = value()
    release_date: str | None = value()


@element(kw_only=True)
class SystemCapability(Capability):
    """The host itself."""

    type: Literal["system"] = attr(choices(Literal["system"]), default="system")
    product: str | None = value()
    hardware: SystemHardware | None = child(SystemHardware)
    firmware: SystemFirmware | None = child(SystemFirmware)


@element(kw_only=True)
class UsbDeviceCapability(Capability):
    """A USB device."""

    type: Literal["usb_device"] = attr(choices(Literal["usb_device"]), default="usb_device")
    bus: int | None = value(UINT)
    device: int | None = value(UINT)
    product: DeviceId | None = child(DeviceId)
    vendor: DeviceId | None = child(DeviceId)


@element(kw_only=True)
class UsbInterfaceCapability(Capability):
    """An interface of a USB device."""

    type: Literal["usb"] = attr(choices(Literal["usb"]), default="usb")
    number: int | None = value(UINT)
    usb_class: int | None = value(UINT, name="class")
    subclass: int | None = value(UINT)
    protocol: int | None = value(UINT)
    description: str | None = value()


@element(kw_only=True)
class NetKindCapability(Capability):
    """Ethernet, ``80203``, or WLAN, ``80211``."""

    type: Literal["80203", "80211"] = attr(choices(Literal["80203", "80211"]), required=True)


@element(kw_only=True)
class NetCapability(Capability):
    """A network interface."""

    type: Literal["net"] = attr(choices(Literal["net"]), default="net")
    interface: str | None = value(required=True)
    address: str | None = value()
    link: InterfaceLink | None = child(".interface:InterfaceLink")
    #: What the card does itself, such as ``tso``.
    features: tuple[str, ...] = inners("feature", "name")
    capabilities: tuple[NetKindCapability, ...] = children(
        Choice("type", {"80203": NetKindCapability, "80211": NetKindCapability}), "capability"
    )


@element(kw_only=True)
class ScsiGenericCapability(Capability):
    """A SCSI device's character device."""

    type: Literal["scsi_generic"] = attr(choices(Literal["scsi_generic"]), default="scsi_generic")
    char: str | None = value(required=True)


@element(kw_only=True)
class FcHostCapability(Capability):
    """A Fibre Channel adapter."""

    type: Literal["fc_host"] = attr(choices(Literal["fc_host"]), default="fc_host")
    wwnn: str | None = value()
    wwpn: str | None = value()
    fabric_wwn: str | None = value()


@element(kw_only=True)
class VportOpsCapability(Capability):
    """An adapter that can have virtual ones."""

    type: Literal["vport_ops"] = attr(choices(Literal["vport_ops"]), default="vport_ops")
    max_vports: int | None = value(UINT)
    vports: int | None = value(UINT)

    def kept(self) -> Self:
        """Return what libvirt keeps of it: the counts are asked of the hardware."""
        return attrs.evolve(self, max_vports=0, vports=0)


@element(kw_only=True)
class ScsiHostCapability(Capability):
    """A SCSI adapter."""

    type: Literal["scsi_host"] = attr(choices(Literal["scsi_host"]), default="scsi_host")
    host: int | None = value(UINT)
    unique_id: int | None = value(UINT)
    capabilities: tuple[FcHostCapability | VportOpsCapability, ...] = children(
        Choice("type", {"fc_host": FcHostCapability, "vport_ops": VportOpsCapability}),
        "capability",
    )

    def kept(self) -> Self:
        """Return what libvirt keeps of it."""
        return attrs.evolve(self, capabilities=tuple(one.kept() for one in self.capabilities))


@element(kw_only=True)
class FcRemotePortCapability(Capability):
    """A port of a Fibre Channel fabric."""

    type: Literal["fc_remote_port"] = attr(
        choices(Literal["fc_remote_port"]), default="fc_remote_port"
    )
    rport: str | None = value()
    wwpn: str | None = value()


@element(kw_only=True)
class ScsiTargetCapability(Capability):
    """A SCSI target."""

    type: Literal["scsi_target"] = attr(choices(Literal["scsi_target"]), default="scsi_target")
    target: str | None = value(required=True)
    capabilities: tuple[FcRemotePortCapability, ...] = children(
        Choice("type", {"fc_remote_port": FcRemotePortCapability}), "capability"
    )


@element(kw_only=True)
class ScsiCapability(Capability):
    """A SCSI unit."""

    type: Literal["scsi"] = attr(choices(Literal["scsi"]), default="scsi")
    host: int | None = value(UINT, required=True)
    bus: int | None = value(UINT, required=True)
    target: int | None = value(UINT, required=True)
    lun: int | None = value(UINT, required=True)
    kind: str | None = value(name="type")


@element(kw_only=True)
class RemovableCapability(Capability):
    """A drive whose medium can be taken out, and its medium."""

    type: Literal["removable"] = attr(choices(Literal["removable"]), default="removable")
    media_available: bool | None = value(BIT)
    #: In bytes.
    media_size: int | None = value(ULONG)
    media_label: str | None = value()
    #: In bytes.
    logical_block_size: int | None = value(ULONG)
    num_blocks: int | None = value(ULONG)


@element(kw_only=True)
class HotpluggableCapability(Capability):
    """A drive that can be taken out."""

    type: Literal["hotpluggable"] = attr(choices(Literal["hotpluggable"]), default="hotpluggable")


@element(kw_only=True)
class StorageCapability(Capability):
    """A block device."""

    type: Literal["storage"] = attr(choices(Literal["storage"]), default="storage")
    block: str | None = value(required=True)
    bus: str | None = value()
    drive_type: str | None = value()
    model: str | None = value()
    vendor: str | None = value()
    serial: str | None = value()
    #: In bytes.
    size: int | None = value(ULONG)
    #: In bytes.
    logical_block_size: int | None = value(ULONG)
    num_blocks: int | None = value(ULONG)
    capabilities: tuple[RemovableCapability | HotpluggableCapability, ...] = children(
        Choice("type", {"removable": RemovableCapability, "hotpluggable": HotpluggableCapability}),
        "capability",
    )


@element(kw_only=True)
class DrmCapability(Capability):
    """A graphics card's node."""

    type: Literal["drm"] = attr(choices(Literal["drm"]), default="drm")
    kind: Literal["primary", "control", "render"] | None = value(
        choices(Literal["primary", "control", "render"]), name="type", required=True
    )


@element(kw_only=True)
class VdpaCapability(Capability):
    """A vDPA device."""

    type: Literal["vdpa"] = attr(choices(Literal["vdpa"]), default="vdpa")
    chardev: str | None = value(required=True)
