"""Hearing of the end of domains, from libxl's own events."""

from __future__ import annotations

import os
import select
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor.events import EventKind
from polyvisor.states import DomainState
from polyvisor_libxl.ending import SUSPEND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polyvisor.local import Guest
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["wait_gone", "watch"]


def wait_gone(hypervisor: LibxlHypervisor, guest: Guest, timeout: float | None) -> bool:
    """Block until a domain has ended; return whether it has."""

    def gone() -> bool:
        return hypervisor.observe(guest, deep=False).state is DomainState.SHUTOFF

    if gone():
        return True
    domid = guest.runtime.get("domid")
    if domid is None:
        return True
    late = os.eventfd(0, os.EFD_CLOEXEC)
    timer = threading.Timer(timeout or 0.0, os.eventfd_write, (late, 1))
    timer.daemon = True
    try:
        if timeout is not None:
            timer.start()
        with closing(hypervisor.open_context()) as context:
            context.watch(domid)
            while not gone():
                if context.next_event(late) is None:
                    return gone()
        return True
    finally:
        if timeout is not None:
            timer.cancel()
            timer.join()
        os.close(late)


def watch(
    hypervisor: LibxlHypervisor,
    guests: Callable[[], Iterable[Guest]],
    report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
    stop_fd: int,
    changed_fd: int,
) -> None:
    """Report the end of guests, until ``stop_fd`` becomes readable."""
    with closing(hypervisor.open_context()) as context:
        watched: dict[int, tuple[Guest, Any]] = {}

        def refresh() -> None:
            present = {
                domid: guest
                for guest in guests()
                if (domid := guest.runtime.get("domid")) is not None
            }
            for domid in watched.keys() - present.keys():
                context.unwatch(watched.pop(domid)[1])
            for domid, guest in present.items():
                if domid not in watched:
                    with suppress(HypervisorError):  # It went just now.
                        watched[domid] = guest, context.watch(domid)

        refresh()
        while True:
            ended = context.next_event(stop_fd, changed_fd)
            if ended is None:
                ready, _, _ = select.select([stop_fd, changed_fd], [], [], 0)
                if stop_fd in ready:
                    return
                with suppress(BlockingIOError):
                    os.eventfd_read(changed_fd)
                refresh()
                continue
            domid, reason = ended
            # A guest that suspends does so for who saves it.
            if domid in watched and reason != SUSPEND:
                report(watched[domid][0], EventKind.STOPPED, "", {})
