"""Streams that are compressed between the hypervisor and the image file."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self

from polyvisor.errors import InvalidArgument, SaveImageError, Unsupported

if TYPE_CHECKING:
    from polyvisor.saveimage import ImageHeader

__all__ = ["Pump", "compressing", "read_stream", "write_all"]

_CHUNK = 1 << 20


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip() -> tuple[Callable[[], _Compressor], Callable[[], _Decompressor]]:
    import zlib

    # 16 + the window's size: with gzip's header and trailer (zlib.h, deflateInit2).
    return lambda: zlib.compressobj(1, wbits=31), lambda: zlib.decompressobj(wbits=31)


def _bzip2() -> tuple[Callable[[], _Compressor], Callable[[], _Decompressor]]:
    import bz2

    return bz2.BZ2Compressor, bz2.BZ2Decompressor


def _xz() -> tuple[Callable[[], _Compressor], Callable[[], _Decompressor]]:
    import lzma

    return lambda: lzma.LZMACompressor(preset=0), lzma.LZMADecompressor


_KINDS = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz}
#: What Python has no module for; the programs read and write files themselves.
_PROGRAMS = {"lzop": ("lzop", "-q"), "zstd": ("zstd", "-q")}


@contextmanager
def compressing(compression: str, fd: int) -> Iterator[int]:
    """Give a descriptor whose stream arrives in ``fd`` compressed.

    Raises:
        InvalidArgument: there is no such compression.
        OSError: ``fd`` could not be written.
    """
    if compression == "none":
        yield fd
        return
    if compression in _PROGRAMS:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        with _Program(compression, "-c", source=read_end, sink=fd, lent=write_end) as program:
            yield write_end
        if program.status:
            raise OSError(errno.EIO, program.words)
        return
    if compression not in _KINDS:
        known = ", ".join(("none", *_KINDS, *_PROGRAMS))
        raise InvalidArgument(f"no compression {compression!r}; there are: {known}")
    compressor = _KINDS[compression]()[0]()

    def pump(source: int) -> None:
        while data := os.read(source, _CHUNK):
            write_all(fd, compressor.compress(data))
        write_all(fd, compressor.flush())

    with Pump(pump, reads=True) as end:
        yield end


@contextmanager
def read_stream(
    header: ImageHeader, fd: int, path: str, *, bypass_cache: bool = False
) -> Iterator[int]:
    """Give a descriptor that reads the stream of the image open as ``fd``, decompressed.

    Args:
        header: the image's.
        fd: the image.
        path: what it is to be called.
        bypass_cache: read it past the host's cache.

    Raises:
        SaveImageError: it is not compressed as the header says, or ends too soon.
    """
    os.lseek(fd, header.stream_offset, os.SEEK_SET)
    if not bypass_cache:
        with _decompressed(header, fd, path) as end:
            yield end
        return
    from polyvisor.local._direct import reading

    with reading(fd, path) as source, _decompressed(header, source, path) as end:
        yield end


@contextmanager
def _decompressed(header: ImageHeader, fd: int, path: str) -> Iterator[int]:
    if header.compression == "none":
        yield fd
        return
    if header.compression in _PROGRAMS:
        read_end, write_end = _ends()
        with _Program(
            header.compression, "-dc", source=fd, sink=write_end, lent=read_end
        ) as program:
            yield read_end
        # The hypervisor may have read all that it wanted before the end came.
        if program.status not in (0, -signal.SIGPIPE):
            raise SaveImageError(
                f"{path}: its stream is damaged: {program.words}",
                path=path,
                offset=header.stream_offset,
            )
        return
    if header.compression not in _KINDS:
        raise SaveImageError(
            f"{path}: its stream is compressed with {header.compression!r}, which cannot be "
            f"undone here; convert the image first",
            path=path,
        )
    decompressor = _KINDS[header.compression]()[1]

    def pump(sink: int) -> None:
        current = decompressor()
        try:
            while data := os.read(fd, _CHUNK):
                while data:
                    if current.eof:
                        current = decompressor()
                    write_all(sink, current.decompress(data))
                    data = current.unused_data if current.eof else b""
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                return  # The hypervisor has read all that it wanted.
            raise
        except Exception as error:
            raise SaveImageError(
                f"{path}: its stream is damaged: {error}", path=path, offset=header.stream_offset
            ) from error
        if not current.eof:
            raise SaveImageError(f"{path}: its stream ends too soon", path=path)

    with Pump(pump, reads=False) as end:
        yield end


class _Program:
    """A program between a descriptor and a pipe of which the other end is lent.

    Args:
        compression: which program.
        way: its option for packing or unpacking.
        source: what it reads.
        sink: what it writes.
        lent: the pipe's end that is lent; that, and the program's own, are closed in the end.

    Attributes:
        status: how it ended, a signal as a negative number.
        words: what it had to say.
    """

    def __init__(self, compression: str, way: str, *, source: int, sink: int, lent: int) -> None:
        import subprocess

        self.status, self.words = 0, ""
        self._lent, self._name = lent, compression
        line = (*_PROGRAMS[compression], way)
        try:
            self._process = subprocess.Popen(
                line, stdin=source, stdout=sink, stderr=subprocess.PIPE
            )
        except OSError as error:
            os.close(lent)
            raise Unsupported(
                f"images compressed with {compression} need the program {line[0]}, which cannot "
                f"be run: {error.strerror}; install it",
                feature="save.file",
            ) from error
        finally:
            os.close(sink if way == "-dc" else source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._lent)
        _, told = self._process.communicate()
        self.status = self._process.returncode
        words = told.decode(errors="replace").strip()
        self.words = words or f"{self._name} ended with {self.status}"


class Pump:
    """A thread with one end of a pipe; the other end is lent.

    Args:
        work: called with the thread's end.
        reads: whether the thread's end is the reading one.
    """

    def __init__(self, work: Callable[[int], None], *, reads: bool) -> None:
        self._mine, self._lent = os.pipe2(os.O_CLOEXEC) if reads else reversed(_ends())
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="polyvisor-pump", daemon=True)

    def _run(self) -> None:
        try:
            self._work(self._mine)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        finally:
            os.close(self._mine)

    def __enter__(self) -> int:
        self._thread.start()
        return self._lent

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        os.close(self._lent)
        self._thread.join()
        if self._error is not None and (error is None or isinstance(error, Exception)):
            raise self._error from error


def _ends() -> tuple[int, int]:
    """Return two ends for a hypervisor to read from the first.

    A socket, since QEMU waits for ever for the rest of a pipe that ends too soon.
    """
    import socket

    first, second = socket.socketpair()
    return first.detach(), second.detach()


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of some data."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
