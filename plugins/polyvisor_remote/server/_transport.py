"""Bytes and descriptors over one socket that never waits."""

from __future__ import annotations

import array
import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

__all__ = ["PlainTransport", "TlsTransport", "Transport", "UnixTransport"]

_FDS = socket.CMSG_SPACE(32 * array.array("i").itemsize)


class Transport(Protocol):
    """What a client is reached by.

    ``receive`` returns what there is: ``None`` if there is nothing yet, ``b""`` at the end.
    ``send`` returns how many bytes were taken, 0 if none can be now, and ``send_file``
    whether the descriptor was. All raise ``OSError`` when the connection is broken.
    """

    socket: socket.socket
    secure: bool
    encrypted: bool
    files: bool

    def receive(self, most: int) -> tuple[bytes | None, list[int]]:
        """Return bytes and descriptors that have arrived."""

    def send(self, data: bytes) -> int:
        """Send as much as goes without waiting."""

    def send_file(self, fd: int) -> bool:
        """Send a descriptor, where ``files`` says that they can be."""

    def pending(self) -> bool:
        """Say whether bytes have arrived that no poll tells of."""

    def close(self) -> None:
        """Close it."""


class PlainTransport:
    """A TCP connection."""

    secure = False
    encrypted = False
    files = False

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self, most: int) -> tuple[bytes | None, list[int]]:
        try:
            return self.socket.recv(most), []
        except (BlockingIOError, InterruptedError):
            return None, []

    def send(self, data: bytes) -> int:
        try:
            return self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def send_file(self, fd: int) -> bool:
        raise OSError("descriptors go over local connections only")

    def pending(self) -> bool:
        return False

    def close(self) -> None:
        self.socket.close()


class UnixTransport(PlainTransport):
    """A local connection, over which descriptors may come and go."""

    secure = True
    files = True

    def send_file(self, fd: int) -> bool:
        try:
            # One byte with each, as libvirt's clients expect them.
            self.socket.sendmsg(
                [b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            )
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def receive(self, most: int) -> tuple[bytes | None, list[int]]:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(most, _FDS, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return None, []
        if not ancillary:
            return data, []
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        return data, list(fds)


class TlsTransport:
    """An encrypted connection; the handshake is over.

    The library must not read and write one connection at the same time, so each call is
    made under a lock.
    """

    secure = True
    encrypted = True
    files = False

    def __init__(self, connected: ssl.SSLSocket) -> None:
        import ssl
        from threading import Lock

        self.socket: socket.socket = connected
        self._tls = connected
        self._later = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._lock = Lock()

    def receive(self, most: int) -> tuple[bytes | None, list[int]]:
        with self._lock:
            try:
                return self._tls.recv(most), []
            except self._later:
                return None, []

    def send(self, data: bytes) -> int:
        with self._lock:
            try:
                # Small pieces: what was not taken must be offered again unchanged.
                return self._tls.send(data[:16384])
            except self._later:
                return 0

    def send_file(self, fd: int) -> bool:
        raise OSError("descriptors go over local connections only")

    def pending(self) -> bool:
        with self._lock:
            return self._tls.pending() > 0

    def close(self) -> None:
        self.socket.close()
