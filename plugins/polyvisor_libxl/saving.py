"""Writing guests out and reading them back."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Cancelled, PolyvisorError, SaveImageError
from polyvisor_libxl.ending import SUSPEND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.dominfo import DomainFacts
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["bring_back", "restore", "restore_stream", "save_stream", "write"]

#: Seconds that a guest gets to answer a suspend request whose author is dead.
_ANSWER = 1.0


def save_stream(hypervisor: LibxlHypervisor, guest: Guest, fd: int, job: Job) -> None:
    """Have libxl write a guest to ``fd``, standing still."""
    write(hypervisor, guest, fd, job, live=False)


def write(hypervisor: LibxlHypervisor, guest: Guest, fd: int, job: Job, *, live: bool) -> None:
    """Have libxl write a guest; it is suspended then, or as it was before if that fails.

    A paused guest is woken for as long as it takes to answer: libxl suspends guests by asking
    them.
    """
    domid = hypervisor.domid(guest, "save")
    found = hypervisor.context.domain(domid)
    paused = found is not None and found.paused
    try:
        hypervisor.context.suspend(
            domid, guest.name, fd, job, live=live and not paused, awake=not paused
        )
    except BaseException:
        _as_before(hypervisor, guest, domid, paused=paused)
        raise


def _as_before(hypervisor: LibxlHypervisor, guest: Guest, domid: int, *, paused: bool) -> None:
    context = hypervisor.context
    if paused:
        context.pause(domid, guest.name)
    if _is_suspended(context.domain(domid)):
        context.resume(domid, guest.name)


def _is_suspended(found: DomainFacts | None) -> bool:
    return found is not None and found.shutdown and found.shutdown_reason == SUSPEND


def bring_back(hypervisor: LibxlHypervisor, guest: Guest) -> None:
    """Bring back a guest that is suspended, or about to, for nobody; it stands paused then."""
    context = hypervisor.context
    found = hypervisor.facts(guest)
    if found is None:
        return
    domid = found.domid
    _end_orphans(domid)
    # Who asked it to suspend may have died before it has answered; paused, it never would.
    deadline = time.monotonic() + _ANSWER
    while not (found is None or found.paused or _is_suspended(found)):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
        found = context.domain(domid)
    if found is not None and not found.paused:
        context.pause(domid, guest.name)
    if _is_suspended(found):
        context.resume(domid, guest.name)


def _end_orphans(domid: int) -> None:
    """End helpers of libxl that still write the guest though who started them is dead.

    Their command line is ``--save-domain FD FD DOMID …``: ``libxl__xc_domain_save`` of Xen's
    tools/libs/light/libxl_save_callout.c.
    """
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError, IndexError):
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if not words[0].endswith(b"libxl-save-helper") or words[1] != b"--save-domain":
                continue
            pid = int(entry)
            if words[4] == str(domid).encode() and _parent(pid) == 1:
                process = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [], _ANSWER)
                finally:
                    os.close(process)


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # proc(5): the fourth field; the second may hold blanks, but ends at the last ")".
        return int(file.read().rpartition(b")")[2].split()[1])


def restore_stream(
    hypervisor: LibxlHypervisor, guest: Guest, spec: DomainSpec, fd: int, job: Job
) -> dict[str, Any]:
    """Have libxl build a guest, paused, from the stream at ``fd``."""
    json = hypervisor.native(spec)
    hypervisor.make_room(json, spec.name)
    job.report("memory")
    version = guest.stream_version or hypervisor.context.stream_version
    guest.id = restore(hypervisor, json, spec.name, fd, version, job)
    return {"domid": guest.id}


def restore(
    hypervisor: LibxlHypervisor, json: str, name: str, fd: int, version: int, job: Job
) -> int:
    """Have libxl build a domain, paused, from a stream of a version; return its number.

    A legacy stream is converted on its way in: libxl has a program for that, which not every
    host has.
    """
    if version > 1:
        return hypervisor.context.restore(json, name, fd, version, job)
    with _converted(fd, name) as stream:
        return hypervisor.context.restore(json, name, stream, 2, job)


@contextmanager
def _converted(fd: int, name: str) -> Iterator[int]:
    """Give a descriptor with the stream at ``fd`` as migration V2.

    One that is of that version already, whatever it was said to be, passes through.

    Raises:
        SaveImageError: it is damaged, or cannot be converted; rather than what libxl makes of
            its end.
    """
    from polyvisor_libxl.streams.convert import convert_legacy

    reading, writing = os.pipe2(os.O_CLOEXEC)
    failed: list[SaveImageError] = []

    def convert() -> None:
        try:
            with suppress(BrokenPipeError):  # libxl has enough, or has given up.
                convert_legacy(fd, writing, path=f"the stream of {name!r}")
        except SaveImageError as error:
            failed.append(error)
        except OSError as error:
            failed.append(SaveImageError(f"the stream of {name!r} cannot be read: {error}"))
        finally:
            os.close(writing)

    thread = threading.Thread(target=convert, name="polyvisor-convert", daemon=True)
    thread.start()
    try:
        yield reading
    except PolyvisorError as error:
        _close_and_join(reading, thread)
        if failed and not isinstance(error, Cancelled):
            raise failed[0] from error
        raise
    else:
        _close_and_join(reading, thread)


def _close_and_join(reading: int, thread: threading.Thread) -> None:
    os.close(reading)
    thread.join()
