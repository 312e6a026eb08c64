"""Watchdogs."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import attr, element
from polyvisor.model.devices import Device

__all__ = ["Watchdog"]

WatchdogModel = Literal["i6300esb", "ib700", "diag288", "itco"]
WatchdogAction = Literal["reset", "shutdown", "poweroff", "pause", "dump", "none", "inject-nmi"]


@element(kw_only=True)
class Watchdog(Device):
    """A device that acts when the guest no longer feeds it."""

    model: WatchdogModel | None = attr(choices(WatchdogModel))
    action: WatchdogAction | None = attr(choices(WatchdogAction))
