"""What is found in a save image: facts, faults, and where the guest's memory is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

if TYPE_CHECKING:
    from polyvisor.saveimage._registry import ImageHeader

__all__ = ["Finding", "Inspection", "MemoryKind", "MemoryMap", "Verification"]


@attrs.frozen
class Finding:
    """One thing in an image that is not as its specification has it.

    Attributes:
        rule: stable name of the rule, such as ``"libxc.page-data.count"``.
        offset: byte position, from the start of the image.
        record: which record it is in, such as ``"PAGE_DATA, libxc record 12"``, or ``""``.
        fault: what is there and what should be.
        tolerated: images with this are restored all the same; a fault only when strict.
    """

    rule: str
    offset: int
    record: str
    fault: str
    tolerated: bool = False

    def __str__(self) -> str:
        where = f" ({self.record})" if self.record else ""
        return f"byte {self.offset}{where}: {self.fault} [{self.rule}]"


@attrs.frozen
class Verification:
    """What checking an image gave.

    Attributes:
        format: name of the format.
        strict: whether it was held to the letter of the specifications.
        findings: in the order of the image.
        checked: how many bytes were gone through, the header included.
        records: how many records were checked; 0 for a format without a check of its
            own, of which only the header was read.
        complete: whether the image was read to its end; a fault in its structure is where
            reading stops.
    """

    format: str
    strict: bool
    findings: tuple[Finding, ...]
    checked: int
    records: int = 0
    complete: bool = True

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that count, given how strictly was checked."""
        return tuple(one for one in self.findings if self.strict or not one.tolerated)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@attrs.frozen
class MemoryKind:
    """One kind of page in a :class:`MemoryMap`.

    Attributes:
        name: as people call it, such as ``"page table, level 1"``.
        colour: red, green and blue, 0 to 255 each.
    """

    name: str
    colour: tuple[int, int, int]


@attrs.frozen
class MemoryMap:
    """Of which kind each page of a guest is, as an image has it.

    Attributes:
        page_size: in bytes.
        kinds: the kinds; kind *n* is the byte *n* + 1 in ``chunks``.
        chunks: number of a chunk of :attr:`CHUNK` pages → one byte for each of its pages,
            0 where the image says nothing of a page. Chunks without pages are absent.
    """

    #: Pages in a chunk.
    CHUNK: ClassVar[int] = 1 << 12

    page_size: int
    kinds: tuple[MemoryKind, ...]
    chunks: Mapping[int, bytes | bytearray]

    def counts(self) -> dict[str, int]:
        """Return how many pages there are of each kind, those without any left out."""
        found = {
            kind.name: sum(chunk.count(number) for chunk in self.chunks.values())
            for number, kind in enumerate(self.kinds, 1)
        }
        return {name: count for name, count in found.items() if count}


@attrs.frozen
class Inspection:
    """What an image holds.

    Attributes:
        header: its header.
        facts: what its stream says, as plain JSON values: strings and numbers, and lists
            of rows with the same keys.
        memory: the guest's memory, if it was asked for and the format can tell.
    """

    header: ImageHeader
    facts: Mapping[str, Any]
    memory: MemoryMap | None = None
