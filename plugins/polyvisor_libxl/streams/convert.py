"""Legacy streams into migration V2, while they are read: for files, and for restoring.

What is written is what Xen's convert-legacy-stream writes with ``-f libxl``, of the same
version (libxc's third), with these differences: pages that could not be mapped are left out
in every batch, and a batch of nothing else is left out whole; a stream without a chunk of
vCPUs has vCPU 0; VERIFY is passed on; kinds of batches are checked before they are believed.
"""

from __future__ import annotations

import io
from struct import Struct
from typing import BinaryIO

from polyvisor.errors import SaveImageError
from polyvisor_libxl.streams.legacy import LegacySink, LegacyWalker
from polyvisor_libxl.streams.report import Figures, Report
from polyvisor_libxl.streams.source import CutOff, FileSource, PipeSource, Source, widen, write_all
from polyvisor_libxl.streams.tables import (
    ALIGN,
    LIBXC_HEADER,
    LIBXC_ID,
    LIBXC_MARKER,
    LIBXL_HEADER,
    LIBXL_IDENT,
)
from polyvisor_libxl.streams.walk import HEAD, detect

__all__ = ["convert_legacy", "copy_rest", "to_migration_v2"]

_CHUNK = 1 << 20
#: Contents are passed on in pieces of this size where nothing else divides them.
_PIECE = 16 << 20
#: libxl's option bit for streams that a converter made.
_CONVERTED = 2
#: What stands in the domain header of such streams: Xen 0 and the converter's version.
_XEN = (0, 1)


