"""libxc's stream, versions 2 and 3: the guest's memory and registers.

Rules and order are those of docs/specs/libxc-migration-stream.pandoc (revision 3) and of what
xc_domain_restore() refuses (tools/libs/guest/xg_sr_restore*.c). What the hypervisor and the
guest keep in blobs (contexts, policies) is never looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from polyvisor_libxl.streams.pages import Runs, check_entries
from polyvisor_libxl.streams.records import Order, Record, Walker
from polyvisor_libxl.streams.tables import (
    BASIC_CONTEXT,
    EXTENDED_MAX,
    GUESTS,
    LIBXC_HEADER,
    LIBXC_ID,
    LIBXC_MARKER,
    LIBXC_RECORDS,
    MAX_RECORD,
    MAX_VCPUS,
    PAGE_SIZE,
    PFN_LIMIT,
)

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Figures, Report
    from polyvisor_libxl.streams.source import Source

__all__ = ["LibxcWalker"]

#: Records that only streams of one type of guest have.
_PV_ONLY = frozenset({0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0C})
_HVM_ONLY = frozenset({0x09, 0x0A})
#: Records that version 3 brought.
_SINCE_3 = frozenset({0x10, 0x11, 0x12})
#: Memory and registers, which STATIC_DATA_END comes before.
_DYNAMIC = frozenset({0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x0E})
#: Static data, which come before STATIC_DATA_END.
_STATIC = frozenset({0x02, 0x11, 0x12})
_VCPU = {0x04: "basic", 0x05: "extended", 0x06: "xsave", 0x0C: "msrs"}
_EMPTY_BODY = frozenset({0x00, 0x0D, 0x0E, 0x10})
#: Memory is taken for so many frames of a P2M at once.
_FRAMES = 1 << 15


class LibxcWalker(Walker):
    """Walks through a libxc stream, from its image header to END.

    Args:
        source: stands at the image header.
        report: takes the faults.
        figures: takes the counts.
        outer: byte order that libxl's header named, if there was one.
        converted: whether libxl's header says that the converter made the stream.
    """

    def __init__(
        self,
        source: Source,
        report: Report,
        figures: Figures,
        *,
        outer: Order | None = None,
        converted: bool | None = None,
    ) -> None:
        super().__init__(source, report, "libxc", LIBXC_RECORDS)
        self.figures = figures
        self.version = 0
        self.guest = 0
        self.width = 0
        self._outer = outer
        self._converted = converted
        #: pfns from here on are outside the guest.
        self._limit = PFN_LIMIT
        self._static_end = False
        self._static_told = False
        self._p2m = self._verify = False
        self._seen: set[int] = set()
        #: Of this epoch, that is since the last checkpoint.
        self._epoch: set[int] = set()
        self._runs = Runs()
        self._contexts: set[tuple[int, int]] = set()
        self._basics: set[int] = set()
        self._handlers: dict[int, Callable[[Record], int]] = {
            0x01: self._page_data,
            0x02: self._pv_info,
            0x03: self._p2m_frames,
            0x04: self._vcpu,
            0x05: self._vcpu,
            0x06: self._vcpu,
            0x0C: self._vcpu,
            0x07: self._shared_info,
            0x08: self._tsc_info,
            0x09: self._hvm_context,
            0x0A: self._hvm_params,
            0x11: self._policy,
            0x12: self._policy,
        }

    # Headers

    def headers(self) -> None:
        """Read image header and domain header."""
        start = self.source.position
        marker, ident, version, options, res1, res2 = LIBXC_HEADER.unpack(
            self.take(LIBXC_HEADER.size, "libxc image header")
        )
        report = self.report
        where = "libxc image header"
        if marker != LIBXC_MARKER:
            raise report.stop(
                "libxc.header.marker", start, where, f"the marker is {marker.hex()}, not all ones"
            )
        if ident != LIBXC_ID:
            raise report.stop("libxc.header.id", start + 8, where, f"the id is {ident!r}")
        if version not in (2, 3):
            raise report.stop(
                "libxc.header.version", start + 12, where, f"version {version} is not known"
            )
        self.version = version
        if options & 0xFFFE:
            report.fault(
                "libxc.header.options", start + 16, where, f"the options are {options:#06x}"
            )
        if res1 or res2:
            report.fault(
                "libxc.header.reserved",
                start + 18,
                where,
                f"the reserved fields are {res1:#06x} and {res2:#010x}",
            )
        order: Order = ">" if options & 1 else "<"
        if self._outer is not None and order != self._outer:
            report.fault(
                "libxc.header.agreement",
                start + 16,
                where,
                "the byte order is another than libxl's header says",
            )
        elif order == ">" and self._outer is None:
            report.fault("libxc.header.endianness", start + 16, where, "the stream is big-endian")
        self.set_order(order)
        self._domain()

    def _domain(self) -> None:
        start = self.source.position
        where = "libxc domain header"
        kind, shift, reserved, major, minor = Struct(f"{self.order}IHHII").unpack(
            self.take(16, where)
        )
        report, facts = self.report, self.figures.facts
        if kind not in GUESTS:
            raise report.stop(
                "libxc.domain.type", start, where, f"the type of the guest is {kind:#x}"
            )
        self.guest = kind
        if shift != 12:
            report.fault(
                "libxc.domain.page-shift", start + 4, where, f"the page shift is {shift}, not 12"
            )
        if reserved:
            report.fault(
                "libxc.header.reserved",
                start + 6,
                where,
                f"the reserved field is {reserved:#06x}",
            )
        if self._converted is not None and self._converted != (major == 0):
            report.fault(
                "libxl.header.legacy",
                start + 8,
                where,
                f"Xen {major}.{minor} is named, where libxl's header says that the stream "
                f"was {'' if self._converted else 'not '}converted",
            )
        facts["libxc_version"] = self.version
        facts["guest"] = f"x86 {GUESTS[kind]}"
        if major:
            facts["xen_version"] = f"{major}.{minor}"
        else:
            facts["converted_by"] = f"converter, version {minor}"

    # Records

    def run(self) -> bool:
        """Read records up to END or CHECKPOINT.

        Returns:
            Whether it was END.
        """
        while True:
            record = self.next()
            kind = record.type
            if record.length > MAX_RECORD:
                raise self.report.stop(
                    "libxc.record.size",
                    record.offset + 4,
                    str(record),
                    f"the record claims {record.length} bytes",
                )
            self.figures.record("libxc", record.name, record.length)
            if kind != 0x01:
                self._suits(record)
            if kind in _DYNAMIC and not self._static_end:
                self._before_static_end(record)
            handler = self._handlers.get(kind)
            if handler is not None:
                self.finish(record, at=handler(record))
                self._seen.add(kind)
                self._epoch.add(kind)
                continue
            if kind in _EMPTY_BODY:
                self.has_length(record, 0)
            elif kind == 0x0B:
                self.fault(record, "libxc.record.deprecated", 0, "the record is not used any more")
            elif kind == 0x0F:
                self.fault(record, "libxc.record.direction", 0, "only a secondary sends this")
            self.finish(record)
            if kind == 0x10:
                self._end_of_static(record)
            elif kind == 0x0D:
                if self._verify:
                    self.fault(record, "libxc.order.verify", 0, "it was said before")
                self._verify = True
            elif kind in (0x00, 0x0E):
                self._complete(record)
                return kind == 0x00

    def _suits(self, record: Record) -> None:
        kind = record.type
        if kind in (_HVM_ONLY if self.guest == 1 else _PV_ONLY):
            self.fault(
                record,
                "libxc.record.guest",
                0,
                f"a stream of an x86 {GUESTS[self.guest]} guest has no such record",
            )
        if kind in _SINCE_3 and self.version < 3:
            self.fault(
                record, "libxc.record.version", 0, "a stream of version 2 has no such record"
            )
        if kind in _STATIC and self._static_end:
            self.fault(record, "libxc.static.late", 0, "it comes after the static data's end")

    def _before_static_end(self, record: Record) -> None:
        if self.version < 3:
            # The end is where memory begins: the frames of a PV guest, the pages of an HVM one.
            if record.type == (0x03 if self.guest == 1 else 0x01):
                self._static_end = True
            return
        if not self._static_told:
            self._static_told = True
            self.fault(
                record, "libxc.static.missing", 0, "no STATIC_DATA_END came before this record"
            )

    def _end_of_static(self, record: Record) -> None:
        if self._static_end:
            self.fault(record, "libxc.static.repeated", 0, "it came before")
        self._static_end = True

    def _complete(self, record: Record) -> None:
        """Check, at a checkpoint or the end, that nothing is missing."""
        names = LIBXC_RECORDS
        if self.guest == 1:
            needed, usual = [0x02, 0x03], [0x01, 0x07, 0x08]
            if 0 not in self._basics:
                self.fault(
                    record, "libxc.complete.records", 0, "the basic context of vCPU 0 never came"
                )
        else:
            needed, usual = [0x09], [0x01, 0x08, 0x0A]
        for kinds, rule in ((needed, "records"), (usual, "usual")):
            for kind in kinds:
                if kind not in self._seen:
                    self.fault(record, f"libxc.complete.{rule}", 0, f"no {names[kind]} came")
        self._epoch = set()
        self._contexts = set()

    # One handler for each record with a body; they return how much of it they have read.

    def _page_data(self, record: Record) -> int:
        if self.guest == 1 and not self._p2m:
            self._p2m = True  # Said once.
            self.fault(record, "libxc.order.p2m", 0, "no X86_PV_P2M_FRAMES came before pages")
        if not self._epoch.isdisjoint(_VCPU) and 0x01 not in self._epoch:
            self.fault(record, "libxc.order.pages", 0, "vCPUs came before this")
        if record.length < 8:
            self.has_at_least(record, 8)
            return 0
        name = str(record)
        count, reserved = self._pair(record)
        if reserved:
            self._reserved(record, 12, reserved)
        if not count:
            self.fault(record, "libxc.page-data.count", 8, "the record names no pfn")
            return 8
        size = 8 * count
        if record.length < 8 + size:
            self.fault(
                record,
                "libxc.page-data.length",
                4,
                f"the body has {record.length} bytes, too few for {count} pfns",
            )
            return 8
        entries = self.take(size, name)
        data = check_entries(
            entries,
            swapped=self.order == ">",
            limit=self._limit,
            position=record.offset + 16,
            record=name,
            report=self.report,
            figures=self.figures,
            runs=self._runs,
        )
        if record.length != 8 + size + data:
            self.fault(
                record,
                "libxc.page-data.length",
                4,
                f"the body has {record.length} bytes; {count} pfns with {data // PAGE_SIZE} "
                f"pages take {8 + size + data}",
            )
        return 8 + size

    def _pair(self, record: Record) -> tuple[int, int]:
        """Read the two 32-bit fields that many bodies begin with."""
        first, second = self._header.unpack(self.take(8, str(record)))
        return first, second

    def _reserved(self, record: Record, at: int, value: int) -> None:
        self.fault(record, "libxc.record.reserved", at, f"the reserved field is {value:#x}")

    def _empty(self, record: Record) -> None:
        self.fault(record, "libxc.record.empty", 4, "the record has no content")

    def _again(self, record: Record) -> None:
        self.fault(record, "libxc.record.repeated", 0, "it came before")

    def _pv_info(self, record: Record) -> int:
        if 0x02 in self._seen:
            self.fault(record, "libxc.order.pv-info", 0, "it came before")
        if not self.has_at_least(record, 8):
            return 0
        self.has_length(record, 8)
        width, levels, res1, res2 = Struct(f"{self.order}BBHI").unpack(self.take(8, str(record)))
        if (width, levels) not in ((4, 3), (8, 4)):
            self.fault(
                record,
                "libxc.pv-info.width",
                8,
                f"the guest's width is {width} octets, with {levels} levels of page tables",
            )
        else:
            self.width = width
            self.figures.facts["guest_width"] = 8 * width
        if res1 or res2:
            self._reserved(record, 10, res2 << 16 | res1)
        return 8

    def _need_info(self, record: Record) -> bool:
        if 0x02 not in self._seen:
            self.fault(record, "libxc.order.pv-info", 0, "no X86_PV_INFO came before it")
        return self.width != 0

    def _p2m_frames(self, record: Record) -> int:
        known = self._need_info(record)
        if not self.has_at_least(record, 8):
            return 0
        first, last = self._pair(record)
        if first > last:
            self.fault(
                record, "libxc.p2m.range", 8, f"the range goes from {first:#x} down to {last:#x}"
            )
            return 8
        self._limit = max(self._limit if self._p2m else 0, last + 1)
        self._p2m = True
        if not known:
            return 8
        self.figures.facts["guest_pages"] = self._limit
        per_frame = PAGE_SIZE // self.width
        frames = last // per_frame + 1 - first // per_frame
        if record.length != 8 + 8 * frames:
            self.fault(
                record,
                "libxc.p2m.frames",
                4,
                f"the body has {record.length} bytes; {frames} frames, for pfns {first:#x} to "
                f"{last:#x}, take {8 + 8 * frames}",
            )
            return 8
        for start in range(0, frames, _FRAMES):
            some = min(_FRAMES, frames - start)
            found = Struct(f"{self.order}{some}Q").unpack(self.take(8 * some, str(record)))
            if max(found) >= self._limit:
                at = next(at for at, pfn in enumerate(found) if pfn >= self._limit)
                self.fault(
                    record,
                    "libxc.p2m.frame",
                    16 + 8 * (start + at),
                    f"frame {start + at} is pfn {found[at]:#x}, where pfns are below "
                    f"{self._limit:#x}",
                )
        return 8 + 8 * frames

    def _vcpu(self, record: Record) -> int:
        self._need_info(record)
        if not self.has_at_least(record, 8):
            return 0
        number, reserved = self._pair(record)
        if reserved:
            self._reserved(record, 12, reserved)
        size = record.length - 8
        kind = _VCPU[record.type]
        if not size and kind != "basic":
            self._empty(record)
            return 8
        if number >= MAX_VCPUS:
            self.fault(record, "libxc.vcpu.id", 8, f"the vCPU's number is {number}")
            return 8
        if (number, record.type) in self._contexts:
            self._again(record)
        self._contexts.add((number, record.type))
        self.figures.vcpus.add(number)
        wrong = ""
        if kind == "basic":
            self._basics.add(number)
            wanted = BASIC_CONTEXT.get(self.width, size)
            wrong = "" if size == wanted else f", not {wanted} as of a {8 * self.width}-bit guest"
        elif kind == "extended" and size > EXTENDED_MAX:
            wrong = f", more than {EXTENDED_MAX}"
        elif kind == "xsave" and size < 16:
            wrong = ", fewer than 16"
        elif kind == "msrs" and size % 16:
            wrong = ", no multiple of 16"
        if wrong:
            self.fault(record, "libxc.vcpu.context", 4, f"the context has {size} bytes{wrong}")
        return 8

    def _shared_info(self, record: Record) -> int:
        self._need_info(record)
        if 0x07 in self._epoch:
            self._again(record)
        self.has_length(record, PAGE_SIZE)
        return 0

    def _tsc_info(self, record: Record) -> int:
        if 0x08 in self._epoch:
            self._again(record)
        if not self.has_length(record, 24):
            return 0
        mode, khz, _nsec, _incarnation, reserved = Struct(f"{self.order}IIQII").unpack(
            self.take(24, str(record))
        )
        if mode > 3:
            self.fault(record, "libxc.tsc.mode", 8, f"the TSC mode is {mode}")
        if reserved:
            self._reserved(record, 28, reserved)
        self.figures.facts["tsc_khz"] = khz
        return 24

    def _hvm_context(self, record: Record) -> int:
        if 0x09 in self._epoch:
            self._again(record)
        if 0x0A not in self._epoch:
            self.fault(record, "libxc.order.params", 0, "no HVM_PARAMS came before it")
        self.has_at_least(record, 1)
        return 0

    def _hvm_params(self, record: Record) -> int:
        if not self.has_at_least(record, 8):
            return 0
        count, reserved = self._pair(record)
        if reserved:
            self._reserved(record, 12, reserved)
        if not count:
            self._empty(record)
        if record.length != 8 + 16 * count:
            self.fault(
                record,
                "libxc.record.length",
                4,
                f"the body has {record.length} bytes; {count} parameters take {8 + 16 * count}",
            )
        return 8

    def _policy(self, record: Record) -> int:
        if record.type in self._seen:
            self._again(record)
        # xen_cpuid_leaf_t, xen_msr_entry_t
        size = 24 if record.type == 0x11 else 16
        if not record.length or record.length % size:
            self.fault(
                record,
                "libxc.record.length",
                4,
                f"the body has {record.length} bytes, no multiple of {size} above 0",
            )
        return 0
