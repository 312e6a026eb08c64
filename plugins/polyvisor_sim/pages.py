"""Which page of a guest's memory holds what, as a function of its ticks.

A guest does one thing: with each tick it writes ``dirty`` pages of its working set.
Write number *w* (counted from 0 over all ticks) goes to page
``first + (w * stride) mod working_set``. Stride and working set have no common
divisor, so each page comes once in every ``working_set`` writes, neighbours at quite
different times. That makes both questions that matter easy:

- when was this page written last? (:meth:`Pattern.last_touch`, a modular inverse)
- which pages were written between two ticks? (:meth:`Pattern.dirtied`)

A written page says which page it is, of which tick, and is filled with a word made of
both, so that a page that is missing, stale, moved or torn shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from struct import Struct

import attrs

__all__ = ["BOOT_PAGES", "PAGE_SIZE", "Pattern", "working_set_of"]

#: Bytes in a page.
PAGE_SIZE = 4096
#: Pages at the start of memory that are written once, when the guest boots.
BOOT_PAGES = 16

_HEAD = Struct("<8sQQQ")
_MAGIC = b"sim page"
_WORDS = (PAGE_SIZE - _HEAD.size) // 8
_MASK = (1 << 64) - 1


def _coprime_stride(count: int) -> int:
    """Return a stride near the golden section of ``count`` that shares no divisor with it."""
    stride = max(1, round(count * 0.618))
    while gcd(stride, count) != 1:
        stride += 1
    return stride


def working_set_of(pages: int, wanted: int) -> int:
    """Return how many pages are written in turn, of so many in all."""
    return min(wanted, pages - min(BOOT_PAGES, pages))


@attrs.frozen
class Pattern:
    """What one boot of one guest writes where.

    Attributes:
        pages: pages of memory.
        seed: makes the contents of two guests, or of two boots, differ.
        dirty: pages written with each tick.
        working_set: how many pages are written in turn; cut to what memory has.
    """

    pages: int
    seed: int
    dirty: int
    working_set: int = attrs.field()
    _first: int = attrs.field(init=False)
    _stride: int = attrs.field(init=False)
    _inverse: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        first = min(BOOT_PAGES, self.pages)
        working_set = working_set_of(self.pages, self.working_set)
        stride = _coprime_stride(working_set) if working_set else 1
        fix = object.__setattr__  # attrs' own way to set a frozen instance's derived fields
        fix(self, "working_set", working_set)
        fix(self, "_first", first)
        fix(self, "_stride", stride)
        fix(self, "_inverse", pow(stride, -1, working_set) if working_set > 1 else 0)

    def boot(self) -> range:
        """Return the pages that are written when the guest boots, at tick 0."""
        return range(self._first)

    def touched(self) -> range:
        """Return the pages that may ever hold anything but zeros."""
        return range(self._first + self.working_set)

    def content(self, page: int, tick: int) -> bytes:
        """Return what ``page`` holds after being written at ``tick``."""
        word = (self.seed + page * 0x9E3779B97F4A7C15 + tick * 0xBF58476D1CE4E5B9) & _MASK
        word = ((word ^ (word >> 31)) * 0x94D049BB133111EB) & _MASK
        head = _HEAD.pack(_MAGIC, page, tick, self.seed & _MASK)
        return head + word.to_bytes(8, "little") * _WORDS

    def last_touch(self, page: int, ticks: int) -> int | None:
        """Return the tick at which ``page`` was written last, ``None`` if it never was.

        Args:
            page: number of the page.
            ticks: how many ticks the guest has done; ticks count from 1.
        """
        if page < self._first:
            return 0
        slot = page - self._first
        if slot >= self.working_set:
            return None
        writes = ticks * self.dirty
        earliest = slot * self._inverse % self.working_set
        if earliest >= writes:
            return None
        latest = earliest + (writes - 1 - earliest) // self.working_set * self.working_set
        return latest // self.dirty + 1

    def dirtied(self, since: int, until: int) -> Iterable[int]:
        """Return the pages written in the ticks after ``since`` up to ``until``, ascending."""
        count = (until - since) * self.dirty
        if count >= self.working_set:
            return range(self._first, self._first + self.working_set)
        begin = since * self.dirty
        return sorted(
            {
                self._first + write * self._stride % self.working_set
                for write in range(begin, begin + count)
            }
        )

    def expected(self, page: int, ticks: int) -> bytes | None:
        """Return what ``page`` holds after ``ticks`` ticks; ``None`` means zeros."""
        tick = self.last_touch(page, ticks)
        return None if tick is None else self.content(page, tick)
