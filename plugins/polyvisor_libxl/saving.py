"""Writing guests out and reading them back."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Cancelled, PolyvisorError, SaveImageError
from polyvisor_libxl.ending import SUSPEND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.dominfo import DomainFacts
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["bring_back", "restore", "restore_stream", "save_stream", "written"]

#: Seconds that a guest gets to answer a suspend request whose author is dead.
_ANSWER = 1.0
#: Bytes of a stream that are passed on at once.
_PIECE = 1 << 20


def save_stream(hypervisor: LibxlHypervisor, guest: Guest, fd: int, job: Job) -> None:
    """Have libxl write a guest to ``fd``, standing still."""
    with written(hypervisor, guest, fd, job, live=False):
        pass


@contextmanager
def written(
    hypervisor: LibxlHypervisor, guest: Guest, fd: int, job: Job, *, live: bool
) -> Iterator[None]:
    """Have libxl write a guest; it is suspended then, for a ``with`` block.

    If that or the block fails, it is as it was before.

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
        yield
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
    with _fed(fd, spec.name, version) as (stream, end):
        guest.id = hypervisor.context.restore(json, spec.name, stream, 2, job, end)
    return {"domid": guest.id}


def restore(
    hypervisor: LibxlHypervisor, json: str, name: str, wire: socket.socket, version: int, job: Job
) -> int:
    """Have libxl build a domain, paused, from what arrives on a connection; return its number."""
    if version > 1:

        def hang_up() -> None:
            wire.shutdown(socket.SHUT_RDWR)

        return hypervisor.context.restore(json, name, wire.fileno(), version, job, hang_up)
    with _fed(wire.fileno(), name, version) as (stream, end):
        return hypervisor.context.restore(json, name, stream, 2, job, end)


@contextmanager
def _fed(fd: int, name: str, version: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """Give a descriptor with the stream at ``fd`` as migration V2, and what ends it early.

    A legacy stream is converted on its way in: libxl has a program for that, which not every
    host has. What is of migration V2 already, whatever it was said to be, passes through.

    Raises:
        SaveImageError: it is damaged, or cannot be converted; rather than what libxl makes of
            its end.
    """
    reading, writing = socket.socketpair()
    failed: list[SaveImageError] = []

    def end() -> None:
        with suppress(OSError):  # It has ended.
            writing.shutdown(socket.SHUT_RDWR)

    def feed() -> None:
        try:
            with suppress(BrokenPipeError):  # libxl has enough, or has given up.
                _feed(fd, writing, name, version)
        except SaveImageError as error:
            failed.append(error)
        except OSError as error:
            failed.append(SaveImageError(f"the stream of {name!r} cannot be read: {error}"))
        finally:
            end()

    thread = threading.Thread(target=feed, name="polyvisor-feed", daemon=True)
    thread.start()
    try:
        # libxl 4.17 can crash on a stream that has nothing at all.
        if not reading.recv(1, socket.MSG_PEEK):
            raise SaveImageError(f"the stream of {name!r} is empty")
        yield reading.fileno(), end
    except PolyvisorError as error:
        _end(reading, writing, thread)
        if failed and not isinstance(error, Cancelled):
            raise failed[0] from error
        raise
    finally:
        _end(reading, writing, thread)


def _feed(fd: int, wire: socket.socket, name: str, version: int) -> None:
    """Send what is left of a stream, converted if it is a legacy one.

    Raises:
        SaveImageError: it cannot be converted.
    """
    from polyvisor_libxl.streams.convert import convert_legacy
    from polyvisor_libxl.streams.source import CutOff, FileSource, PipeSource, Source

    wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
    if version == 1:
        convert_legacy(fd, wire.fileno(), path=f"the stream of {name!r}")
        return
    source: Source
    if stat.S_ISREG(os.fstat(fd).st_mode):
        source = FileSource(fd, os.lseek(fd, 0, os.SEEK_CUR))
    else:
        source = PipeSource(fd)
    with suppress(CutOff):
        while True:
            source.send(_PIECE, wire.fileno())


def _end(reading: socket.socket, writing: socket.socket, thread: threading.Thread) -> None:
    reading.close()
    thread.join()
    writing.close()
