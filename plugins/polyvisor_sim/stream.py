"""The simulator's stream: a guest's memory and clock, for save images and migration.

All numbers are little-endian. A header of 40 bytes, then records::

    header   8 bytes "PVSIMSTR", u32 version, u32 page size, u64 pages of memory,
             16 bytes UUID of the domain
    record   u32 type, u32 count, u64 number; then its body

    type 1   PAGES   count pages from page number on; body: their bytes (at most 1 MiB)
    type 2   ZEROS   count pages from page number on are zero; no body
    type 3   STATE   body of count bytes: see :class:`State`; number is 0
    type 4   CHECK   number: CRC-32 of all bytes since the previous CHECK; no body
    type 5   END     number: how many pages the stream has spoken of; nothing follows

=======  =====================================================================
version  differs in
=======  =====================================================================
1        PAGES, STATE and END only: every page of memory is written out
2        ZEROS for what is empty; a CHECK after about every 4 MiB and before END
=======  =====================================================================

A page may come more than once, as in a live migration, where the last one counts. All
of memory comes at least once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import attrs

from polyvisor.errors import SaveImageError
from polyvisor_sim.memory import CHUNK
from polyvisor_sim.pages import PAGE_SIZE
from polyvisor_sim.versions import VERSIONS

if TYPE_CHECKING:
    from polyvisor_sim.memory import Memory

__all__ = ["Sink", "Source", "State", "StreamReader", "StreamWriter"]

_HEADER = Struct("<8sIIQ16s")
_MAGIC = b"PVSIMSTR"
_RECORD = Struct("<IIQ")
_PAGES, _ZEROS, _STATE, _CHECK, _END = range(1, 6)
_NAMES = {_PAGES: "PAGES", _ZEROS: "ZEROS", _STATE: "STATE", _CHECK: "CHECK", _END: "END"}
_BY_VERSION = {1: {_PAGES, _STATE, _END}, 2: set(_NAMES)}
_CHECK_EVERY = 4 * CHUNK
_CHUNK_PAGES = CHUNK // PAGE_SIZE
_MOST_ZEROS = (1 << 32) - 1


@attrs.frozen
class State:
    """A guest's clock and behaviour, as the STATE record has it: ten u64.

    Attributes:
        rate: ticks per second.
        dirty: pages written with each tick.
        working_set: pages written in turn.
        seed: of its memory's contents.
        run: nanoseconds of guest time.
        booted: guest time at which the present boot began.
        boots: which boot it is in, from 1.
        ticks: ticks done in it, for all of which memory is up to date.
        due_at: guest time of something asked for; 0 if nothing is.
        due: what that is: 0 nothing, 1 shutdown, 2 reboot.
    """

    rate: int
    dirty: int
    working_set: int
    seed: int
    run: int
    booted: int
    boots: int
    ticks: int
    due_at: int = 0
    due: int = 0

    def pack(self) -> bytes:
        """Return the body of the record."""
        return _STATE_BODY.pack(*attrs.astuple(self))


_STATE_BODY = Struct("<10Q")


class Sink(Protocol):
    """Where a stream is written to."""

    def write(self, *parts: bytes | memoryview) -> None:
        """Write all of ``parts``."""


class Source(Protocol):
    """Where a stream is read from."""

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``; return how many bytes there were before the end."""


