"""Keyboards, mice, tablets."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, choices
from polyvisor.model.binding import Element, attr, child, element
from polyvisor.model.devices import Device

__all__ = ["Input", "InputDriver", "InputSource"]

InputType = Literal["mouse", "tablet", "keyboard", "passthrough", "evdev"]
InputBus = Literal["ps2", "usb", "xen", "parallels", "virtio", "none"]


@element(kw_only=True)
class InputDriver(Element):
    """Options of the virtio driver."""

    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class InputSource(Element):
    """The host's device."""

    evdev: str | None = attr()
    dev: str | None = attr()
    grab: str | None = attr()
    grab_toggle: str | None = attr(name="grabToggle")
    repeat: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Input(Device):
    """An input device."""

    type: InputType | None = attr(choices(InputType))
    bus: InputBus | None = attr(choices(InputBus))
    model: str | None = attr()
    driver: InputDriver | None = child(InputDriver)
    source: InputSource | None = child(InputSource)
