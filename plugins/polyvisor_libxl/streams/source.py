"""Streams that are read once, forwards: from a file, a pipe or memory.

What is not looked at is stepped over: in a file without reading it, in a pipe without
copying it to us.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
from contextlib import suppress
from typing import BinaryIO, Protocol

__all__ = ["CutOff", "FileSource", "MemorySource", "PipeSource", "Source", "open_source"]

#: Read at once: a record's header and the entries of a batch of 1024 pages, and some more.
_READ = 12 << 10
_SKIP = 1 << 20
_F_SETPIPE_SZ = 1031  # linux/fcntl.h


class CutOff(Exception):
    """The stream ends before what was to be read.

    Args:
        end: where it ends.
    """

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class Source(Protocol):
    """A stream that is read forwards; ``position`` counts from the start of the image."""

    position: int

    def take(self, size: int) -> bytes:
        """Read exactly ``size`` bytes, or raise :class:`CutOff`."""

    def peek(self, size: int) -> bytes:
        """Return up to ``size`` bytes, less only at the end, without taking them."""

    def skip(self, size: int) -> None:
        """Step over ``size`` bytes, or raise :class:`CutOff`."""

    def send(self, size: int, sink: int) -> None:
        """Copy ``size`` bytes to the descriptor ``sink``, or raise :class:`CutOff`."""


def open_source(image: BinaryIO, position: int = 0) -> Source:
    """Return what is left of an image as a source.

    Args:
        image: a file, a pipe read through a ``BufferedReader``, or bytes in memory.
        position: how much of a pipe has been read; files and memory know it.
    """
    if isinstance(image, io.BytesIO):
        return MemorySource(image.getvalue(), image.tell())
    fd = image.fileno()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return FileSource(fd, image.tell())
    buffered = b""
    if isinstance(image, io.BufferedReader):
        buffered = image.read(len(image.peek()))
    return PipeSource(fd, buffered, position)


class MemorySource:
    """Bytes in memory."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def take(self, size: int) -> bytes:
        """See :class:`Source`."""
        end = self.position + size
        if end > len(self._data):
            raise CutOff(len(self._data))
        data = self._data[self.position : end]
        self.position = end
        return data

    def peek(self, size: int) -> bytes:
        """See :class:`Source`."""
        return self._data[self.position : self.position + size]

    def skip(self, size: int) -> None:
        """See :class:`Source`."""
        if self.position + size > len(self._data):
            raise CutOff(len(self._data))
        self.position += size

    def send(self, size: int, sink: int) -> None:
        """See :class:`Source`."""
        write_all(sink, self.take(size))


class FileSource:
    """A regular file; its descriptor's own position is not touched."""

    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self.position = position
        self._buffer = b""
        self._start = position
        self._size = os.fstat(fd).st_size

    def take(self, size: int) -> bytes:
        """See :class:`Source`."""
        at = self.position - self._start
        end = at + size
        if end > len(self._buffer):
            self._fill(size)
            at, end = 0, size
            if end > len(self._buffer):
                raise CutOff(self.position + len(self._buffer))
        self.position += size
        return self._buffer[at:end]

    def peek(self, size: int) -> bytes:
        """See :class:`Source`."""
        at = self.position - self._start
        if at + size > len(self._buffer):
            self._fill(size)
            at = 0
        return self._buffer[at : at + size]

    def _fill(self, size: int) -> None:
        """Read as much as there is of ``size`` bytes, from the position on."""
        # Nothing is allocated for what a length merely claims.
        left = max(0, os.fstat(self._fd).st_size - self.position) if size > _READ else size
        data = os.pread(self._fd, max(min(size, left), _READ), self.position)
        while len(data) < size and (
            more := os.pread(self._fd, size - len(data), self.position + len(data))
        ):
            data += more
        self._buffer = data
        self._start = self.position

    def skip(self, size: int) -> None:
        """See :class:`Source`."""
        end = self.position + size
        if end > self._size:
            self._size = os.fstat(self._fd).st_size
            if end > self._size:
                raise CutOff(self._size)
        self.position = end

    def send(self, size: int, sink: int) -> None:
        """See :class:`Source`."""
        left = size
        while left:
            try:
                sent = os.sendfile(sink, self._fd, self.position, left)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                data = os.pread(self._fd, min(left, _SKIP), self.position)
                sent = len(data)
                write_all(sink, data)
            if not sent:
                raise CutOff(self.position)
            self.position += sent
            left -= sent


class PipeSource:
    """A pipe or socket.

    Args:
        fd: its descriptor.
        buffered: what was read of it already and comes first.
        position: of that, in the image.
    """

    def __init__(self, fd: int, buffered: bytes = b"", position: int = 0) -> None:
        self._fd = fd
        self._buffer = memoryview(buffered)
        self.position = position
        self._null = -1
        self._splices = stat.S_ISFIFO(os.fstat(fd).st_mode)
        widen(fd)

    def __del__(self) -> None:
        if self._null >= 0:
            os.close(self._null)

    def take(self, size: int) -> bytes:
        """See :class:`Source`."""
        if size > len(self._buffer):
            self._fill(size)
            if size > len(self._buffer):
                raise CutOff(self.position + len(self._buffer))
        data = bytes(self._buffer[:size])
        self._buffer = self._buffer[size:]
        self.position += size
        return data

    def peek(self, size: int) -> bytes:
        """See :class:`Source`."""
        if size > len(self._buffer):
            self._fill(size)
        return bytes(self._buffer[:size])

    def _fill(self, size: int) -> None:
        data = bytearray(self._buffer)
        while len(data) < size:
            more = os.read(self._fd, max(_READ, min(size - len(data), _SKIP)))
            if not more:
                break
            data += more
        self._buffer = memoryview(bytes(data))

    def skip(self, size: int) -> None:
        """See :class:`Source`."""
        left = self._from_buffer(size, None)
        while left:
            gone = self._drop(left) if self._splices else len(os.read(self._fd, min(left, _SKIP)))
            if not gone:
                raise CutOff(self.position)
            self.position += gone
            left -= gone

    def _drop(self, size: int) -> int:
        """Let the kernel throw up to ``size`` bytes away."""
        if self._null < 0:
            self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.splice(self._fd, self._null, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            self._splices = False
            return len(os.read(self._fd, min(size, _SKIP)))

    def _from_buffer(self, size: int, sink: int | None) -> int:
        """Pass on or drop what is in the buffer; return how much is left."""
        here = min(size, len(self._buffer))
        if here and sink is not None:
            write_all(sink, self._buffer[:here])
        self._buffer = self._buffer[here:]
        self.position += here
        return size - here

    def send(self, size: int, sink: int) -> None:
        """See :class:`Source`."""
        left = self._from_buffer(size, sink)
        splices = self._splices
        while left:
            if splices:
                try:
                    sent = os.splice(self._fd, sink, left)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.ENOSYS):
                        raise
                    splices = False
                    continue
            else:
                data = os.read(self._fd, min(left, _SKIP))
                sent = len(data)
                write_all(sink, data)
            if not sent:
                raise CutOff(self.position)
            self.position += sent
            left -= sent


def widen(fd: int) -> None:
    """Let more fit into a pipe, as much as an unprivileged process may ask for."""
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        with suppress(OSError):  # Less may be allowed; it only costs speed.
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _SKIP)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
