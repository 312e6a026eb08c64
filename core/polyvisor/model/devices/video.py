"""Video cards."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, YES_NO, choices
from polyvisor.model.binding import Element, attr, child, element
from polyvisor.model.devices import Device

__all__ = ["Acceleration", "Resolution", "Video", "VideoDriver", "VideoModel"]

VideoType = Literal[
    "default", "vga", "cirrus", "vmvga", "xen", "vbox", "qxl", "parallels", "virtio", "gop",
    "none", "bochs", "ramfb",
]  # fmt: skip


@element(kw_only=True)
class VideoDriver(Element):
    """Options of the driver."""

    name: str | None = attr()
    vgaconf: str | None = attr()
    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Acceleration(Element):
    """Acceleration by the host."""

    accel3d: bool | None = attr(YES_NO)
    accel2d: bool | None = attr(YES_NO)
    rendernode: str | None = attr()


@element(kw_only=True)
class Resolution(Element):
    """Size of the screen in pixels."""

    x: int | None = attr(UINT)
    y: int | None = attr(UINT)


@element(kw_only=True)
class VideoModel(Element):
    """The card; memory sizes in KiB."""

    type: VideoType | None = attr(choices(VideoType))
    ram: int | None = attr(UINT)
    vram: int | None = attr(UINT)
    vram64: int | None = attr(UINT)
    vgamem: int | None = attr(UINT)
    heads: int | None = attr(UINT)
    primary: bool | None = attr(YES_NO)
    blob: bool | None = attr(ON_OFF)
    acceleration: Acceleration | None = child(Acceleration)
    resolution: Resolution | None = child(Resolution)


@element(kw_only=True)
class Video(Device):
    """A video card."""

    driver: VideoDriver | None = child(VideoDriver)
    model: VideoModel | None = child(VideoModel)
