"""Consoles, screens, keys and cores."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from polyvisor.jobs import Job
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.server.streams import Sink, Source

if TYPE_CHECKING:
    from typing import BinaryIO

    from polyvisor_remote.server.passing import Files
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.server.streams import Stream

# virDomainConsoleFlags
_FORCE, _SAFE = 1, 2
# virDomainOpenGraphicsFlags
_SKIP_AUTH = 1
# virDomainGraphicsReloadType, in order
_RELOADED = (None, "vnc")
# virDomainCoreDumpFlags
_CRASH, _LIVE, _BYPASS, _RESET, _MEMORY_ONLY = (1 << bit for bit in range(5))
_DUMP = _CRASH | _LIVE | _BYPASS | _RESET | _MEMORY_ONLY
# virDomainCoreDumpFormat and virKeycodeSet, in order
_FORMATS = ("raw", "kdump-zlib", "kdump-lzo", "kdump-snappy", "win-dmp")
_CODESETS = (
    "linux", "xt", "atset1", "atset2", "atset3", "os_x", "xt_kbd", "usb", "win32", "qnum",
)  # fmt: skip


class _Console(Source, Sink):
    """Carries bytes between a client and a console until one of them ends.

    Args:
        fd: the console, which this object then owns.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._reading = self._closed = self._released = False

    def read(self, most: int) -> bytes | int:
        with self._lock:
            if self._closed:
                return b""
            self._reading = True
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.register(self._end, select.POLLIN)
            if self._end in dict(poll.poll()):
                return b""
            return os.read(self._fd, most)
        except OSError:  # EIO is how a terminal shows its end.
            return b""
        finally:
            with self._lock:
                self._reading = False
                if self._closed:
                    self._release()

    def data(self, piece: bytes) -> None:
        with self._lock:
            if not self._closed:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]

    def hole(self, length: int) -> None:
        raise Failure(9, "a console has no holes")

    def finish(self) -> None:
        self.close()

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._reading:
                os.eventfd_write(self._end, 1)
            else:
                self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            os.close(self._fd)
            os.close(self._end)


