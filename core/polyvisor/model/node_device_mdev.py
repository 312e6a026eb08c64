"""Mediated devices of the host, and the channels and crypto cards of IBM Z."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import UINT, UUID_TEXT, choices, integer
from polyvisor.model.binding import Choice, Element, attr, child, children, element, inner, value
from polyvisor.model.node_device_capability import Capability

if TYPE_CHECKING:
    from polyvisor.model.node_device_pci import IommuGroup

__all__ = [
    "ApCardCapability",
    "ApMatrixCapability",
    "ApQueueCapability",
    "CcwCapability",
    "ChannelAddress",
    "CssCapability",
    "MdevAttribute",
    "MdevCapability",
    "MdevType",
    "MdevTypesCapability",
]

#: Ranges of an IBM Z channel's numbers (ccwCssidRange and others, basictypes.rng).
CSSID = integer(0, 0xFE, "#x")
SSID = integer(0, 3, "#x")
DEVNO = integer(0, 0xFFFF, "#06x")
#: Of adjunct processors (ap_matrix in the kernel's vfio-ap.rst).
AP_ADAPTER = integer(0, 0xFF, "#04x")
AP_DOMAIN = integer(0, 0xFF, "#06x")


@element(kw_only=True)
class MdevType(Element):
    """A type of mediated device and how many more there can be."""

    id: str = attr(required=True)
    name: str | None = value()
    device_api: Literal["vfio-pci", "vfio-ccw", "vfio-ap"] | None = value(
        choices(Literal["vfio-pci", "vfio-ccw", "vfio-ap"]), name="deviceAPI"
    )
    available_instances: int | None = value(UINT, name="availableInstances")


@element(kw_only=True)
class MdevTypesCapability(Capability):
    """Which mediated devices can be made of it."""

    type: Literal["mdev_types"] = attr(choices(Literal["mdev_types"]), default="mdev_types")
    types: tuple[MdevType, ...] = children(MdevType, "type")


_MDEV_TYPES = Choice("type", {"mdev_types": MdevTypesCapability})


@element(kw_only=True)
class MdevAttribute(Element):
    """A setting of a mediated device."""

    name: str = attr(required=True)
    value: str = attr(required=True)


@element(kw_only=True)
class MdevCapability(Capability):
    """A mediated device."""

    type: Literal["mdev"] = attr(choices(Literal["mdev"]), default="mdev")
    mdev_type: str | None = inner("type", "id")
    uuid: UUID | None = value(UUID_TEXT)
    parent_addr: str | None = value()
    iommu_group: IommuGroup | None = child(".node_device_pci:IommuGroup", "iommuGroup")
    attributes: tuple[MdevAttribute, ...] = children(MdevAttribute, "attr")

    def kept(self) -> Self:
        """Return what libvirt keeps of it: with a group, 0 if it is not known."""
        from polyvisor.model.node_device_pci import IommuGroup

        return attrs.evolve(self, iommu_group=self.iommu_group or IommuGroup(number=0))


@element(kw_only=True)
class ChannelAddress(Element):
    """Where a channel is."""

    cssid: int | None = value(CSSID)
    ssid: int | None = value(SSID)
    devno: int | None = value(DEVNO)


@element(kw_only=True)
class CcwCapability(Capability):
    """A device on a channel."""

    type: Literal["ccw"] = attr(choices(Literal["ccw"]), default="ccw")
    cssid: int = value(CSSID, required=True)
    ssid: int = value(SSID, required=True)
    devno: int = value(DEVNO, required=True)


@element(kw_only=True)
class CssCapability(Capability):
    """A subchannel."""

    type: Literal["css"] = attr(choices(Literal["css"]), default="css")
    cssid: int = value(CSSID, required=True)
    ssid: int = value(SSID, required=True)
    devno: int = value(DEVNO, required=True)
    channel_dev_addr: ChannelAddress | None = child(ChannelAddress)
    capabilities: tuple[MdevTypesCapability, ...] = children(_MDEV_TYPES, "capability")


@element(kw_only=True)
class ApCardCapability(Capability):
    """A crypto card."""

    type: Literal["ap_card"] = attr(choices(Literal["ap_card"]), default="ap_card")
    adapter: int = value(AP_ADAPTER, name="ap-adapter", required=True)


@element(kw_only=True)
class ApQueueCapability(Capability):
    """A queue of a crypto card."""

    type: Literal["ap_queue"] = attr(choices(Literal["ap_queue"]), default="ap_queue")
    adapter: int = value(AP_ADAPTER, name="ap-adapter", required=True)
    domain: int = value(AP_DOMAIN, name="ap-domain", required=True)


@element(kw_only=True)
class ApMatrixCapability(Capability):
    """All crypto cards, of which mediated devices can be made."""

    type: Literal["ap_matrix"] = attr(choices(Literal["ap_matrix"]), default="ap_matrix")
    capabilities: tuple[MdevTypesCapability, ...] = children(_MDEV_TYPES, "capability")
