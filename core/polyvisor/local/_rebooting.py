"""Seeing reboots through that somebody has to watch."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.errors import PolyvisorError
from polyvisor.events import EventKind, ObjectEvent

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Events

__all__ = ["see_through"]

#: Seconds after which a guest has ignored what it was asked; who looks later still acts.
PATIENCE = 600.0
_OVER = (EventKind.REBOOT, EventKind.STOPPED)


def see_through(events: Events, uuid: UUID) -> None:
    """Listen, in the background, until a guest that was asked to reboot has done so.

    Listening is what it takes: guests are watched then, and this one is started afresh. It
    ends with the connection, too.
    """
    stream = events.stream(timeout=PATIENCE)

    def listen() -> None:
        deadline = time.monotonic() + PATIENCE
        with suppress(PolyvisorError):
            for event in stream:
                if isinstance(event, ObjectEvent):
                    continue
                if event.domain.uuid == uuid and event.kind in _OVER:
                    break
                if time.monotonic() > deadline:
                    break

    threading.Thread(target=listen, name="polyvisor-reboot", daemon=True).start()
