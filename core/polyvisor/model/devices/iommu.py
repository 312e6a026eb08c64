"""The guest's IOMMU."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, choices
from polyvisor.model.binding import Element, attr, child, element
from polyvisor.model.devices import Device

__all__ = ["Iommu", "IommuDriver"]

IommuModel = Literal["intel", "smmuv3", "virtio"]


@element(kw_only=True)
class IommuDriver(Element):
    """What the IOMMU can."""

    intremap: bool | None = attr(ON_OFF)
    caching_mode: bool | None = attr(ON_OFF)
    eim: bool | None = attr(ON_OFF)
    iotlb: bool | None = attr(ON_OFF)
    aw_bits: int | None = attr(UINT)


@element(kw_only=True)
class Iommu(Device):
    """The guest's IOMMU."""

    model: IommuModel = attr(choices(IommuModel), required=True)
    driver: IommuDriver | None = child(IommuDriver)
