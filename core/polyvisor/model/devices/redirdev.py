"""USB devices that a viewer hands to the guest."""

from __future__ import annotations

from typing import ClassVar, Literal

from polyvisor.model._codecs import YES_NO, Codec, choices, integer
from polyvisor.model.binding import Element, attr, children, element
from polyvisor.model.devices.chardev import Chardev

__all__ = ["RedirFilter", "Redirdev", "UsbDevFilter"]


def _any_or(digits: int) -> Codec:
    """Return the codec of so many hexadecimal digits, capital ones, or -1 for any."""
    plain = integer(-1, 16**digits - 1)
    return plain._replace(
        write=lambda value: "-1" if value == -1 else f"0x{int(plain.write(value)):0{digits}X}"
    )


@element(kw_only=True)
class Redirdev(Chardev):
    """A USB port that a viewer can plug a device of its own into."""

    XML_BEHIND: ClassVar = {"type": "bus"}

    bus: Literal["usb"] | None = attr(choices(Literal["usb"]))


@element(kw_only=True)
class UsbDevFilter(Element):
    """A rule: which devices may or may not be plugged in; None and -1: any."""

    usb_class: int | None = attr(_any_or(2), name="class")
    vendor: int | None = attr(_any_or(4))
    product: int | None = attr(_any_or(4))
    #: Such as ``"1.10"``, or ``"-1"``.
    version: str | None = attr()
    allow: bool | None = attr(YES_NO)


@element(kw_only=True)
class RedirFilter(Element):
    """Rules: the first that fits counts."""

    usbdevs: tuple[UsbDevFilter, ...] = children(UsbDevFilter, "usbdev")
