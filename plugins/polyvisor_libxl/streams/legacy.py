"""The legacy stream of Xen 4.5 and older.

It has no header, no version, and its words are as wide as its toolstack's; what it is has to
be told from its first bytes. The layout stands in tools/python/xen/migration/legacy.py of
Xen's tree: the size of the P2M, of PV guests an extended info block and the P2M's frames,
then chunks (batches of pages, or one of the kinds of ``tables.CHUNKS``), then a tail with
registers, and of HVM guests the emulator's state.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from polyvisor_libxl.streams.pages import contents, first_of_run
from polyvisor_libxl.streams.source import CutOff, Source
from polyvisor_libxl.streams.tables import (
    BASIC_CONTEXT,
    CHUNK_PARAMS,
    CHUNKS,
    EXTENDED_MAX,
    MAX_BATCH,
    MAX_RECORD,
    PAGE_SIZE,
    RESERVED_KINDS,
)

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Figures, Report, Stop

__all__ = ["LegacySink", "LegacyWalker", "looks_legacy"]

_PV, _HVM = 1, 2
_MAX_PAGES = 1 << 28
_MAX_VCPU_ID = 4095
#: An extended info block has three small entries.
_MAX_EXTENDED = 1 << 16
_MAX_XSAVE = 1 << 20
_MAX_TOOLSTACK = 1 << 20
#: An emulator saves its devices and their memory.
_MAX_EMULATOR = 2 << 30
_SIGNATURES = (b"DeviceModelRecord0002", b"RemusDeviceModelState")
_INT = Struct("<i")
_UINT = Struct("<I")
_XTAB = 0xF
_KIND = bytes(byte >> 4 for byte in range(256))
_HIGH = bytes(byte & 0xF0 for byte in range(256))
_LOWER = bytes(byte & 15 for byte in range(256))
_SOUND_KINDS = bytes(set(range(16)) - set(RESERVED_KINDS))


class LegacySink:
    """Gets what a legacy stream holds, in terms of libxc's version 3; here, nothing is done."""

    def begin(self, guest: int) -> None:
        """Hear of which type the guest is: 1 PV, 2 HVM."""

    def pv_info(self, width: int, levels: int) -> None:
        """Hear a PV guest's width in octets and its levels of page tables."""

    def static_end(self) -> None:
        """Hear that what follows is memory and registers."""

    def p2m_frames(self, pages: int, frames: tuple[int, ...]) -> None:
        """Get the frames of the P2M of a guest with pfns below ``pages``."""

    def pages(self, entries: bytes, size: int, source: Source) -> None:
        """Get a batch: entries as PAGE_DATA has them, and ``size`` bytes still to be read."""
        source.skip(size)

    def verify(self) -> None:
        """Hear that pages that follow are sent for debugging."""

    def tsc_info(self, mode: int, khz: int, nsec: int, incarnation: int) -> None:
        """Get what the guest's clock is."""

    def hvm_params(self, params: list[tuple[int, int]]) -> None:
        """Get HVM parameters, index and value."""

    def vcpu(self, kind: int, number: int, data: bytes) -> None:
        """Get a vCPU's context, by the type of the record that holds it."""

    def shared_info(self, data: bytes) -> None:
        """Get the shared info page."""

    def hvm_context(self, size: int, source: Source) -> None:
        """Get the HVM context: ``size`` bytes still to be read."""
        source.skip(size)

    def end_of_libxc(self) -> None:
        """Hear that libxc's part is over."""

    def xenstore(self, data: bytes) -> None:
        """Get what the emulator had in xenstore: keys and values, each ended by a NUL."""

    def emulator(self, size: int, source: Source) -> None:
        """Get the emulator's state: ``size`` bytes still to be read."""
        source.skip(size)

    def end(self) -> None:
        """Hear that it is all."""


def looks_legacy(head: bytes) -> bool:
    """Say whether a stream that begins with ``head`` (16 bytes) may be a legacy one."""
    if len(head) < 16:
        return False
    narrow = any(head[4:8])
    size = int.from_bytes(head[:4], "little")
    then = head[4:] if narrow else head[8:]
    if not 0 < size <= _MAX_PAGES:
        return False
    mark = b"\xff" * (4 if narrow else 8)
    chunk = _INT.unpack(then[:4])[0]
    return then.startswith(mark) or (chunk in CHUNKS and chunk != 0) or 0 < chunk <= MAX_BATCH


