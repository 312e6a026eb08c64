"""Where a device sits: one class per kind of address."""

from __future__ import annotations

from typing import Literal, TypeAlias

from polyvisor.model._codecs import HEX, ON_OFF, UINT, integer
from polyvisor.model.binding import Element, attr, child, element

__all__ = [
    "Address",
    "CcidAddress",
    "CcwAddress",
    "DimmAddress",
    "DriveAddress",
    "IsaAddress",
    "PciAddress",
    "SpaprVioAddress",
    "UnassignedAddress",
    "UsbAddress",
    "VirtioMmioAddress",
    "VirtioS390Address",
    "VirtioSerialAddress",
    "Zpci",
]


@element(kw_only=True)
class Zpci(Element):
    """The s390 side of a PCI address."""

    uid: int | None = attr(HEX(4))
    fid: int | None = attr(HEX(8))


@element(kw_only=True)
class PciAddress(Element):
    """On a PCI bus.  Without bus and slot: on PCI, place to be chosen."""

    type: Literal["pci"] = attr(default="pci")
    domain: int | None = attr(HEX(4))
    bus: int | None = attr(HEX(2))
    slot: int | None = attr(integer(0, 0x1F, "#04x"))
    function: int | None = attr(integer(0, 7, "#03x"))
    multifunction: bool | None = attr(ON_OFF)
    zpci: Zpci | None = child(Zpci)


@element(kw_only=True)
class DriveAddress(Element):
    """On a disk controller."""

    type: Literal["drive"] = attr(default="drive")
    controller: int | None = attr(UINT)
    bus: int | None = attr(UINT)
    target: int | None = attr(UINT)
    unit: int | None = attr(UINT)


@element(kw_only=True)
class VirtioSerialAddress(Element):
    """On a virtio serial controller."""

    type: Literal["virtio-serial"] = attr(default="virtio-serial")
    controller: int | None = attr(UINT)
    bus: int | None = attr(UINT)
    port: int | None = attr(UINT)


@element(kw_only=True)
class CcidAddress(Element):
    """On a smart card controller."""

    type: Literal["ccid"] = attr(default="ccid")
    controller: int | None = attr(UINT)
    slot: int | None = attr(UINT)


@element(kw_only=True)
class UsbAddress(Element):
    """On a USB bus; the port is a path such as ``"1.2"``."""

    type: Literal["usb"] = attr(default="usb")
    bus: int | None = attr(UINT)
    port: str | None = attr()


@element(kw_only=True)
class SpaprVioAddress(Element):
    """On the pSeries virtual I/O bus."""

    type: Literal["spapr-vio"] = attr(default="spapr-vio")
    reg: int | None = attr(integer(0, 2**64 - 1, "#010x"))


@element(kw_only=True)
class CcwAddress(Element):
    """On an s390 channel."""

    type: Literal["ccw"] = attr(default="ccw")
    cssid: int | None = attr(integer(0, 0xFE, "#x"))
    ssid: int | None = attr(integer(0, 3, "#x"))
    devno: int | None = attr(HEX(4))


@element(kw_only=True)
class IsaAddress(Element):
    """On the ISA bus."""

    type: Literal["isa"] = attr(default="isa")
    iobase: int | None = attr(integer(0, 2**32 - 1, "#x"))
    irq: int | None = attr(integer(0, 2**32 - 1, "#x"))


@element(kw_only=True)
class DimmAddress(Element):
    """In a memory slot."""

    type: Literal["dimm"] = attr(default="dimm")
    slot: int | None = attr(UINT)
    base: int | None = attr(integer(0, 2**64 - 1, "#x"))


@element(kw_only=True)
class VirtioS390Address(Element):
    """On the older s390 virtio bus."""

    type: Literal["virtio-s390"] = attr(default="virtio-s390")


@element(kw_only=True)
class VirtioMmioAddress(Element):
    """On the memory-mapped virtio bus."""

    type: Literal["virtio-mmio"] = attr(default="virtio-mmio")


@element(kw_only=True)
class UnassignedAddress(Element):
    """Described, but not for the guest to see."""

    type: Literal["unassigned"] = attr(default="unassigned")


Address: TypeAlias = (
    PciAddress
    | DriveAddress
    | VirtioSerialAddress
    | CcidAddress
    | UsbAddress
    | SpaprVioAddress
    | CcwAddress
    | IsaAddress
    | DimmAddress
    | VirtioS390Address
    | VirtioMmioAddress
    | UnassignedAddress
)
