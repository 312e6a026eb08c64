"""Hearing of what guests do of themselves: powering off, crashing, rebooting."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PolyvisorError
from polyvisor.events import EventKind

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local import Guest
    from polyvisor_sim.rack import Rack

__all__ = ["watch"]


def watch(
    rack: Rack,
    clock: Callable[[], int],
    guests: Callable[[], Iterable[Guest]],
    report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
    stop_fd: int,
    changed_fd: int,
) -> None:
    """Report until ``stop_fd`` is readable; see :class:`polyvisor.local.WatchesGuests`.

    It sleeps until the first guest ends, or until somebody changes a machine.
    """
    boots: dict[tuple[UUID, int | None], int] = {}
    reported: set[tuple[UUID, int | None]] = set()
    with closing(rack.bells.hang()) as bell:
        while True:
            ends: list[int] = []
            present = set()
            for guest in list(guests()):
                key = guest.uuid, guest.id
                present.add(key)
                try:
                    machine = rack.find(guest)
                except PolyvisorError:  # whoever next works with the guest is told
                    continue
                if machine is None or key in reported:
                    continue
                time = clock()
                moment = machine.at(time)
                if moment.boots != boots.setdefault(key, moment.boots):
                    boots[key] = moment.boots
                    report(guest, EventKind.REBOOT, "reboot", {})
                if moment.gone is not None:
                    reported.add(key)
                    kind = EventKind.CRASHED if moment.gone == "crashed" else EventKind.STOPPED
                    report(guest, kind, moment.gone, {"sim.ticks": moment.ticks})
                elif (end := machine.next_end(time)) is not None:
                    ends.append(end)
            reported &= present
            boots = {key: count for key, count in boots.items() if key in present}

            poll = select.poll()
            for fd in (stop_fd, changed_fd, bell.fileno()):
                poll.register(fd, select.POLLIN)
            wait = None if not ends else max(0, -(-(min(ends) - clock()) // 1_000_000))
            ready = {fd for fd, _ in poll.poll(wait)}
            if stop_fd in ready:
                return
            if changed_fd in ready:
                os.eventfd_read(changed_fd)
            bell.silence()
