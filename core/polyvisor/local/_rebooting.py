"""Seeing reboots through that somebody has to watch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from polyvisor.events import EventKind, ObjectEvent

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.events import AnyEvent
    from polyvisor.local._events import LocalEvents

__all__ = ["see_through"]

#: Seconds after which a guest has ignored what it was asked; who looks later still acts.
PATIENCE = 600.0
_OVER = (EventKind.REBOOT, EventKind.STOPPED)


def see_through(events: LocalEvents, uuid: UUID) -> None:
    """Listen, in the background, until a guest that was asked to reboot has done so.

    Listening is what it takes: guests are watched then, and this one is started afresh. It
    ends with the connection, too.
    """
    deadline = time.monotonic() + PATIENCE

    def over(event: AnyEvent) -> bool:
        mine = not isinstance(event, ObjectEvent) and event.domain.uuid == uuid
        return (mine and event.kind in _OVER) or time.monotonic() > deadline

    events.attend(over, name="polyvisor-reboot", timeout=PATIENCE)
