"""Sockets between guest and host."""

from __future__ import annotations

from typing import ClassVar, Literal

from polyvisor.model._codecs import ON_OFF, UINT, YES_NO, choices
from polyvisor.model.binding import Element, attr, child, element
from polyvisor.model.devices import Device

__all__ = ["Vsock", "VsockCid", "VsockDriver"]

VsockModel = Literal["virtio", "virtio-transitional", "virtio-non-transitional"]


@element(kw_only=True)
class VsockCid(Element):
    """The guest's number."""

    auto: bool | None = attr(YES_NO)
    address: int | None = attr(UINT)


@element(kw_only=True)
class VsockDriver(Element):
    """Options of the virtio driver."""

    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Vsock(Device):
    """A socket device."""

    XML_BEHIND: ClassVar = {"driver": "address"}

    model: VsockModel | None = attr(choices(VsockModel))
    cid: VsockCid | None = child(VsockCid)
    driver: VsockDriver | None = child(VsockDriver)
