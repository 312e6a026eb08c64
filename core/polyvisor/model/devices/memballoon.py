"""The memory balloon."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import INT, ON_OFF, choices
from polyvisor.model.binding import Element, attr, child, element, inner
from polyvisor.model.devices import Device

__all__ = ["Memballoon", "MemballoonDriver"]

MemballoonModel = Literal["virtio", "xen", "none", "virtio-transitional", "virtio-non-transitional"]


@element(kw_only=True)
class MemballoonDriver(Element):
    """Options of the virtio driver."""

    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Memballoon(Device):
    """The device through which the guest gives memory back."""

    model: MemballoonModel | None = attr(choices(MemballoonModel))
    autodeflate: bool | None = attr(ON_OFF)
    free_page_reporting: bool | None = attr(ON_OFF, name="freePageReporting")
    #: Seconds between statistics.
    stats_period: int | None = inner("stats", "period", INT)
    driver: MemballoonDriver | None = child(MemballoonDriver)
