"""Batches of pages: their entries checked together, not one by one.

An entry of libxc's PAGE_DATA is 64 bits: a type in the upper four, eight reserved bits, and
the page's number. Of a batch's entries, the bytes that hold types are taken out together and
judged by sets of bytes. Most batches are of pages one after the other: whether one is shows in
the same way, so that a batch of 1024 costs some microseconds.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from polyvisor_libxl.streams.tables import DATALESS, PAGE_SIZE, RESERVED_KINDS

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Figures, Report

__all__ = ["Runs", "check_entries", "contents", "first_of_run"]

_LOW = bytes(range(16))
_KIND = bytes(byte >> 4 for byte in range(256))
_RESERVED = bytes(RESERVED_KINDS)
_DATALESS = bytes(DATALESS)
_SOUND_KINDS = bytes(set(range(16)) - set(RESERVED_KINDS))
#: The lowest bytes of numbers that follow each other, and those next to them.
_LANE_0 = bytes(range(256))
_LANE_1 = b"".join(bytes([byte]) * 256 for byte in range(256))
#: Duplicates are looked for among so many at once; senders never make longer batches.
_SLICE = 1 << 14
#: Bytes of entries from which on it is worth while to have some to compare with.
_LONG = 8 << 8


def first_of_run(plain: bytes | bytearray) -> int:
    """Return the first of page numbers that follow each other, or -1 if they do not.

    Runs over a multiple of 2^16 are not told, nor anything beyond 48 bits: this is only to
    be quick where it is easy.

    Args:
        plain: the numbers, of 64 bits each.
    """
    count = len(plain) // 8
    first = int.from_bytes(plain[:8], "little")
    low = first & 0xFFFF
    if low + count > 1 << 16 or first >> 48:
        return -1
    if plain[0::8] != (_LANE_0 * (count // 256 + 2))[low & 0xFF : (low & 0xFF) + count]:
        return -1
    if plain[1::8] != _LANE_1[low : low + count]:
        return -1
    for lane in range(2, 8):
        if plain[lane::8].count(plain[lane]) != count:
            return -1
    return first


class Runs:
    """Tells entries of normal pages that follow each other by comparing them with such.

    What they are compared with, the entries for all page numbers that begin alike, is made when
    two long batches have asked for it, one after the other, and kept until others do.
    """

    def __init__(self) -> None:
        self._asked = self._made = -1
        self._entries = b""

    def first(self, entries: bytes) -> int:
        """Return the number of the first page, or -1 if it is not told so."""
        first = int.from_bytes(entries[:8], "little")
        begin, low = first >> 16, (first & 0xFFFF) * 8
        if begin != self._made:
            if len(entries) < _LONG or begin >> 36:
                return -1
            if begin != self._asked:
                self._asked = begin
                return -1
            self._make(begin)
        return first if self._entries[low : low + len(entries)] == entries else -1

    def _make(self, begin: int) -> None:
        entries = bytearray(8 << 16)
        entries[0::8] = _LANE_0 * 256
        entries[1::8] = _LANE_1
        for lane, byte in enumerate(begin.to_bytes(6, "little"), 2):
            if byte:
                entries[lane::8] = bytes([byte]) * (1 << 16)
        self._entries, self._made = bytes(entries), begin


def contents(kinds: bytes) -> int:
    """Return how many bytes of contents pages of these kinds come with."""
    return len(kinds.translate(None, _DATALESS)) * PAGE_SIZE


def check_entries(
    entries: bytes,
    *,
    swapped: bool,
    limit: int,
    position: int,
    record: str,
    report: Report,
    figures: Figures,
    runs: Runs,
) -> int:
    """Check the entries of a PAGE_DATA record.

    Args:
        entries: as they stand in the stream.
        swapped: whether they are big-endian.
        limit: page numbers from here on are outside the guest.
        position: of the first, in the image.
        record: which record, for findings.
        report: takes the faults.
        figures: takes the counts.
        runs: the walk's own.

    Returns:
        How many bytes of contents belong to them.
    """
    if len(entries) > 8 * _SLICE:
        size = 0
        for start in range(0, len(entries), 8 * _SLICE):
            size += check_entries(
                entries[start : start + 8 * _SLICE],
                swapped=swapped,
                limit=limit,
                position=position + start,
                record=record,
                report=report,
                figures=figures,
                runs=runs,
            )
        return size
    if swapped:
        turned = array("Q", entries)
        turned.byteswap()
        entries = turned.tobytes()
    first, count = runs.first(entries), len(entries) // 8
    if first >= 0 and first + count <= limit:
        figures.run(first, count)
        return count * PAGE_SIZE
    top, next_to_top = entries[7::8], entries[6::8]
    if top.count(0) == count and next_to_top.count(0) == count:
        # All of them normal pages, and mostly one after the other.
        first = first_of_run(entries)
        if first >= 0 and first + count <= limit:
            figures.run(first, count)
            return count * PAGE_SIZE
    kinds = top.translate(_KIND)
    plain = bytearray(entries)
    plain[7::8] = bytes(count)
    if top.translate(None, _HIGH_ONLY) or next_to_top.translate(None, _LOW):
        plain[6::8] = next_to_top.translate(_LOWER)
        _reserved(entries, position, record, report)
    if kinds.translate(None, _SOUND_KINDS):
        at = next(at for at, kind in enumerate(kinds) if kind in RESERVED_KINDS)
        report.fault(
            "libxc.page-data.type",
            position + 8 * at,
            record,
            f"the page has the reserved type {kinds[at]:#x}",
        )
    first = first_of_run(plain)
    if first >= 0 and first + count <= limit:
        figures.batch(range(first, first + count), kinds)
        return contents(kinds)
    pfns = memoryview(plain).cast("Q").tolist()
    if max(pfns) >= limit:
        at = next(at for at, pfn in enumerate(pfns) if pfn >= limit)
        report.fault(
            "libxc.page-data.pfn",
            position + 8 * at,
            record,
            f"pfn {pfns[at]:#x} is outside the guest, which has pfns below {limit:#x}",
        )
    if len(set(pfns)) != len(pfns):
        at, pfn = _second(pfns)
        report.fault(
            "libxc.page-data.duplicate",
            position + 8 * at,
            record,
            f"pfn {pfn:#x} is named a second time",
        )
    figures.batch(pfns, kinds)
    return contents(kinds)


#: Bytes whose lower four bits are zero, and each byte with its upper four taken away.
_HIGH_ONLY = bytes(range(0, 256, 16))
_LOWER = bytes(byte & 15 for byte in range(256))


def _reserved(entries: bytes, position: int, record: str, report: Report) -> None:
    for at, entry in enumerate(memoryview(entries).cast("Q")):
        bits = entry >> 52 & 0xFF
        if bits:
            report.fault(
                "libxc.page-data.reserved",
                position + 8 * at,
                record,
                f"the reserved bits 52 to 59 are {bits:#x}",
            )
            return


def _second(pfns: list[int]) -> tuple[int, int]:
    """Return where a number comes the second time, and which."""
    seen: set[int] = set()
    for at, pfn in enumerate(pfns):
        if pfn in seen:
            return at, pfn
        seen.add(pfn)
    raise AssertionError("there is none")