class _File(Source):
    """Gives a file that nobody else has.

    Args:
        file: the file, at its beginning, which this object then owns.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, most: int) -> bytes | int:
        return self._file.read(most)

    def close(self) -> None:
        self._file.close()


@serves("domain_open_console", slow=True)
def open_console(session: Session, arguments: Any, stream: Stream) -> None:
    """Connect a client to a console."""
    check_flags(arguments.flags, _FORCE | _SAFE, "virDomainOpenConsole")
    part = session.driver.consoles
    if part is None:
        raise unsupported("domain_open_console")
    uuid = session.uuid(arguments.dom)
    force = bool(arguments.flags & _FORCE)
    console = _Console(part.open(uuid, arguments.dev_name, force=force))
    stream.source = stream.sink = console


@serves("domain_open_channel", slow=True)
def open_channel(session: Session, arguments: Any, stream: Stream) -> None:
    """Connect a client to a channel, by its alias or by its name in the guest."""
    check_flags(arguments.flags, _FORCE, "virDomainOpenChannel")
    part = session.driver.consoles
    if part is None:
        raise unsupported("domain_open_channel")
    uuid, name = session.uuid(arguments.dom), arguments.name
    channels = {
        channel.alias or f"channel{number}": channel.target
        for number, channel in enumerate(session.driver.domains.spec(uuid).devices.channels)
    }
    alias = next(
        (
            alias
            for alias, target in channels.items()
            if name in (None, alias) or (target is not None and target.name == name)
        ),
        None,
    )
    if alias is None:
        raise Failure(1, f"cannot find channel {name or '(null)'}")
    force = bool(arguments.flags & _FORCE)
    stream.source = stream.sink = _Console(part.open(uuid, alias, force=force))


@serves("domain_screenshot", slow=True)
def screenshot(session: Session, arguments: Any, stream: Stream) -> tuple[str]:
    """Give a picture of a screen."""
    check_flags(arguments.flags, 0, "virDomainScreenshot")
    part = session.driver.screens
    if part is None:
        raise unsupported("domain_screenshot")
    uuid = session.uuid(arguments.dom)
    file: Any = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by the stream
    try:
        kind = part.screenshot(uuid, arguments.screen, file.fileno())
        file.seek(0)
    except BaseException:
        file.close()
        raise
    stream.source = _File(file)
    return (kind,)


@serves("domain_send_key", slow=True)
def send_key(session: Session, arguments: Any) -> None:
    """Press keys."""
    check_flags(arguments.flags, 0, "virDomainSendKey")
    part = session.driver.screens
    if part is None:
        raise unsupported("domain_send_key")
    if arguments.codeset >= len(_CODESETS):
        raise Failure(8, f"unknown key code set {arguments.codeset}")
    part.send_keys(
        session.uuid(arguments.dom),
        list(arguments.keycodes),
        codeset=_CODESETS[arguments.codeset],
        hold=arguments.holdtime / 1000,
    )


def _graphics(session: Session, arguments: Any, fd: int, procedure: str) -> None:
    check_flags(arguments.flags, _SKIP_AUTH, "virDomainOpenGraphics")
    part = need(session.driver.screens, procedure)
    skip = bool(arguments.flags & _SKIP_AUTH)
    part.open_graphics(session.uuid(arguments.dom), arguments.idx, fd, skip_auth=skip)


@serves("domain_graphics_reload", slow=True)
def graphics_reload(session: Session, arguments: Any) -> None:
    """Have a display use its certificates as they are now."""
    check_flags(arguments.flags, 0, "virDomainGraphicsReload")
    part = need(session.driver.screens, "domain_graphics_reload")
    if arguments.type >= len(_RELOADED):
        raise Failure(8, f"unsupported graphics type {arguments.type}")
    part.reload_graphics(session.uuid(arguments.dom), _RELOADED[arguments.type])


@serves("domain_open_graphics", slow=True, files=True)
def open_graphics(session: Session, arguments: Any, files: Files) -> None:
    """Connect a display to the socket that came."""
    (fd,) = files.need(1)
    _graphics(session, arguments, fd, "domain_open_graphics")


@serves("domain_open_graphics_fd", slow=True, files=True)
def open_graphics_fd(session: Session, arguments: Any, files: Files) -> None:
    """Connect a display to a new socket, whose other end the client gets."""
    files.need(0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _graphics(session, arguments, ours.fileno(), "domain_open_graphics_fd")
        files.given.append(theirs.detach())


def _dump(session: Session, arguments: Any, form: int, procedure: str) -> None:
    part = session.driver.dumps
    if part is None:
        raise unsupported(procedure)
    if form >= len(_FORMATS):
        raise Failure(8, f"unknown dump format {form}")
    flags = arguments.flags
    with Job("dump") as job:
        part.dump(
            session.uuid(arguments.dom),
            arguments.to,
            job,
            live=bool(flags & _LIVE),
            crash=bool(flags & _CRASH),
            reset=bool(flags & _RESET),
            memory_only=bool(flags & _MEMORY_ONLY),
            core_format=_FORMATS[form],
        )


@serves("domain_core_dump", slow=True)
def core_dump(session: Session, arguments: Any) -> None:
    """Write a core."""
    check_flags(arguments.flags, _DUMP, "virDomainCoreDump")
    _dump(session, arguments, 0, "domain_core_dump")


@serves("domain_core_dump_with_format", slow=True)
def core_dump_with_format(session: Session, arguments: Any) -> None:
    """Write a core in some form."""
    check_flags(arguments.flags, _DUMP, "virDomainCoreDumpWithFormat")
    _dump(session, arguments, arguments.dumpformat, "domain_core_dump_with_format")