class Refusing(Report):
    """Raises the first fault that a receiver would not pass over.

    Args:
        path: for the error message.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def fault(self, rule: str, offset: int, record: str, words: str) -> None:
        super().fault(rule, offset, record, words)
        worst = self.worst
        if worst is not None:
            raise SaveImageError(f"{self._path}: {worst}", path=self._path, offset=offset)


class Output:
    """Where a converted stream goes: small pieces are gathered, contents passed on.

    Args:
        out: written from its present position on.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._gathered = bytearray()
        out.flush()
        try:
            self._fd = out.fileno()
        except (OSError, io.UnsupportedOperation):
            self._fd = -1
        else:
            widen(self._fd)

    def write(self, data: bytes) -> None:
        """Write a small piece."""
        self._gathered += data
        if len(self._gathered) > _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Let everything go out."""
        if self._fd < 0:
            self._out.write(self._gathered)
        else:
            write_all(self._fd, self._gathered)
        self._gathered = bytearray()

    def send(self, size: int, source: Source) -> None:
        """Pass ``size`` bytes of contents on."""
        self.flush()
        if self._fd >= 0:
            source.send(size, self._fd)
            return
        for start in range(0, size, _CHUNK):
            self._out.write(source.take(min(_CHUNK, size - start)))


class V2Sink(LegacySink):
    """Writes migration V2.

    Args:
        out: where it goes.
    """

    _RECORD = Struct("<II")

    def __init__(self, out: Output) -> None:
        self._out = out

    def begin(self, guest: int) -> None:
        self._out.write(LIBXL_HEADER.pack(LIBXL_IDENT, 2, _CONVERTED))
        self._record(1)
        self._out.write(LIBXC_HEADER.pack(LIBXC_MARKER, LIBXC_ID, 3, 0, 0, 0))
        self._out.write(Struct("<IHHII").pack(guest, 12, 0, *_XEN))

    def pv_info(self, width: int, levels: int) -> None:
        self._record(0x02, Struct("<BBHI").pack(width, levels, 0, 0))

    def static_end(self) -> None:
        self._record(0x10)

    def p2m_frames(self, pages: int, frames: tuple[int, ...]) -> None:
        self._record(0x03, Struct(f"<II{len(frames)}Q").pack(0, pages - 1, *frames))

    def pages(self, entries: bytes, size: int, source: Source) -> None:
        count = len(entries) // 8
        header = Struct("<IIII").pack(0x01, 8 + len(entries) + size, count, 0)
        self._out.write(header + entries)
        if size:
            self._out.send(size, source)

    def verify(self) -> None:
        self._record(0x0D)

    def tsc_info(self, mode: int, khz: int, nsec: int, incarnation: int) -> None:
        self._record(0x08, Struct("<IIQII").pack(mode, khz, nsec, incarnation, 0))

    def hvm_params(self, params: list[tuple[int, int]]) -> None:
        body = b"".join(Struct("<QQ").pack(*param) for param in params)
        self._record(0x0A, Struct("<II").pack(len(params), 0) + body)

    def vcpu(self, kind: int, number: int, data: bytes) -> None:
        self._record(kind, Struct("<II").pack(number, 0) + data)

    def shared_info(self, data: bytes) -> None:
        self._record(0x07, data)

    def hvm_context(self, size: int, source: Source) -> None:
        self._out.write(self._RECORD.pack(0x09, size))
        self._out.send(size, source)
        self._out.write(bytes(-size % ALIGN))

    def end_of_libxc(self) -> None:
        self._record(0x00)

    def xenstore(self, data: bytes) -> None:
        self._record(2, bytes(8) + data)

    def emulator(self, size: int, source: Source) -> None:
        self._out.write(self._RECORD.pack(3, 8 + size) + bytes(8))
        self._out.send(size, source)
        self._out.write(bytes(-size % ALIGN))

    def end(self) -> None:
        self._record(0x00)
        self._out.flush()

    def _record(self, kind: int, body: bytes = b"") -> None:
        self._out.write(self._RECORD.pack(kind, len(body)) + body + bytes(-len(body) % ALIGN))


def to_migration_v2(source: Source, out: BinaryIO, *, path: str, stated: int | None = None) -> bool:
    """Write a stream as migration V2, whichever of the two it is.

    Args:
        source: stands at the first byte of the stream.
        out: written from its present position on.
        path: for error messages.
        stated: version that a header in front of it states, for streams that look like
            neither.

    Returns:
        Whether it was a legacy stream and had to be converted.

    Raises:
        SaveImageError: it is neither, or a legacy stream that is damaged or has what cannot
            be converted.
    """
    head = source.peek(HEAD)
    if head.startswith(LIBXL_IDENT):
        copy_rest(source, out)
        return False
    if detect(head, stated) != "legacy":
        raise SaveImageError(
            f"{path}: its stream begins with {head[:8]!r}: it is neither a legacy one nor one "
            f"of libxl's",
            path=path,
            offset=source.position,
        )
    LegacyWalker(source, Refusing(path), Figures(), V2Sink(Output(out))).run()
    return True


def copy_rest(source: Source, out: BinaryIO) -> None:
    """Write what is left of a stream, as it is."""
    output = Output(out)
    while source.peek(1):
        try:
            output.send(_PIECE, source)
        except CutOff as cut:
            output.send(cut.end - source.position, source)
    output.flush()


def convert_legacy(read_fd: int, write_fd: int, *, path: str = "stream") -> bool:
    """Convert a stream between two descriptors, as it comes; for restoring while converting.

    A reader that wants a stream of migration V2 gets one from the other end of a pipe:
    run this in a thread with the pipe's writing end, and close that end when it returns.

    Args:
        read_fd: stands at the first byte of the stream; a file or a pipe.
        write_fd: written to.
        path: for error messages.

    Returns:
        Whether it was a legacy stream; one of migration V2 is passed on as it is.

    Raises:
        SaveImageError: a legacy stream that is damaged, or has what cannot be converted.
        OSError: reading or writing failed; ``BrokenPipeError`` if the reader has gone.
    """
    import os
    import stat

    source: Source
    if stat.S_ISREG(os.fstat(read_fd).st_mode):
        source = FileSource(read_fd, os.lseek(read_fd, 0, os.SEEK_CUR))
    else:
        source = PipeSource(read_fd)
    with open(write_fd, "wb", buffering=0, closefd=False) as out:
        return to_migration_v2(source, out, path=path)
