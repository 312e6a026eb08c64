"""Serial ports of simulated guests, live: each line as the guest prints it.

Any number may listen to one port, each with a thread that sleeps until the next line. What is
typed is read and has no effect: nothing in the guest listens.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Consoles
from polyvisor.errors import NotFound, OperationInvalid
from polyvisor_sim.console import TICKS_PER_LINE, lines

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_sim.driver import SimulatorDriver
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.rack import Rack

__all__ = ["SimConsoles"]

_SECOND = 1_000_000_000
#: Bytes of output that wait for a slow reader; what comes then is lost, as on a real port.
_MOST_WAITING = 1 << 16
_KINDS = (("serial", "serials"), ("console", "consoles"))


class SimConsoles(Consoles):
    """Connects to serial ports."""

    def __init__(self, driver: SimulatorDriver) -> None:
        self._driver = driver
        self._listeners: list[_Listener] = []

    def open(self, uuid: UUID, device: str | None, *, force: bool) -> int:
        """Listen to a port; nobody else is in the way, so there is nothing to force."""
        guest = self._driver.guest(uuid)
        port = _port(guest.spec, device)
        if port.type == "file":
            raise OperationInvalid(
                f"console of {guest.name!r}: it leads to the file "
                f"{port.source.path if port.source is not None else None}; read that",
                domain=guest.name,
            )
        hypervisor = self._driver.hypervisor
        ours, theirs = socket.socketpair()
        for ended in [one for one in self._listeners if not one.is_alive()]:
            self._listeners.remove(ended)
            ended.stop()
        listener = _Listener(hypervisor.rack, hypervisor.clock, guest, ours)
        self._listeners.append(listener)
        listener.start()
        return theirs.detach()

    def close(self) -> None:
        """End all that were opened here."""
        while self._listeners:
            self._listeners.pop().stop()


def _port(spec: DomainSpec, wanted: str | None) -> Any:
    """Return a port by its alias, or by what its alias would be."""
    found = [
        (getattr(one, "alias", None) or f"{name}{place}", one)
        for name, kind in _KINDS
        for place, one in enumerate(getattr(spec.devices, kind))
    ]
    for alias, port in found:
        if wanted in (None, alias):
            return port
    raise NotFound(
        f"console of {spec.name!r}: it has no {wanted or 'serial port or console'}",
        key=wanted or "console",
    )


class _Listener(threading.Thread):
    """Writes lines into a socket until the reader or the guest is gone.

    Args:
        rack: where the machine is.
        clock: gives the host's time in nanoseconds.
        guest: whose port it is.
        out: the socket, which this object then owns.
    """

    def __init__(
        self, rack: Rack, clock: Callable[[], int], guest: Guest, out: socket.socket
    ) -> None:
        super().__init__(name=f"console of {guest.name}", daemon=True)
        self._rack = rack
        self._clock = clock
        self._guest = guest
        self._out = out
        self._out.setblocking(False)
        self._ending = os.eventfd(0, os.EFD_CLOEXEC)
        self._waiting = b""
        machine = rack.get(guest)
        moment = machine.at(clock())
        self._boots, self._lines = moment.boots, moment.ticks // TICKS_PER_LINE

    def stop(self) -> None:
        """End it and wait until it has."""
        os.eventfd_write(self._ending, 1)
        self.join()
        os.close(self._ending)

    def run(self) -> None:
        """Sleep until the next line, a ring, or the reader does something."""
        with closing(self._out), closing(self._rack.bells.hang()) as bell:
            while True:
                bell.silence()
                machine, time = self._rack.find(self._guest), self._clock()
                if machine is None:
                    return
                moment = machine.at(time)
                self._print(moment)
                self._send()
                if moment.gone is not None:
                    return
                poll = select.poll()
                poll.register(self._ending, select.POLLIN)
                poll.register(bell.fileno(), select.POLLIN)
                poll.register(self._out, select.POLLIN | (select.POLLOUT if self._waiting else 0))
                seen = dict(poll.poll(self._pause(machine, moment)))
                if self._ending in seen or not self._heard(seen):
                    return

    def _print(self, moment: Moment) -> None:
        if moment.boots != self._boots:
            self._boots, self._lines = moment.boots, 0
        if len(self._waiting) < _MOST_WAITING:
            self._waiting += lines(moment.ticks, self._lines).encode()
        self._lines = moment.ticks // TICKS_PER_LINE

    def _send(self) -> None:
        try:
            self._waiting = self._waiting[self._out.send(self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:  # The reader is gone, as the poll will show.
            self._waiting = b""

    def _heard(self, seen: dict[int, int]) -> bool:
        """Take in what was typed; return whether anybody is there to type."""
        event = seen.get(self._out.fileno(), 0)
        if event & select.POLLIN:
            try:
                return bool(self._out.recv(4096))
            except OSError:
                return False
        return not event & (select.POLLHUP | select.POLLERR)

    def _pause(self, machine: Machine, moment: Moment) -> int | None:
        """Return the milliseconds until the next line; ``None`` if none comes by itself."""
        rate = machine.parameters.rate
        if machine.resumed is None or not rate:
            return None
        tick = (moment.ticks // TICKS_PER_LINE + 1) * TICKS_PER_LINE
        due = moment.booted + -(-tick * _SECOND // rate)
        return max(1, -(-(due - moment.run) // 1_000_000))