class LegacyWalker:
    """Walks through a legacy stream.

    Args:
        source: stands at its first byte.
        report: takes the faults.
        figures: takes the counts.
        sink: gets what the stream holds.
    """

    def __init__(self, source: Source, report: Report, figures: Figures, sink: LegacySink) -> None:
        self.source = source
        self.report = report
        self.figures = figures
        self.sink = sink
        self.guest = 0
        #: Octets of an ``unsigned long`` of the toolstack that wrote it.
        self._word = 8
        self._pages = 0
        self._width = 0
        self._basic = 0
        self._extended = False
        self._xsave = 0
        self._online: list[int] = [0]
        self._xenstore = bytearray()
        self._params: list[tuple[int, int]] = []
        self._what = "legacy stream"

    def run(self) -> None:
        """Read it all."""
        try:
            self._read()
        except CutOff as cut:
            raise self.report.stop(
                "stream.cut-off", cut.end, self._what, "the stream ends here, too early"
            ) from None

    def _read(self) -> None:
        source, sink, facts = self.source, self.sink, self.figures.facts
        self._what = "size of the P2M"
        start = source.position
        head = source.peek(16)
        self._word = 4 if any(head[4:8]) else 8
        self._pages = int.from_bytes(source.take(self._word), "little")
        if not 0 < self._pages <= _MAX_PAGES:
            raise self._stop(
                "legacy.header.size", start, f"the guest has {self._pages} pages, it says"
            )
        mark = b"\xff" * self._word
        self.guest = _PV if source.peek(self._word) == mark else _HVM
        facts["stream"] = "legacy"
        facts["toolstack_width"] = 8 * self._word
        facts["guest"] = "x86 PV" if self.guest == _PV else "x86 HVM"
        facts["guest_pages"] = self._pages
        sink.begin(self.guest)
        if self.guest == _PV:
            source.take(self._word)
            self._extended_info()
        sink.static_end()
        if self.guest == _PV:
            self._p2m()
        while self._chunk():
            pass
        if self.guest == _PV:
            self._pv_tail()
        else:
            self._hvm_tail()
        sink.end_of_libxc()
        if self._xenstore:
            sink.xenstore(bytes(self._xenstore))
        if self.guest == _HVM:
            self._emulator()
        sink.end()

    def _uint(self) -> int:
        value: int = _UINT.unpack(self.source.take(4))[0]
        return value

    def _words(self, count: int) -> tuple[int, ...]:
        data = self.source.take(count * self._word)
        return Struct(f"<{count}{'I' if self._word == 4 else 'Q'}").unpack(data)

    def _fault(self, rule: str, offset: int, words: str) -> None:
        self.report.fault(rule, offset, self._what, words)

    def _stop(self, rule: str, offset: int, words: str) -> Stop:
        return self.report.stop(rule, offset, self._what, words)

    # Before the chunks

    def _extended_info(self) -> None:
        self._what = "extended info"
        rule = "legacy.header.extended-info"
        start = self.source.position
        left = self._uint()
        if left > _MAX_EXTENDED:
            raise self._stop(rule, start, f"the block claims {left} bytes")
        while left:
            at = self.source.position
            if left < 8:
                raise self._stop(rule, at, f"{left} bytes are left over")
            name = self.source.take(4)
            size = self._uint()
            left -= 8 + size
            if left < 0:
                raise self._stop(rule, at, f"the entry {name!r} goes over the block's end")
            data = self.source.take(size)
            if name == b"vcpu":
                self._vcpu_size(at, size)
            elif name == b"extv":
                self._extended = True
            elif name == b"xcnt" and size >= 4:
                self._xsave = _UINT.unpack(data[:4])[0]
                if self._xsave and not 16 <= self._xsave <= _MAX_XSAVE:
                    raise self._stop(rule, at, f"the extended state has {self._xsave} bytes")
            else:
                raise self._stop(rule, at, f"the entry {name!r} of {size} bytes is not known")
        if not self._width:
            raise self._stop("legacy.header.width", start, "there is no entry 'vcpu'")

    def _vcpu_size(self, at: int, size: int) -> None:
        widths = {basic: width for width, basic in BASIC_CONTEXT.items()}
        if size not in widths:
            raise self._stop("legacy.header.width", at, f"the context has {size:#x} bytes")
        if self._width:
            raise self._stop("legacy.header.extended-info", at, "'vcpu' comes twice")
        self._basic, self._width = size, widths[size]
        self.figures.facts["guest_width"] = 8 * self._width
        self.sink.pv_info(self._width, 4 if self._width == 8 else 3)

    def _p2m(self) -> None:
        self._what = "frames of the P2M"
        start = self.source.position
        per_frame = PAGE_SIZE // self._width
        frames = self._words((self._pages - 1) // per_frame + 1)
        if max(frames) >= self._pages:
            at = next(at for at, pfn in enumerate(frames) if pfn >= self._pages)
            self._fault(
                "legacy.p2m.frame",
                start + at * self._word,
                f"frame {at} is pfn {frames[at]:#x}, where pfns are below {self._pages:#x}",
            )
        self.sink.p2m_frames(self._pages, frames)

    # Chunks

    def _chunk(self) -> bool:
        """Read a chunk; return whether it was not the last."""
        at = self.source.position
        self._what = "header of a chunk"
        kind: int = _INT.unpack(self.source.take(4))[0]
        self.report.records += 1
        if kind > 0:
            self._batch(kind, at)
            return True
        name = CHUNKS.get(kind)
        if name is None:
            raise self._stop("legacy.chunk.type", at, f"the chunk has the type {kind}")
        self._what = f"chunk {name!r}"
        before = self.source.position
        if kind in CHUNK_PARAMS:
            self._parameter(kind, at)
        elif kind == -1:
            self.sink.verify()
        elif kind == -2:
            self._vcpu_info(at)
        elif kind == -7:
            mode, nsec, khz, incarnation = Struct("<IQII").unpack(self.source.take(20))
            if mode > 3:
                self._fault("libxc.tsc.mode", at + 4, f"the TSC mode is {mode}")
            self.figures.facts["tsc_khz"] = khz
            self.sink.tsc_info(mode, khz, nsec, incarnation)
        elif kind == -18:
            self._toolstack(at)
        elif kind in (-5, -6, -12, -13):
            raise self._stop(
                "legacy.chunk.unconvertible",
                at,
                "the stream has tmem or compressed pages, which nothing reads any more",
            )
        self.figures.record("legacy", name, self.source.position - before)
        if kind == 0 and self._params:
            self.sink.hvm_params(self._params)
        return kind != 0

    def _parameter(self, kind: int, at: int) -> None:
        _, value = Struct("<IQ").unpack(self.source.take(12))
        if self.guest == _PV:
            self._fault("legacy.chunk.guest", at, "a PV guest has no HVM parameters")
            return
        self._params.append((CHUNK_PARAMS[kind], value))

    def _vcpu_info(self, at: int) -> None:
        highest: int = _INT.unpack(self.source.take(4))[0]
        if not 0 <= highest <= _MAX_VCPU_ID:
            raise self._stop("legacy.vcpu.id", at + 4, f"the highest vCPU is {highest}")
        online = int.from_bytes(self.source.take(8 * (highest // 64 + 1)), "little")
        self._online = [number for number in range(highest + 1) if online >> number & 1]
        self.figures.vcpus.update(self._online)

    def _batch(self, count: int, at: int) -> None:
        self._what = f"batch of {count} pages"
        if count > MAX_BATCH:
            raise self._stop("legacy.batch.size", at, f"the batch has {count} pages")
        word = self._word
        raw = self.source.take(count * word)
        self.figures.record("legacy", "pages", len(raw))
        third = raw[3::word]
        if word == 8:
            entries = bytearray(raw)
        else:
            entries = bytearray(8 * count)
            for octet in range(3):
                entries[octet::8] = raw[octet::4]
        entries[3::8] = third.translate(_LOWER)
        kinds = third.translate(_KIND)
        run = first_of_run(entries)
        if run >= 0 and run + count <= self._pages and kinds.count(0) == count:
            self.figures.run(run, count)
            self.sink.pages(bytes(entries), count * PAGE_SIZE, self.source)
            return
        first = at + 4
        if word == 8 and any(raw[octet::8].strip(b"\0") for octet in range(4, 8)):
            self._fault("legacy.batch.pfn", first, "an entry has more than 32 bits")
            for octet in range(4, 8):
                entries[octet::8] = bytes(count)
        plain = memoryview(entries).cast("Q").tolist()
        if kinds.translate(None, _SOUND_KINDS):
            nth = next(nth for nth, kind in enumerate(kinds) if kind in RESERVED_KINDS)
            self._fault(
                "legacy.batch.type",
                first + nth * word,
                f"the page has the reserved type {kinds[nth]:#x}",
            )
        entries[7::8] = third.translate(_HIGH)
        if _XTAB in kinds:
            # Pages that could not be mapped; their numbers mean nothing.
            kept = [nth for nth, kind in enumerate(kinds) if kind != _XTAB]
            plain = [plain[nth] for nth in kept]
            kinds = bytes(kinds[nth] for nth in kept)
            entries = bytearray(b"".join(entries[8 * nth : 8 * nth + 8] for nth in kept))
        if not plain:
            return
        if max(plain) >= self._pages:
            self._fault(
                "legacy.batch.pfn",
                first,
                f"pfn {max(plain):#x} is outside the guest, which has pfns below {self._pages:#x}",
            )
        if len(set(plain)) != len(plain):
            self._fault("legacy.batch.duplicate", first, "a pfn is named twice")
        self.figures.batch(plain, kinds)
        self.sink.pages(bytes(entries), contents(kinds), self.source)

    def _toolstack(self, at: int) -> None:
        size = self._uint()
        if not size:
            return
        rule = "legacy.toolstack"
        if size > _MAX_TOOLSTACK:
            raise self._stop(rule, at + 4, f"the record claims {size} bytes")
        data = self.source.take(size)
        if size < 8:
            raise self._stop(rule, at + 4, f"the record has {size} bytes")
        version, count = Struct("<II").unpack(data[:8])
        if version != 1:
            raise self._stop(rule, at + 8, f"the record has version {version}")
        position = 8
        # libxl__physmap_info, which 64-bit toolstacks wrote with its padding behind the name.
        padding = 4 if self._word == 8 else 0
        for _ in range(count):
            if size - position < 28:
                raise self._stop(rule, at + 8 + position, "it ends within an entry")
            phys, start, length, named = Struct("<QQQI").unpack(data[position : position + 28])
            begins = at + 8 + position
            position += 28
            name = data[position : position + named]
            position += named + padding
            if not named or position > size or name[-1:] != b"\0" or b"\0" in name[:-1]:
                raise self._stop(rule, begins, "the name of an entry is not sound")
            root = f"physmap/{phys:x}".encode()
            pairs = (
                (b"start_addr", f"{start:x}".encode()),
                (b"size", f"{length:x}".encode()),
                (b"name", name[:-1]),
            )
            for key, value in pairs:
                self._xenstore += root + b"/" + key + b"\0" + value + b"\0"

    # Behind the chunks

    def _pv_tail(self) -> None:
        self._what = "list of unmapped pages"
        start = self.source.position
        count = self._uint()
        if count > self._pages:
            raise self._stop("legacy.header.size", start, f"{count} pages are unmapped, it says")
        self.source.skip(count * self._word)
        self.figures.vcpus.update(self._online)
        for number in self._online:
            self._what = f"context of vCPU {number}"
            self.sink.vcpu(0x04, number, self.source.take(self._basic))
            if self._extended:
                self.sink.vcpu(0x05, number, self.source.take(EXTENDED_MAX))
            if self._xsave:
                at = self.source.position
                _mask, size = Struct("<QQ").unpack(self.source.take(16))
                if size != self._xsave - 16:
                    raise self._stop(
                        "legacy.vcpu.xsave",
                        at + 8,
                        f"the extended state has {size} bytes, not {self._xsave - 16}",
                    )
                self.sink.vcpu(0x06, number, self.source.take(size))
        self._what = "shared info page"
        self.sink.shared_info(self.source.take(PAGE_SIZE))

    def _hvm_tail(self) -> None:
        self._what = "magic pages"
        ioreq, buffered, store = Struct("<QQQ").unpack(self.source.take(24))
        # HVM_PARAM_IOREQ_PFN, HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_STORE_PFN
        self.sink.hvm_params([(5, ioreq), (6, buffered), (1, store)])
        self._what = "HVM context"
        at = self.source.position
        size = self._uint()
        if not size or size > MAX_RECORD:
            raise self._stop("libxc.record.length", at, f"the HVM context has {size} bytes")
        self.sink.hvm_context(size, self.source)

    def _emulator(self) -> None:
        self._what = "state of the emulator"
        at = self.source.position
        signature = self.source.take(21)
        if signature not in _SIGNATURES:
            raise self._stop(
                "legacy.emulator", at, f"the signature {signature!r} is not one that can be read"
            )
        at = self.source.position
        size = self._uint()
        if size > _MAX_EMULATOR:
            raise self._stop("legacy.emulator", at, f"the emulator's state has {size} bytes")
        self.sink.emulator(size, self.source)
