"""Hubs."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import attr, element
from polyvisor.model.devices import Device

__all__ = ["Hub"]


@element(kw_only=True)
class Hub(Device):
    """A USB hub."""

    type: Literal["usb"] | None = attr(choices(Literal["usb"]))
