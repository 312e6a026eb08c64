"""Devices through which a guest says that it crashed."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import attr, element
from polyvisor.model.devices import Device

__all__ = ["Panic"]

PanicModel = Literal["default", "pseries", "isa", "hyperv", "s390", "pvpanic"]


@element(kw_only=True)
class Panic(Device):
    """Through it a guest says that it crashed."""

    model: PanicModel | None = attr(choices(PanicModel))