class StreamWriter:
    """Writes one stream.

    Args:
        sink: where to.
        version: of the stream.
        memory: the guest's memory.
        uuid: the domain's.
        step: called with the number of bytes of memory done, after each record.
    """

    def __init__(
        self,
        sink: Sink,
        version: int,
        memory: Memory,
        uuid: UUID,
        step: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._sink = sink
        self._version = version
        self._memory = memory
        self._step = step
        self._buffer = memoryview(bytearray(CHUNK))
        self._crc = 0
        self._unchecked = 0
        self._pages = 0
        self.written = 0
        pages = memory.size // PAGE_SIZE
        self._put(_HEADER.pack(_MAGIC, version, PAGE_SIZE, pages, uuid.bytes))

    def all_pages(self) -> None:
        """Write all of memory."""
        if self._version == 1:
            self._write_pages(0, self._memory.size // PAGE_SIZE)
            return
        page = 0
        for first, count in self._memory.extents():
            self._write_zeros(page, first - page)
            self._write_pages(first, count)
            page = first + count
        self._write_zeros(page, self._memory.size // PAGE_SIZE - page)

    def pages(self, pages: Iterable[int]) -> None:
        """Write these pages, which come in ascending order."""
        start = count = 0
        for page in pages:
            if count and page != start + count:
                self._write_pages(start, count)
                count = 0
            if not count:
                start = page
            count += 1
        self._write_pages(start, count)

    def finish(self, state: State) -> None:
        """Write the state and the end."""
        body = state.pack()
        self._record(_STATE, len(body), 0, body)
        self._write_check()
        self._record(_END, 0, self._pages)

    def _write_pages(self, first: int, count: int) -> None:
        for begin in range(first, first + count, _CHUNK_PAGES):
            some = min(_CHUNK_PAGES, first + count - begin)
            body = self._buffer[: some * PAGE_SIZE]
            self._memory.read_into(begin, body)
            self._record(_PAGES, some, begin, body)
            self._pages += some
            if self._unchecked >= _CHECK_EVERY:
                self._write_check()
            self._step(len(body))

    def _write_zeros(self, first: int, count: int) -> None:
        while count:
            some = min(count, _MOST_ZEROS)
            self._record(_ZEROS, some, first)
            self._pages += some
            self._step(some * PAGE_SIZE)
            first, count = first + some, count - some

    def _write_check(self) -> None:
        if self._version >= 2:
            crc, self._crc, self._unchecked = self._crc, 0, 0
            head = _RECORD.pack(_CHECK, 0, crc)
            self._sink.write(head)
            self.written += len(head)

    def _record(
        self, kind: int, count: int, number: int, body: bytes | memoryview | None = None
    ) -> None:
        head = _RECORD.pack(kind, count, number)
        if body is None:
            self._put(head)
        else:
            self._put(head, body)

    def _put(self, *parts: bytes | memoryview) -> None:
        self._sink.write(*parts)
        for part in parts:
            if self._version >= 2:
                self._crc = zlib.crc32(part, self._crc)
            self._unchecked += len(part)
            self.written += len(part)


class StreamReader:
    """Reads one stream into a guest's memory.

    Nothing that the stream says is believed before it was checked against what must be:
    the size of memory, the largest body, the records of its version.

    Args:
        source: where from.
        memory: empty memory to fill.
        what: the image or the sender, for error messages.
        base: position of the stream's first byte, for error messages.
        step: called with the number of bytes of memory done, after each record.

    Raises (all methods):
        SaveImageError: the stream is damaged, cut off, too new or of another machine.
    """

    def __init__(
        self,
        source: Source,
        memory: Memory,
        what: str,
        base: int = 0,
        step: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._source = source
        self._memory = memory
        self._what = what
        self._at = base
        self._step = step
        self._buffer = memoryview(bytearray(CHUNK))
        self._crc = 0
        self._version = 0

    def header(self, *, version: int | None = None, uuid: UUID | None = None) -> bool:
        """Read the header; return ``False`` if there is no stream at all.

        Args:
            version: the only version that is expected, or ``None`` for any.
            uuid: the only domain that is expected, or ``None`` for any.
        """
        start = self._at
        data = memoryview(bytearray(_HEADER.size))
        count = self._source.read_into(data)
        if count == 0:
            return False
        if count < len(data):
            raise self._cut_off(start + count, "the stream's header")
        magic, found, page_size, pages, owner = _HEADER.unpack(data)
        if magic != _MAGIC:
            raise self._fault(start, f"no simulator stream: it begins with {magic!r}")
        if found not in VERSIONS or (version is not None and found != version):
            known = " or ".join(map(str, VERSIONS if version is None else (version,)))
            raise self._fault(start + 8, f"stream version {found}, can be read: {known}")
        if page_size != PAGE_SIZE:
            raise self._fault(start + 12, f"pages of {page_size} bytes, must be {PAGE_SIZE}")
        if pages * PAGE_SIZE != self._memory.size:
            have = self._memory.size // PAGE_SIZE
            raise self._fault(start + 16, f"{pages} pages of memory, the definition has {have}")
        if uuid is not None and owner != uuid.bytes:
            raise self._fault(start + 24, f"the stream is of domain {UUID(bytes=owner)}")
        self._version = found
        self._crc = zlib.crc32(data)
        self._at = start + len(data)
        return True

    def records(self) -> State:
        """Read everything up to the end; return the state."""
        state: State | None = None
        checked = self._version < 2
        pages = 0
        while True:
            start = self._at
            data = self._read(_RECORD.size, "a record's head")
            kind, count, number = _RECORD.unpack(data)
            if kind not in _BY_VERSION[self._version]:
                raise self._fault(
                    start, f"record type {kind} is not one of version {self._version}"
                )
            if kind == _CHECK:
                if number != self._crc or count:
                    raise self._fault(
                        start, f"checksum {self._crc:#010x}, the stream states {number:#010x}"
                    )
                self._crc, checked = 0, True
                continue
            if kind == _END:
                if count or number != pages:
                    raise self._fault(start, f"{pages} pages came, the stream states {number}")
                if state is None or not checked or pages < self._memory.size // PAGE_SIZE:
                    raise self._fault(start, "it ends before everything has come")
                return state
            self._crc = zlib.crc32(data, self._crc)
            checked = self._version < 2
            if kind == _STATE:
                if state is not None or number or count != _STATE_BODY.size:
                    raise self._fault(start, "a STATE record out of place or of a wrong size")
                state = self._state(start, self._body(count, "the STATE record"))
                continue
            if not 0 < count <= self._memory.size // PAGE_SIZE - number:
                raise self._fault(start, f"{count} pages from page {number} on do not exist")
            pages += count
            if kind == _PAGES:
                if count > _CHUNK_PAGES:
                    raise self._fault(start, f"{count} pages in one record")
                body = self._body(count * PAGE_SIZE, f"the pages from {number} on")
                self._memory.write_unless_zero(number, body)
            else:
                self._memory.clear(number, count)
            self._step(count * PAGE_SIZE)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._source.read_into(memoryview(bytearray(1))):
            raise self._fault(self._at, "something follows the end of the stream")

    def _state(self, start: int, body: memoryview) -> State:
        state = State(*_STATE_BODY.unpack(body))
        if (
            state.boots < 1
            or state.booted > state.run
            or state.due > 2
            or state.ticks != (state.run - state.booted) * state.rate // 1_000_000_000
        ):
            raise self._fault(start, f"a STATE record that contradicts itself: {state}")
        return state

    def _body(self, size: int, what: str) -> memoryview:
        body = self._read(size, what)
        if self._version >= 2:
            self._crc = zlib.crc32(body, self._crc)
        return body

    def _read(self, size: int, what: str) -> memoryview:
        """Return the next ``size`` bytes, valid until the next call."""
        data = self._buffer[:size]
        count = self._source.read_into(data)
        if count < size:
            raise self._cut_off(self._at + count, what)
        self._at += size
        return data

    def _cut_off(self, offset: int, where: str) -> SaveImageError:
        return self._fault(offset, f"it is cut off in {where}")

    def _fault(self, offset: int, fault: str) -> SaveImageError:
        return SaveImageError(
            f"{self._what}, byte {offset}: {fault}", path=self._what, offset=offset
        )
