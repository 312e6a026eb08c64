"""A guest's memory: a sparse file whose pages are real bytes.

Nothing runs while the guest does: :meth:`Memory.bring_up` writes the pages that the
guest has dirtied since it was last called, each once, whoever needs them next. Behind
the last page stands a mark that says how far memory is. It is written last, so being
killed in between only means that some pages are written again.

The file may be on disk, or a memfd: all access is by descriptor, with reads and writes
rather than a mapping, because a full disk is an error in a write but a SIGBUS in a mapping.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, Self

import attrs

from polyvisor.errors import StorageError
from polyvisor_sim.pages import PAGE_SIZE

if TYPE_CHECKING:
    from polyvisor_sim.pages import Pattern

__all__ = ["CHUNK", "Mark", "Memory", "WrongPage"]

#: Bytes moved at once.
CHUNK = 1 << 20

_ZEROS = bytes(CHUNK)
_ZERO_PAGE = bytes(PAGE_SIZE)
_MARK = Struct("<8sQQQQ")
_MARK_MAGIC = b"sim mark"


@attrs.frozen
class Mark:
    """How far a memory file is.

    Attributes:
        boots: which boot of the guest it belongs to, from 1; 0: nothing is in it.
        ticks: ticks whose pages have been written.
        lines: console lines that have been written.
        console: where in the console's file the next line goes.
    """

    boots: int = 0
    ticks: int = 0
    lines: int = 0
    console: int = 0


@attrs.frozen
class WrongPage:
    """The first page that is not as it should be.

    Attributes:
        page: its number.
        fault: what is wrong with it, in words.
    """

    page: int
    fault: str


class Memory:
    """One guest's memory, open.

    Args:
        fd: descriptor of the file, which this object then owns.
        size: bytes of memory, a multiple of the page size.
        name: for error messages.
    """

    def __init__(self, fd: int, size: int, name: str) -> None:
        self.fd = fd
        self.size = size
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from bringing memory up, or wait until they have.

        Looking at a guest brings its memory up to date too, and does not hold the
        domain's lock. This one dies with whoever holds it (flock(2)).
        """
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    # Bytes

    def write(self, page: int, data: bytes | bytearray | memoryview) -> None:
        """Write whole pages from ``page`` on.

        Raises:
            StorageError: there is no room; says where.
        """
        offset, rest = page * PAGE_SIZE, memoryview(data)
        try:
            while rest:
                written = os.pwrite(self.fd, rest, offset)
                offset += written
                rest = rest[written:]
        except OSError as error:
            raise StorageError(
                f"cannot write guest memory {self.name} at byte {offset}: {error.strerror}; "
                f"make room there or choose another root",
                path=self.name,
            ) from error

    def write_unless_zero(self, page: int, data: memoryview) -> None:
        """Write whole pages; those that are all zeros stay, or become, nothing but that."""
        begin = 0
        for at in range(0, len(data), PAGE_SIZE):
            if data[at] == 0 and data[at : at + PAGE_SIZE].tobytes() == _ZERO_PAGE:
                self.write(page + begin // PAGE_SIZE, data[begin:at])
                self.clear(page + at // PAGE_SIZE, 1)
                begin = at + PAGE_SIZE
        self.write(page + begin // PAGE_SIZE, data[begin:])

    def clear(self, page: int, count: int) -> None:
        """Make pages zero; holes stay holes."""
        for first, pages in self.extents(page, page + count):
            for begin in range(first, first + pages, CHUNK // PAGE_SIZE):
                some = min(CHUNK // PAGE_SIZE, first + pages - begin)
                self.write(begin, memoryview(_ZEROS)[: some * PAGE_SIZE])

    def read_into(self, page: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the bytes from ``page`` on."""
        offset = page * PAGE_SIZE
        while buffer:
            count = os.preadv(self.fd, [buffer], offset)
            if count == 0:
                raise StorageError(
                    f"guest memory {self.name} ends at byte {offset} of {self.size}: "
                    f"something cut it off",
                    path=self.name,
                )
            offset += count
            buffer = buffer[count:]

    def extents(self, first: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield (first page, number of pages) of each stretch that is not a hole.

        Args:
            first: page to begin with.
            end: page to end before; ``None``: the end of memory.
        """
        position = first * PAGE_SIZE
        limit = self.size if end is None else end * PAGE_SIZE
        while position < limit:
            try:
                position = os.lseek(self.fd, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole from here on
                    return
                raise
            if position >= limit:
                return
            stop = min(os.lseek(self.fd, position, os.SEEK_HOLE), limit)
            page = position // PAGE_SIZE
            last = -(-stop // PAGE_SIZE)
            yield page, last - page
            position = last * PAGE_SIZE

    # Time

    def mark(self) -> Mark:
        """Return how far memory is."""
        data = os.pread(self.fd, _MARK.size, self.size)
        if len(data) < _MARK.size:
            return Mark()
        magic, *numbers = _MARK.unpack(data)
        return Mark(*numbers) if magic == _MARK_MAGIC else Mark()

    def set_mark(self, mark: Mark) -> None:
        """Write down how far memory is."""
        data = _MARK.pack(_MARK_MAGIC, mark.boots, mark.ticks, mark.lines, mark.console)
        try:
            os.pwrite(self.fd, data, self.size)
        except OSError as error:
            raise StorageError(
                f"cannot write guest memory {self.name}: {error.strerror}", path=self.name
            ) from error

    def bring_up(self, pattern: Pattern, boots: int, ticks: int) -> int:
        """Write what the guest has written up to ``ticks``; call it :meth:`locked`.

        Args:
            pattern: what it writes where.
            boots: which boot it is in; a new one starts with empty memory.
            ticks: how many ticks it has done in this boot.

        Returns:
            The number of pages written.
        """
        mark = self.mark()
        written = 0
        if mark.boots > boots:  # somebody who looked later was here earlier
            return 0
        if mark.boots < boots:
            os.ftruncate(self.fd, 0)
            os.ftruncate(self.fd, self.size)
            written += self._write_pages(pattern, pattern.boot(), 0)
            mark = attrs.evolve(mark, boots=boots, ticks=0, lines=0)
        elif ticks <= mark.ticks:
            return 0
        written += self._write_pages(pattern, pattern.dirtied(mark.ticks, ticks), ticks)
        self.set_mark(attrs.evolve(mark, ticks=ticks))
        return written

    def _write_pages(self, pattern: Pattern, pages: Iterable[int], ticks: int) -> int:
        """Write what ``pages`` hold after ``ticks`` ticks, neighbours together."""
        written = 0
        run: list[bytes] = []
        start = 0
        for page in pages:
            tick = pattern.last_touch(page, ticks)
            if tick is None:
                continue
            if run and (page != start + len(run) or len(run) * PAGE_SIZE >= CHUNK):
                self.write(start, b"".join(run))
                run.clear()
            if not run:
                start = page
            run.append(pattern.content(page, tick))
            written += 1
        if run:
            self.write(start, b"".join(run))
        return written

    # Looking

    def verify(self, pattern: Pattern, ticks: int) -> WrongPage | None:
        """Compare every page, byte for byte, with what ``ticks`` ticks must have made of it."""
        touched = pattern.touched()
        page = bytearray(PAGE_SIZE)
        view = memoryview(page)
        zeros = bytes(PAGE_SIZE)
        for number in touched:
            self.read_into(number, view)
            expected = pattern.expected(number, ticks)
            if page != (zeros if expected is None else expected):
                return WrongPage(number, _describe(bytes(page), pattern, number, ticks))
        for first, count in self.extents(len(touched)):
            for number in range(first, first + count):
                self.read_into(number, view)
                if page != zeros:
                    return WrongPage(number, _describe(bytes(page), pattern, number, ticks))
        return None


def _describe(found: bytes, pattern: Pattern, page: int, ticks: int) -> str:
    """Say what is wrong with a page."""
    expected = pattern.expected(page, ticks)
    if expected is None:
        return f"it was never written, but holds {found[:32]!r}"
    if not any(found):
        return f"it holds zeros instead of tick {pattern.last_touch(page, ticks)}"
    if found[:8] != expected[:8]:
        return f"it holds {found[:32]!r}"
    number, tick, seed = (int.from_bytes(found[at : at + 8], "little") for at in (8, 16, 24))
    if number != page:
        return f"it holds page {number}"
    if seed != int.from_bytes(expected[24:32], "little"):
        return "it belongs to another guest or another boot"
    if tick != pattern.last_touch(page, ticks):
        return f"it holds tick {tick} instead of tick {pattern.last_touch(page, ticks)}"
    where = next(at for at in range(PAGE_SIZE) if found[at] != expected[at])
    return f"it is torn: byte {where} of it is {found[where]:#04x}, not {expected[where]:#04x}"
