"""Watches guests: their event monitors and the end of their processes."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import attrs

from polyvisor.errors import Timeout
from polyvisor.events import EventKind
from polyvisor.local import MONITOR
from polyvisor_qemu.aside import Murmur
from polyvisor_qemu.overhearing import plain, wanted
from polyvisor_qemu.powering import pending
from polyvisor_qemu.qmp import MAX_LINE, Gone, connect

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor_qemu.process import Process

__all__ = ["Watch"]

#: Seconds that a guest whose QEMU lets nobody in may keep the watch from the others.
PATIENCE = 0.1

#: Seconds after a reset in which a further one is the firmware's, not the guest's system's: SeaBIOS
#: resets the machine once or twice more when it finds that it has run before.
FIRMWARE = 1.0

# QMP events (qapi/run-state.json) that a domain's listeners hear of, and as what.
_KINDS = {
    "SHUTDOWN": (EventKind.SHUTDOWN, "finished"),
    "RESET": (EventKind.REBOOT, ""),
    "GUEST_PANICKED": (EventKind.CRASHED, "panicked"),
    "BLOCK_IO_ERROR": (EventKind.GUEST, "io-error"),
    "BLOCK_JOB_READY": (EventKind.GUEST, "block-job-ready"),
    "BLOCK_JOB_COMPLETED": (EventKind.GUEST, "block-job-completed"),
    "BLOCK_JOB_CANCELLED": (EventKind.GUEST, "block-job-canceled"),
    "BLOCK_WRITE_THRESHOLD": (EventKind.GUEST, "block-threshold"),
    "WATCHDOG": (EventKind.GUEST, "watchdog"),
    "RTC_CHANGE": (EventKind.GUEST, "rtc-change"),
    "BALLOON_CHANGE": (EventKind.GUEST, "balloon-change"),
    "DEVICE_DELETED": (EventKind.DEVICE_REMOVED, ""),
    "DEVICE_UNPLUG_GUEST_ERROR": (EventKind.GUEST, "device-removal-failed"),
    "ACPI_DEVICE_OST": (EventKind.GUEST, "device-removal-failed"),
    "MEMORY_DEVICE_SIZE_CHANGE": (EventKind.GUEST, "memory-device-size-change"),
    "SUSPEND": (EventKind.PMSUSPENDED, "memory"),
    "WAKEUP": (EventKind.STARTED, "wakeup"),
}


@attrs.define(eq=False)
class _Watched:
    guest: Guest
    process_fd: int
    monitor: socket.socket | None
    murmur: Murmur | None = None
    buffer: bytearray = attrs.field(factory=bytearray)
    reset: float = 0.0


class Watch:
    """Listens to all guests at once, in one thread.

    A monitor speaks to one client; to the others it is silent until that one leaves. So a
    watch just connects: if another process watches already, it hears the same events
    through the journal, and takes over when that process ends.

    Args:
        guests: gives the active guests.
        report: told of each event.
        process_of: gives a guest's process.
    """

    def __init__(
        self,
        guests: Callable[[], Iterable[Guest]],
        report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
        process_of: Callable[[Guest], Process | None],
    ) -> None:
        self._guests = guests
        self._report = report
        self._process_of = process_of
        self._watched: dict[UUID, _Watched] = {}
        self._poller = select.poll()
        self._by_fd: dict[int, _Watched] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for watched in list(self._watched.values()):
            self._drop(watched)

    def run(self, stop_fd: int, changed_fd: int) -> None:
        """Report until ``stop_fd`` is readable."""
        self._poller.register(stop_fd, select.POLLIN)
        self._poller.register(changed_fd, select.POLLIN)
        self._refresh()
        while True:
            for fd, _ in self._poller.poll():
                if fd == stop_fd:
                    return
                if fd == changed_fd:
                    with suppress(BlockingIOError):
                        os.eventfd_read(changed_fd)
                    self._refresh()
                    continue
                watched = self._by_fd.get(fd)
                if watched is None:
                    continue
                if fd == watched.process_fd:
                    self._read(watched)
                    self._drop(watched)
                    self._report(watched.guest, EventKind.STOPPED, "", {})
                elif watched.murmur is not None and fd == watched.murmur.fileno():
                    if watched.murmur.heard():
                        self._follow(watched.guest)
                else:
                    self._read(watched)

    def _refresh(self) -> None:
        present = {guest.uuid: guest for guest in self._guests()}
        for uuid, watched in list(self._watched.items()):
            guest = present.get(uuid)
            if guest is None or guest.runtime.get("pid") != watched.guest.runtime.get("pid"):
                self._drop(watched)
        for uuid, guest in present.items():
            if uuid not in self._watched:
                self._add(guest)

    def _add(self, guest: Guest) -> None:
        process = self._process_of(guest)
        fd = None if process is None else process.fd()
        if fd is None:
            return
        monitor: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        assert monitor is not None
        try:
            connect(monitor, f"{guest.run_dir}/events", PATIENCE)
            monitor.setblocking(False)
        except (Gone, Timeout):
            monitor.close()
            monitor = None
        murmur: Murmur | None = None
        with suppress(OSError):  # Most have none.
            murmur = Murmur(guest)
        watched = _Watched(guest, fd, monitor, murmur)
        self._watched[guest.uuid] = watched
        for number in (fd, *(one.fileno() for one in (monitor, murmur) if one is not None)):
            self._by_fd[number] = watched
            self._poller.register(number, select.POLLIN)
        if pending(guest):
            # It may have shut down while nobody watched.
            self._look(guest)

    def _look(self, guest: Guest) -> None:
        """Have a guest looked at, which is then started afresh if it is to be."""
        self._report(guest, EventKind.STOPPED, "", {})

    def _follow(self, guest: Guest) -> None:
        """Have a guest looked at, whose migration by post-copy may be at another point."""
        self._report(guest, EventKind.RESUMED, "post-copy", {})

    def _drop(self, watched: _Watched) -> None:
        if self._watched.pop(watched.guest.uuid, None) is None:
            return
        self._silence(watched)
        if watched.murmur is not None:
            self._poller.unregister(watched.murmur)
            del self._by_fd[watched.murmur.fileno()]
            watched.murmur.close()
        self._poller.unregister(watched.process_fd)
        del self._by_fd[watched.process_fd]
        os.close(watched.process_fd)

    def _silence(self, watched: _Watched) -> None:
        if watched.monitor is not None:
            self._poller.unregister(watched.monitor)
            del self._by_fd[watched.monitor.fileno()]
            watched.monitor.close()
            watched.monitor = None

    def _read(self, watched: _Watched) -> None:
        if watched.monitor is None:
            return
        try:
            data = watched.monitor.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(watched.buffer) > MAX_LINE:
            self._silence(watched)
            return
        watched.buffer += data
        while (end := watched.buffer.find(b"\n")) >= 0:
            line = bytes(watched.buffer[:end])
            del watched.buffer[: end + 1]
            with suppress(ValueError):
                self._take(watched, json.loads(line))

    def _take(self, watched: _Watched, answer: Any) -> None:
        if not isinstance(answer, dict):
            return
        if "QMP" in answer and watched.monitor is not None:
            with suppress(OSError):
                watched.monitor.sendall(b'{"execute":"qmp_capabilities"}\n')
            return
        if "event" in answer and wanted(watched.guest.run_dir):
            self._report(watched.guest, EventKind.GUEST, MONITOR, plain(answer))
        kind, detail = _KINDS.get(answer.get("event", ""), (None, ""))
        data = answer.get("data", {})
        if kind is None:
            return
        if answer["event"] == "RESET":
            stamp = plain(answer)
            moment = stamp["seconds"] + stamp["micros"] / 1e6
            if 0 <= moment - watched.reset < FIRMWARE:
                return
            watched.reset = moment
            if not data.get("guest"):
                return  # asked for by somebody, who has announced it
        if answer["event"] == "SHUTDOWN":
            if not data.get("guest"):
                return
            if pending(watched.guest):
                self._look(watched.guest)
                return
        if detail == "device-removal-failed":
            from polyvisor_qemu.unplugging import rejected

            device = rejected(answer)
            if device is None:
                return  # The guest has told of something else.
            data = {"device": device}
        if detail == "block-threshold":
            from polyvisor_qemu.thresholds import crossed

            told = crossed(watched.guest, data)
            if told is None:
                return
            data = told
        if detail.startswith("block-job"):
            # Jobs are called by what they do and their disk's target.
            job, _, disk = str(data.get("device", "")).rpartition("-")
            data = {**data, "job": job, "disk": disk}
        self._report(watched.guest, kind, detail, data)
