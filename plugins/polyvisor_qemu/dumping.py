"""Core dumps of running guests; QEMU writes straight into the file."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Dumps
from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    StorageError,
    Unsupported,
)
from polyvisor.events import EventKind
from polyvisor.states import StateReason
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_qemu.driver import QemuDriver
    from polyvisor_qemu.qmp import Monitor

__all__ = ["QemuDumps", "abandon"]

#: What QEMU calls the formats (``DumpGuestMemoryFormat`` of qapi/dump.json).
_FORMATS = {
    "raw": "elf",
    "kdump-zlib": "kdump-zlib",
    "kdump-lzo": "kdump-lzo",
    "kdump-snappy": "kdump-snappy",
    "win-dmp": "win-dmp",
}
#: Seconds between two looks at how far a dump is.
_LOOK_EVERY = 0.25


class QemuDumps(Dumps):
    """Writes memory and registers as ELF or kdump, or the whole guest as QEMU's stream."""

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def dump(
        self,
        uuid: UUID,
        path: str,
        job: Job,
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
    ) -> None:
        """See :meth:`polyvisor.driver.Dumps.dump`.

        Without ``memory_only`` the file holds QEMU's migration stream, as libvirt's does.
        """
        from polyvisor.state import AtomicFile

        if core_format not in _FORMATS:
            raise InvalidArgument(f"dump: no format {core_format!r}; use {', '.join(_FORMATS)}")
        if not memory_only and core_format != "raw":
            raise InvalidArgument(f"dump: {core_format!r} holds memory only; say so")
        if crash and reset:
            raise InvalidArgument("dump: a guest cannot both be stopped and reset afterwards")
        driver, hypervisor = self._driver, self._driver.hypervisor
        with driver.hold(uuid, "dump") as hold:
            path = os.path.abspath(path)
            # The stream of a whole guest stops it, however it ends: it is let go on.
            with (
                hold.standing(path, live=live),
                AtomicFile(path) as file,
                driver.home.jobs.shown(str(uuid), job),
            ):
                if memory_only:
                    self._memory(hold.guest, file.fd, _FORMATS[core_format], job)
                else:
                    hypervisor.save_stream(hold.guest, file.fd, job)
                file.flush()
                job.check()
                file.commit()
                job.report("dumped", done=True)
                hold.finished(job)
                if crash:
                    hypervisor.destroy(hold.guest)
                    hold.end(StateReason.CRASHED, (EventKind.STOPPED, "crashed"))
                elif reset:
                    hypervisor.reset(hold.guest)

    def _memory(self, guest: Guest, fd: int, kind: str, job: Job) -> None:
        with self._driver.hypervisor.monitor(guest) as monitor:
            known = monitor.execute("query-dump-guest-memory-capability")["formats"]
            if kind not in known:
                raise Unsupported(
                    f"dump of {guest.name!r}: this QEMU writes no {kind}; it writes "
                    f"{', '.join(known)}",
                    feature="domains.dump",
                )
            monitor.execute("getfd", fds=(fd,), fdname="dump")
            given: dict[str, Any] = {"paging": False, "protocol": "fd:dump", "detach": True}
            if kind != "elf":
                given["format"] = kind
            job.check()
            monitor.execute("dump-guest-memory", **given)
            self._wait(monitor, guest, job)

    def _wait(self, monitor: Monitor, guest: Guest, job: Job) -> None:
        """Wait for the end; what was asked to stop is let come to its end, QEMU knows no other."""
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        looked = 0.0
        while True:
            while (event := monitor.next_event(0)) is not None:
                if event["event"] != "DUMP_COMPLETED":
                    continue
                words = event["data"].get("error")
                if event["data"]["result"]["status"] == "completed" and not words:
                    _report(monitor, job)
                    return
                kind = StorageError if "space" in (words or "") else HypervisorError
                raise kind(
                    f"dump of {guest.name!r}: QEMU could not write it: "
                    f"{words or 'it does not say why'}",
                    domain=guest.name,
                    native_message=words,
                )
            if time.monotonic() - looked >= _LOOK_EVERY:
                _report(monitor, job)
                looked = time.monotonic()
            if not monitor.events:
                poller.poll(_LOOK_EVERY * 1000)


def _report(monitor: Monitor, job: Job) -> None:
    seen = monitor.execute("query-dump")
    total, done = seen["total"], seen["completed"]
    job.report("memory", total=total, processed=done, remaining=total - done)


def abandon(monitor: Monitor) -> None:
    """Wait for the end of a dump whose author was killed; QEMU knows no way to stop it.

    Until then the guest cannot run.
    """
    while monitor.execute("query-dump")["status"] == "active":
        monitor.next_event(_LOOK_EVERY)
    with suppress(QmpError):
        monitor.execute("closefd", fdname="dump")
