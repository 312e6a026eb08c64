"""What walkers find: faults with their rule and place, and the figures of an inspection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polyvisor.saveimage import Finding, MemoryKind, MemoryMap
from polyvisor_libxl.streams.rules import LENIENT, RULES
from polyvisor_libxl.streams.tables import PAGE_KINDS, PAGE_SIZE

__all__ = ["Figures", "Report", "Stop"]

#: One colour for each of ``PAGE_KINDS``: greys and blues for data, warm ones for page tables,
#: what has no contents apart from both.
_COLOURS = (
    (70, 130, 180),
    (255, 200, 87),
    (247, 148, 72),
    (228, 87, 86),
    (157, 52, 110),
    (0, 0, 0),
    (0, 0, 0),
    (0, 0, 0),
    (0, 0, 0),
    (255, 226, 158),
    (255, 184, 130),
    (245, 140, 138),
    (200, 100, 170),
    (0, 0, 0),
    (176, 217, 160),
    (150, 150, 150),
)
KINDS = tuple(
    MemoryKind(name or "reserved", colour)
    for name, colour in zip(PAGE_KINDS, _COLOURS, strict=True)
)
#: A map of more is not drawn: 1 TiB of guest memory.
_MOST_CHUNKS = (1 << 40) // PAGE_SIZE // MemoryMap.CHUNK


class Stop(Exception):
    """Reading cannot go on, or need not."""


class Report:
    """Takes down what is wrong.

    Args:
        strict: whether the rules that receivers are lenient with count as well.
        limit: stop when so many faults are there, and keep as many remarks.
    """

    def __init__(self, *, strict: bool = False, limit: int = 100) -> None:
        self.strict = strict
        self.limit = limit
        self.findings: list[Finding] = []
        self.complete = True
        self.records = 0
        self._remarks = 0

    def fault(self, rule: str, offset: int, record: str, words: str) -> None:
        """Take down a fault after which reading goes on."""
        assert rule in RULES, rule
        lenient = rule in LENIENT
        if lenient and not self.strict:
            self._remarks += 1
            if self._remarks > self.limit:
                return
        self.findings.append(Finding(rule, offset, record, words, lenient))
        if len(self.findings) - min(self._remarks, self.limit) >= self.limit:
            self.complete = False
            raise Stop

    def stop(self, rule: str, offset: int, record: str, words: str) -> Stop:
        """Take down a fault after which nothing can be made of what follows."""
        self.complete = False
        with contextlib.suppress(Stop):
            self.fault(rule, offset, record, words)
        return Stop()

    @property
    def worst(self) -> Finding | None:
        """The first finding that is no mere remark."""
        return next((one for one in self.findings if not one.tolerated), None)


class Figures:
    """What an inspection shows of a stream; also counts for those who only verify.

    Args:
        memory: whether to note of which kind each page is.
    """

    def __init__(self, *, memory: bool = False) -> None:
        self.facts: dict[str, Any] = {}
        self.counts: dict[tuple[str, str], list[int]] = {}
        self.pages = [0] * 16
        self.vcpus: set[int] = set()
        self._chunks: dict[int, bytearray] | None = {} if memory else None

    def record(self, layer: str, name: str, length: int) -> None:
        """Count a record."""
        entry = self.counts.get((layer, name))
        if entry is None:
            self.counts[layer, name] = [1, length]
        else:
            entry[0] += 1
            entry[1] += length

    def run(self, first: int, count: int) -> None:
        """Count a batch of normal pages, ``count`` from ``first`` on."""
        self.pages[0] += count
        if self._chunks is not None:
            self._note(range(first, first + count), bytes(count))

    def batch(self, pfns: Sequence[int], kinds: bytes) -> None:
        """Count a batch of pages.

        Args:
            pfns: their numbers.
            kinds: their kinds, a byte with 0 to 15 each.
        """
        pages = self.pages
        for kind in set(kinds):
            pages[kind] += kinds.count(kind)
        if self._chunks is not None:
            self._note(pfns, kinds)

    def _note(self, pfns: Iterable[int], kinds: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        size = MemoryMap.CHUNK
        for pfn, kind in zip(pfns, kinds, strict=True):
            number, at = divmod(pfn, size)
            chunk = chunks.get(number)
            if chunk is None:
                if len(chunks) >= _MOST_CHUNKS:
                    continue
                chunk = chunks[number] = bytearray(size)
            chunk[at] = kind + 1

    @property
    def memory(self) -> MemoryMap | None:
        """The map, if one was asked for."""
        return None if self._chunks is None else MemoryMap(PAGE_SIZE, KINDS, self._chunks)

    def plain(self) -> Mapping[str, Any]:
        """Return everything as plain JSON values."""
        facts = dict(self.facts)
        if self.vcpus:
            facts["vcpus"] = len(self.vcpus)
        total = sum(self.pages)
        if total:
            facts["pages"] = total
            facts["page_types"] = [
                {"type": kind.name, "pages": count, "bytes": count * PAGE_SIZE}
                for kind, count in zip(KINDS, self.pages, strict=True)
                if count
            ]
        facts["records"] = [
            {"layer": layer, "record": name, "count": count, "bytes": size}
            for (layer, name), (count, size) in self.counts.items()
        ]
        return facts
