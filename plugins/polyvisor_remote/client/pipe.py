"""Bytes to and from a server: over a socket, over TLS, or through a program."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    import subprocess

__all__ = ["Pipe", "ProgramPipe", "SocketPipe", "TlsPipe"]

#: Seconds that a program has to end after its standard input was closed.
_PATIENCE = 2.0


class Pipe(Protocol):
    """A way to a server. One thread may send while another receives."""

    #: Whether nobody else can listen in.
    secure: bool
    #: Whether descriptors can go along.
    files: bool
    #: Whether a person may be asked for something on the way.
    asks: bool

    def send(self, data: bytes) -> None:
        """Send all of it; ``OSError`` if it cannot be."""

    def send_files(self, data: bytes, files: Sequence[int]) -> None:
        """Send all of it and descriptors after it, where that can be."""

    def receive(self, most: int, timeout: float | None) -> bytes | None:
        """Return what came, ``b""`` at the end, ``None`` if nothing did in the time."""

    def close(self) -> None:
        """Hang up; a second call does nothing."""

    def farewell(self) -> str:
        """Return what the other side said on another way as it went, for an error."""


class SocketPipe:
    """A connected socket.

    Args:
        connected: the socket.
        secure: whether nobody else can listen in.
        files: whether it is a local one, to the server itself.
    """

    asks = False

    def __init__(
        self, connected: socket.socket, *, secure: bool = False, files: bool = False
    ) -> None:
        self.secure, self.files = secure, files
        self._socket = connected
        self._receive, self.send = connected.recv, connected.sendall
        self._poll = select.poll()
        self._poll.register(connected.fileno(), select.POLLIN)

    def receive(self, most: int, timeout: float | None) -> bytes | None:
        """Return what came, if anything did in the time."""
        # Not by a blocking read alone: that wakes up whenever the server takes what was sent.
        if timeout is not None and not self._poll.poll(timeout * 1000):
            return None
        return self._receive(most)

    def send_files(self, data: bytes, files: Sequence[int]) -> None:
        """Send all of it, and each descriptor with a byte of its own (``virNetSocketSendFD``)."""
        self.send(data)
        for one in files:
            held = struct.pack("i", one)
            self._socket.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, held)])

    def close(self) -> None:
        """Hang up."""
        # A thread that waits in it would not notice that it is closed.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def farewell(self) -> str:
        """Return what the other side said as it went."""
        return ""


class ProgramPipe(SocketPipe):
    """A program that speaks for the server on its standard input and output.

    Args:
        connected: our end of the socket that it has.
        process: the program; its standard error is a pipe.
        secure: see :class:`SocketPipe`.
    """

    asks = True

    def __init__(
        self,
        connected: socket.socket,
        process: subprocess.Popen[bytes],
        *,
        secure: bool = False,
    ) -> None:
        super().__init__(connected, secure=secure)
        self._process = process
        self._said = b""
        self._listener = threading.Thread(target=self._listen, name="remote-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as errors:
            for line in errors:
                self._said = (self._said + line)[-4096:]

    def close(self) -> None:
        """Hang up."""
        import subprocess

        super().close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()

    def farewell(self) -> str:
        """Return what the other side said as it went."""
        self._listener.join(_PATIENCE)
        return " ".join(self._said.decode(errors="replace").split())


class TlsPipe:
    """An encrypted connection whose handshake is over.

    The library must not read and write one connection at the same time, so each call is
    made under a lock, and waiting is not.
    """

    secure = True
    files = False
    asks = False

    def __init__(self, connected: ssl.SSLSocket) -> None:
        import ssl

        connected.setblocking(False)
        self._tls = connected
        self._reading, self._writing = ssl.SSLWantReadError, ssl.SSLWantWriteError
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        view = memoryview(data)
        while view:
            with self._lock:
                try:
                    # What was not taken must be offered again unchanged.
                    view = view[self._tls.send(view[:16384]) :]
                    continue
                except (self._writing, self._reading):
                    pass
            self._wait(select.POLLOUT, None)

    def send_files(self, data: bytes, files: Sequence[int]) -> None:
        """Refuse, since they cannot go to another host."""
        raise OSError("descriptors cannot go over TLS")

    def receive(self, most: int, timeout: float | None) -> bytes | None:
        """Return what came, if anything did in the time."""
        while True:
            with self._lock:
                try:
                    return self._tls.recv(most)
                except self._reading:
                    wanted = select.POLLIN
                except self._writing:
                    wanted = select.POLLOUT
            if not self._wait(wanted, timeout):
                return None

    def _wait(self, wanted: int, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._tls.fileno(), wanted)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._tls.shutdown(socket.SHUT_RDWR)
        self._tls.close()

    def farewell(self) -> str:
        """Return what the other side said as it went."""
        return ""
