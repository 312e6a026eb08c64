"""What a stream goes through: a file, or a socket that can be given up on."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from polyvisor.errors import HypervisorError, Timeout
from polyvisor_sim.memory import CHUNK

if TYPE_CHECKING:
    from polyvisor.jobs import Job

__all__ = ["FileSink", "FileSource", "SocketSink", "SocketSource", "connect", "listen"]

# With a bandwidth limit, what may be sent in so many seconds is sent at once.
_NAP = 0.05

# Seconds that a line of words may take, once its first byte is there.
_WORDS = 5.0


class FileSink:
    """Writes to a file or pipe from its present position; ``OSError`` goes through."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, *parts: bytes | memoryview) -> None:
        """Write all of ``parts``."""
        rest = [memoryview(part) for part in parts]
        while rest:
            written = os.writev(self._fd, rest)
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if rest:
                rest[0] = rest[0][written:]


class FileSource:
    """Reads from a file or pipe from its present position; ``OSError`` goes through."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``; return how many bytes there were before the end."""
        total = 0
        while total < len(buffer):
            count = os.readv(self._fd, [buffer[total:]])
            if count == 0:
                break
            total += count
        return total


class SocketSink:
    """Writes to a socket, at a limited rate, until the job is cancelled.

    Args:
        connection: connected and non-blocking.
        job: whose cancelling ends everything.
        bandwidth: bytes per second at most, or ``None``.
    """

    def __init__(self, connection: socket.socket, job: Job, bandwidth: int | None) -> None:
        self._connection = connection
        self._job = job
        self.bandwidth = bandwidth
        self._busy_until = 0.0
        self._poll = select.poll()
        self._poll.register(job.fileno(), select.POLLIN)
        self._poll.register(connection, select.POLLIN | select.POLLOUT)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write all of ``parts``.

        Raises:
            Cancelled: the job was cancelled.
            HypervisorError: the other side is gone, or says why it takes no more.
        """
        for part in parts:
            rest = memoryview(part)
            while rest:
                self._job.check()
                allowed = self._allowed()
                if any(events & select.POLLIN for _, events in self._poll.poll()):
                    self._job.check()
                    self._refused()
                try:
                    sent = self._connection.send(rest[:allowed])
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise _lost("the destination", error) from error
                rest = rest[sent:]
                if self.bandwidth is not None:
                    self._busy_until += sent / self.bandwidth

    def _refused(self) -> NoReturn:
        """Raise what the other side has to say before everything was sent."""
        words = self.answer(_WORDS)
        raise HypervisorError(f"the destination refused: {words}", native_message=words)

    def _allowed(self) -> int:
        """Wait until something may be sent, and return how many bytes."""
        if self.bandwidth is None:
            return CHUNK
        while (ahead := self._busy_until - time.monotonic()) > _NAP:
            _readable(min(ahead, 1.0), self._job.fileno())
            self._job.check()
        self._busy_until = max(self._busy_until, time.monotonic())
        return max(1, int(self.bandwidth * _NAP))

    def answer(self, timeout: float) -> str:
        """Return the line that the other side answers with.

        Raises:
            Cancelled: the job was cancelled.
            HypervisorError: it is gone without a word.
            Timeout: it says nothing.
        """
        line = b""
        deadline = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready = _readable(max(0.0, left), self._connection.fileno(), self._job.fileno())
            self._job.check()
            if not ready:
                raise Timeout(f"the destination did not answer within {timeout:g} s")
            try:
                data = self._connection.recv(1024)
            except OSError as error:
                raise _lost("the destination", error) from error
            if not data or len(line) > 4096:
                raise _lost("the destination", None)
            line += data
        return line.decode(errors="replace").strip()


class SocketSource:
    """Reads from a socket, until a descriptor says that nobody wants it any more.

    Args:
        connection: connected.
        stop_fd: readable when it is to be given up.
    """

    def __init__(self, connection: socket.socket, stop_fd: int) -> None:
        self._connection = connection
        self._poll = select.poll()
        self._stop_fd = stop_fd
        self._poll.register(stop_fd, select.POLLIN)
        self._poll.register(connection, select.POLLIN)
        connection.setblocking(False)

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``; return how many bytes there were before the end."""
        total = 0
        while total < len(buffer):
            if any(fd == self._stop_fd for fd, _ in self._poll.poll()):
                raise HypervisorError("receiving was given up here")
            try:
                count = self._connection.recv_into(buffer[total:])
            except OSError as error:
                raise _lost("the source", error) from error
            if count == 0:
                break
            total += count
        return total

    def refuse(self, words: str) -> None:
        """Tell the other side why, and take what it still sends so that it hears that.

        Closing a connection on which something is still to be read makes TCP throw
        away what was said on it last.
        """
        with contextlib.suppress(OSError, HypervisorError):
            self._connection.sendall(words.encode() + b"\n")
            self._connection.shutdown(socket.SHUT_WR)
            rubbish = memoryview(bytearray(CHUNK))
            while self.read_into(rubbish):
                pass


