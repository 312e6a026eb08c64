"""Records as both of Xen's streams have them: type, length, body, padding to eight."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Literal

from polyvisor_libxl.streams.source import CutOff, Source
from polyvisor_libxl.streams.tables import ALIGN, OPTIONAL

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Report, Stop

__all__ = ["Order", "Record", "Walker"]

Order = Literal["<", ">"]


class Record:
    """The record that is being read.

    Attributes:
        name: of its type, such as ``"PAGE_DATA"``; of unknown ones the number.
        type: its type.
        length: of the body, in bytes.
        offset: of its header, in the image.
        number: which of its stream it is, from 1.
    """

    __slots__ = ("layer", "length", "name", "number", "offset", "type")

    def __init__(
        self, layer: str, name: str, kind: int, length: int, offset: int, number: int
    ) -> None:
        self.layer = layer
        self.name = name
        self.type = kind
        self.length = length
        self.offset = offset
        self.number = number

    @property
    def body(self) -> int:
        """Where the body begins, in the image."""
        return self.offset + 8

    def __str__(self) -> str:
        return f"{self.name}, {self.layer} record {self.number}"


class Walker:
    """What the walkers through both streams share.

    Args:
        source: the stream.
        report: takes the faults.
        layer: ``"libxl"`` or ``"libxc"``.
        names: of the records by type.
    """

    def __init__(self, source: Source, report: Report, layer: str, names: dict[int, str]) -> None:
        self.source = source
        self.report = report
        self.layer = layer
        self.names = names
        self.order: Order = "<"
        self.number = 0
        self._header = Struct("<II")

    def set_order(self, order: Order) -> None:
        """Read integers in this order from here on."""
        self.order = order
        self._header = Struct(f"{order}II")

    def take(self, size: int, what: str) -> bytes:
        """Read ``size`` bytes of ``what``, or stop saying that they are not there."""
        start = self.source.position
        try:
            return self.source.take(size)
        except CutOff as cut:
            raise self.cut_off(cut.end, what, start + size) from None

    def skip(self, size: int, what: str) -> None:
        """Step over ``size`` bytes of ``what``, or stop saying that they are not there."""
        start = self.source.position
        try:
            self.source.skip(size)
        except CutOff as cut:
            raise self.cut_off(cut.end, what, start + size) from None

    def cut_off(self, end: int, what: str, wanted: int) -> Stop:
        """Take down that the stream ends too early."""
        return self.report.stop(
            "stream.cut-off",
            end,
            what,
            f"the stream ends here, {wanted - end} bytes short of the end of what it is in",
        )

    def next(self) -> Record:
        """Read the header of a record."""
        offset = self.source.position
        self.number += 1
        kind, length = self._header.unpack(
            self.take(8, f"header of {self.layer} record {self.number}")
        )
        name = self.names.get(kind) or f"type {kind:#x}"
        record = Record(self.layer, name, kind, length, offset, self.number)
        self.report.records += 1
        if name[:4] == "type":
            if not kind & OPTIONAL:
                self.fault(record, f"{self.layer}.record.type", 0, "the type is not known")
            elif kind ^ OPTIONAL in self.names:
                other = self.names[kind ^ OPTIONAL]
                self.fault(
                    record, f"{self.layer}.record.optional", 0, f"but for one bit it is {other}"
                )
        return record

    def finish(self, record: Record, *, at: int = 0) -> None:
        """Step over what is left of a body and check the padding.

        Args:
            record: the record.
            at: how much of the body has been read.
        """
        if record.length > at:
            self.skip(record.length - at, str(record))
        padding = -record.length % ALIGN
        if padding:
            offset = self.source.position
            data = self.take(padding, f"padding of {record}")
            if data.strip(b"\0"):
                self.report.fault(
                    f"{self.layer}.record.padding",
                    offset,
                    str(record),
                    f"the padding is {data.hex(' ')}, not zeroes",
                )

    def fault(self, record: Record, rule: str, at: int, words: str) -> None:
        """Take down a fault ``at`` bytes behind the beginning of a record."""
        self.report.fault(rule, record.offset + at, str(record), words)

    def has_length(self, record: Record, wanted: int) -> bool:
        """Check that a record has one certain length."""
        if record.length != wanted:
            self.fault(
                record,
                f"{self.layer}.record.length",
                4,
                f"the body has {record.length} bytes, not {wanted}",
            )
            return False
        return True

    def has_at_least(self, record: Record, wanted: int) -> bool:
        """Check that a record has a minimal length."""
        if record.length < wanted:
            self.fault(
                record,
                f"{self.layer}.record.length",
                4,
                f"the body has {record.length} bytes, fewer than {wanted}",
            )
            return False
        return True
