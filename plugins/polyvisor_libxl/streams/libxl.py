"""libxl's stream, version 2: around libxc's stream what emulators and toolstacks keep.

Rules are those of docs/specs/libxl-migration-stream.pandoc (revision 2) and of what
libxl__stream_read_* refuses (tools/libs/light/libxl_stream_read.c).

After a CHECKPOINT of libxc's stream, libxl's records follow up to CHECKPOINT_END, and then
libxc's again, without any header: of Remus and COLO streams as many rounds as there were
checkpoints. COLO says CHECKPOINT_STATE in between.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from polyvisor_libxl.streams.libxc import LibxcWalker
from polyvisor_libxl.streams.records import Order, Record, Walker
from polyvisor_libxl.streams.tables import (
    EMULATORS,
    LIBXL_HEADER,
    LIBXL_IDENT,
    LIBXL_RECORDS,
)

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Figures, Report
    from polyvisor_libxl.streams.source import Source

__all__ = ["LibxlWalker"]

#: xenstore carries no more in one message (XENSTORE_PAYLOAD_MAX) and names no longer paths
#: relative to a domain (XENSTORE_REL_PATH_MAX); an emulator has a handful of entries.
_MAX_VALUE = 4096
_MAX_KEY = 2048
_MAX_XENSTORE = 1 << 20
_KEY = re.compile(rb"[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")
_UNREADABLE = re.compile(rb"[^\t\n\r -~]")
_CHECKPOINT_STATE = 5


class LibxlWalker(Walker):
    """Walks through a libxl stream, from its header to END.

    Args:
        source: stands at the header.
        report: takes the faults.
        figures: takes the counts.
    """

    def __init__(self, source: Source, report: Report, figures: Figures) -> None:
        super().__init__(source, report, "libxl", LIBXL_RECORDS)
        self.figures = figures
        self.converted = False
        self.libxc: LibxcWalker | None = None
        self._in_checkpoint = False

    def run(self) -> None:
        """Read it all."""
        self._read_header()
        while True:
            record = self.next()
            self.figures.record("libxl", record.name, record.length)
            if record.type == 0:
                self.has_length(record, 0)
                self.finish(record)
                self._ended(record)
                return
            if record.type == 1:
                self._libxc_context(record)
            elif record.type in (2, 3):
                self._emulator(record)
            elif record.type in (4, _CHECKPOINT_STATE):
                self._checkpoint(record)
            else:
                self.finish(record)

    def _read_header(self) -> None:
        start = self.source.position
        where = "libxl header"
        ident, version, options = LIBXL_HEADER.unpack(self.take(LIBXL_HEADER.size, where))
        report = self.report
        if ident != LIBXL_IDENT:
            raise report.stop(
                "libxl.header.ident", start, where, f"the stream begins with {ident!r}"
            )
        if version != 2:
            raise report.stop(
                "libxl.header.version", start + 8, where, f"version {version} is not known"
            )
        if options & ~3:
            report.fault(
                "libxl.header.options", start + 12, where, f"the options are {options:#010x}"
            )
        self.converted = bool(options & 2)
        order: Order = "<"
        if options & 1:
            order = ">"
            report.fault("libxl.header.endianness", start + 12, where, "the stream is big-endian")
        self.set_order(order)
        facts = self.figures.facts
        facts["stream"] = "libxl, version 2"
        facts["byte_order"] = "little" if order == "<" else "big"
        facts["converted_from_legacy"] = self.converted

    def _ended(self, record: Record) -> None:
        if self.libxc is None:
            self.fault(record, "libxl.order.libxc-once", 0, "no LIBXC_CONTEXT came")
        if self._in_checkpoint:
            self.fault(record, "libxl.order.checkpoint", 0, "a checkpoint is not ended")

    def _libxc_context(self, record: Record) -> None:
        self.has_length(record, 0)
        self.finish(record)
        if self.libxc is not None:
            self.fault(record, "libxl.order.libxc-once", 0, "it came before")
        self.libxc = LibxcWalker(
            self.source,
            self.report,
            self.figures,
            outer=self.order,
            converted=self.converted,
        )
        self.libxc.headers()
        self._in_checkpoint = not self.libxc.run()

    def _emulator(self, record: Record) -> None:
        if self.libxc is None:
            self.fault(record, "libxl.order.libxc-first", 0, "no LIBXC_CONTEXT came before it")
        elif self.libxc.guest == 1:
            self.fault(record, "libxl.order.emulator", 0, "the guest is PV")
        if not self.has_at_least(record, 8):
            self.finish(record)
            return
        number, _index = Struct(f"{self.order}II").unpack(self.take(8, str(record)))
        if number not in EMULATORS:
            self.fault(record, "libxl.emulator.id", 8, f"the emulator is {number:#x}")
        else:
            self.figures.facts["emulator"] = EMULATORS[number]
            if not number and not self.converted:
                self.fault(record, "libxl.emulator.unknown", 8, "the emulator is not named")
        size = record.length - 8
        if record.type == 3:
            if not size:
                self.fault(record, "libxl.emulator.empty", 4, "the emulator saved nothing")
            self.finish(record, at=8)
        elif size > _MAX_XENSTORE:
            self.fault(record, "libxl.xenstore.size", 4, f"there are {size} bytes of xenstore data")
            self.finish(record, at=8)
        else:
            data = self.take(size, str(record))
            self._xenstore(record, data)
            self.finish(record, at=record.length)

    def _xenstore(self, record: Record, data: bytes) -> None:
        if not data:
            self.fault(record, "libxl.emulator.empty", 4, "there are no xenstore data")
            return
        if data[-1]:
            self.fault(
                record, "libxl.xenstore.termination", 15 + len(data), "the data end without NUL"
            )
            return
        parts = data[:-1].split(b"\0")
        if len(parts) % 2:
            self.fault(
                record, "libxl.xenstore.pairs", 16, f"there are {len(parts)} strings, an odd number"
            )
            return
        at = 16
        for number, part in enumerate(parts):
            if number % 2:
                if len(part) > _MAX_VALUE:
                    self.fault(record, "libxl.xenstore.size", at, f"a value has {len(part)} bytes")
                elif _UNREADABLE.search(part):
                    self.fault(record, "libxl.xenstore.value", at, f"a value is {part[:40]!r}")
            elif len(part) > _MAX_KEY:
                self.fault(record, "libxl.xenstore.size", at, f"a key has {len(part)} bytes")
            elif not _KEY.fullmatch(part):
                self.fault(record, "libxl.xenstore.key", at, f"a key is {part[:40]!r}")
            at += len(part) + 1

    def _checkpoint(self, record: Record) -> None:
        if not self._in_checkpoint:
            self.fault(record, "libxl.order.checkpoint", 0, "there was no checkpoint")
        if record.type == _CHECKPOINT_STATE:
            self._state(record)
            return
        self.has_length(record, 0)
        self.finish(record)
        if not self._in_checkpoint:
            return
        while self._state_follows():
            following = self.next()
            self.figures.record("libxl", following.name, following.length)
            self._state(following)
        if not self.source.peek(1):
            self.report.fault(
                "libxl.checkpoint.open",
                self.source.position,
                str(record),
                "the stream was broken off after a checkpoint, which is whole",
            )
            self.report.complete = False
            raise Ended
        assert self.libxc is not None
        self._in_checkpoint = not self.libxc.run()

    def _state_follows(self) -> bool:
        """Say whether libxl goes on before libxc does.

        The records of both have the type 5. libxc's, a vCPU's extended context, never comes
        first after a checkpoint.
        """
        return self.source.peek(8) == Struct(f"{self.order}II").pack(_CHECKPOINT_STATE, 8)

    def _state(self, record: Record) -> None:
        if not self.has_length(record, 8):
            self.finish(record)
            return
        control, padding = Struct(f"{self.order}II").unpack(self.take(8, str(record)))
        if control > 3:
            self.fault(record, "libxl.checkpoint.state", 8, f"the control id is {control}")
        if padding:
            self.fault(record, "libxl.record.padding", 12, f"the padding is {padding:#x}")


class Ended(Exception):
    """The stream ends where that is no fault."""