def _readable(timeout: float, *fds: int) -> bool:
    """Wait until one of the descriptors is readable; return whether one is."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _lost(who: str, error: OSError | None) -> HypervisorError:
    why = f": {error.strerror}" if error is not None and error.strerror else ""
    return HypervisorError(f"the connection to {who} broke{why}")


class _UnixPath:
    """A socket's path in a form that fits into ``sun_path``, however long it is (unix(7))."""

    def __init__(self, path: str) -> None:
        folder, self._name = os.path.split(path)
        self._fd = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}/{self._name}"

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._fd)


def listen(uri: str) -> tuple[socket.socket, str]:
    """Listen on ``unix:PATH`` or ``tcp:HOST:PORT``; port 0 means any that is free.

    Returns:
        The socket, and the URI to connect to.

    Raises:
        HypervisorError: that is not possible; says why.
    """
    kind, rest = _split(uri)
    try:
        if kind == "unix":
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with contextlib.ExitStack() as undo:
                undo.callback(server.close)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(rest)
                with _UnixPath(rest) as short:
                    server.bind(short)
                server.listen(1)
                undo.pop_all()
            return server, uri
        host, port = _host_and_port(uri, rest)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.create_server((host, port), family=family, backlog=1)
        shown = f"[{host}]" if ":" in host else host
        return server, f"tcp:{shown}:{server.getsockname()[1]}"
    except OSError as error:
        raise HypervisorError(
            f"cannot listen for a migration on {uri}: {error.strerror or error}"
        ) from error


def connect(uri: str, timeout: float) -> socket.socket:
    """Connect to ``unix:PATH`` or ``tcp:HOST:PORT``; the socket is non-blocking.

    Raises:
        HypervisorError: nobody answers there; says why.
    """
    kind, rest = _split(uri)
    try:
        if kind == "unix":
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            with contextlib.ExitStack() as undo:
                undo.callback(client.close)
                client.settimeout(timeout)
                with _UnixPath(rest) as short:
                    client.connect(short)
                undo.pop_all()
        else:
            client = socket.create_connection(_host_and_port(uri, rest), timeout)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
    except OSError as error:
        raise HypervisorError(
            f"cannot connect to the destination at {uri}: {error.strerror or error}"
        ) from error
    return client


def _split(uri: str) -> tuple[str, str]:
    """Split a URI into its kind and the rest; ``tcp://HOST:PORT`` is libvirt's way to write it."""
    kind, colon, rest = uri.partition(":")
    rest = rest.removeprefix("//")
    if not colon or kind not in ("unix", "tcp") or not rest:
        raise HypervisorError(f"a migration goes to unix:PATH or tcp:HOST:PORT, not to {uri!r}")
    return kind, rest


def _host_and_port(uri: str, rest: str) -> tuple[str, int]:
    host, colon, port = rest.rpartition(":")
    if not colon:
        host, port = rest, "0"
    if not port.isdigit() or int(port) > 65535:
        raise HypervisorError(f"{uri!r}: {port!r} is not a port")
    return host.removeprefix("[").removesuffix("]"), int(port)
