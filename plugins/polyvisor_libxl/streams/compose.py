"""Composes streams as Xen's own savers write them, of guests that never were.

For tests, measurements, and whoever writes what reads such streams. A stream is a list of
records, type and body, which can be changed before :func:`libxl` or :func:`libxc` make bytes
of it; :func:`legacy` writes the stream of Xen 4.5 and older.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Literal

import attrs

from polyvisor_libxl.streams.tables import (
    ALIGN,
    BASIC_CONTEXT,
    CHUNK_PARAMS,
    DATALESS,
    EXTENDED_MAX,
    LIBXC_HEADER,
    LIBXC_ID,
    LIBXC_MARKER,
    LIBXL_HEADER,
    LIBXL_IDENT,
    MAX_BATCH,
    PAGE_SIZE,
)

__all__ = ["Guest", "Records", "contents", "legacy", "libxc", "libxl", "record", "records", "tail"]

#: Type and body of each.
Records = list[tuple[int, bytes]]
Order = Literal["<", ">"]

_PHYSMAP = (
    (b"physmap/f0000000/start_addr", b"f0000000"),
    (b"physmap/f0000000/size", b"800000"),
    (b"physmap/f0000000/name", b"vga.vram"),
)


@attrs.frozen
class Guest:
    """A guest that is in a stream.

    Attributes:
        pv: whether it is PV; else it is HVM.
        width: of a PV guest, in octets: 4 or 8.
        pages: how many it has.
        kinds: ``XEN_DOMCTL_PFINFO_*`` (0 to 15) of single pages by number; the rest are
            normal.
        vcpus: how many it has.
        batch: pages in a batch.
        emulator: an HVM guest's emulator's state; empty if it has no emulator.
    """

    pv: bool = True
    width: int = 8
    pages: int = 16
    kinds: dict[int, int] = attrs.field(factory=dict)
    vcpus: int = 1
    batch: int = MAX_BATCH
    emulator: bytes = b"QEVM and so on"


def contents(pfn: int) -> bytes:
    """Return what stands in a page: its number, again and again."""
    return pfn.to_bytes(8, "little") * (PAGE_SIZE // 8)


def _batches(guest: Guest) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, guest.pages, guest.batch):
        end = min(start + guest.batch, guest.pages)
        yield [(pfn, guest.kinds.get(pfn, 0)) for pfn in range(start, end)]


def _data(batch: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(contents(pfn) for pfn, kind in batch if kind not in DATALESS)


def _blob(size: int, seed: int) -> bytes:
    return bytes((seed + at) & 0xFF for at in range(256)) * (size // 256 + 1)


def records(guest: Guest, *, version: int = 3, order: Order = "<") -> Records:
    """Return the records of a libxc stream, END included."""

    def pack(layout: str, *values: int) -> bytes:
        return Struct(order + layout).pack(*values)

    found: Records = []
    if guest.pv:
        found.append((0x02, pack("BBHI", guest.width, 4 if guest.width == 8 else 3, 0, 0)))
    if version > 2:
        found.append((0x11, pack("6I", 0, 0xFFFFFFFF, 13, 1, 2, 3) * 3))
        found.append((0x12, pack("QII", 0xCE, 0, 0)))
        found.append((0x10, b""))
    if guest.pv:
        frames = (guest.pages - 1) // (PAGE_SIZE // guest.width) + 1
        last = guest.pages - 1
        body = pack("II", 0, last) + pack(f"{frames}Q", *(min(n, last) for n in range(frames)))
        found.append((0x03, body))
    for batch in _batches(guest):
        entries = pack(f"{len(batch)}Q", *(kind << 60 | pfn for pfn, kind in batch))
        found.append((0x01, pack("II", len(batch), 0) + entries + _data(batch)))
    found.append((0x08, pack("IIQII", 0, 2_400_000, 123_456_789, 1, 0)))
    if guest.pv:
        found.append((0x07, _blob(PAGE_SIZE, 7)[:PAGE_SIZE]))
        for number in range(guest.vcpus):
            sizes = ((0x04, BASIC_CONTEXT[guest.width]), (0x05, 64), (0x06, 848), (0x0C, 32))
            for kind, size in sizes:
                found.append((kind, pack("II", number, 0) + _blob(size, kind)[:size]))
    else:
        params = ((1, 0xFEFFC), (5, 0xFEFFE), (6, 0xFEFFD), (12, 0xFEFFB))
        body = b"".join(pack("QQ", index, value) for index, value in params)
        found.append((0x0A, pack("II", len(params), 0) + body))
        found.append((0x09, _blob(1001, 9)[:1001]))
    found.append((0x00, b""))
    return found


def record(kind: int, body: bytes, order: Order = "<") -> bytes:
    """Return a record with its padding."""
    return Struct(f"{order}II").pack(kind, len(body)) + body + bytes(-len(body) % ALIGN)


def libxc(
    guest: Guest,
    found: Sequence[tuple[int, bytes]],
    *,
    version: int = 3,
    order: Order = "<",
    xen: tuple[int, int] = (4, 17),
) -> bytes:
    """Return a libxc stream.

    Args:
        guest: whose type the domain header says.
        found: its records.
        version: of the stream.
        order: of its integers.
        xen: version of Xen that it names.
    """
    options = 1 if order == ">" else 0
    head = LIBXC_HEADER.pack(LIBXC_MARKER, LIBXC_ID, version, options, 0, 0)
    domain = Struct(f"{order}IHHII").pack(1 if guest.pv else 2, 12, 0, *xen)
    return head + domain + b"".join(record(kind, body, order) for kind, body in found)


def tail(guest: Guest, *, order: Order = "<") -> Records:
    """Return libxl's records behind the libxc stream, END included."""
    found: Records = []
    if not guest.pv and guest.emulator:
        head = Struct(f"{order}II").pack(2, 0)
        pairs = b"".join(key + b"\0" + value + b"\0" for key, value in _PHYSMAP)
        found += [(2, head + pairs), (3, head + guest.emulator)]
    return [*found, (0, b"")]


def libxl(
    inner: bytes, after: Sequence[tuple[int, bytes]], *, order: Order = "<", options: int = 0
) -> bytes:
    """Return a libxl stream.

    Args:
        inner: the libxc stream in it.
        after: libxl's records behind that.
        order: of the integers.
        options: of the header, beyond that.
    """
    head = LIBXL_HEADER.pack(LIBXL_IDENT, 2, options | (1 if order == ">" else 0))
    rest = b"".join(record(kind, body, order) for kind, body in after)
    return head + record(1, b"", order) + inner + rest


def legacy(guest: Guest, *, word: int = 8, unmapped: int = 0) -> bytes:
    """Return a legacy stream.

    Args:
        guest: who is in it.
        word: octets of an ``unsigned long`` of the toolstack that writes it: 4 or 8.
        unmapped: how many pages a PV guest's tail says are not mapped.
    """
    letter = "I" if word == 4 else "Q"

    def longs(*values: int) -> bytes:
        return Struct(f"<{len(values)}{letter}").pack(*values)

    def ints(*values: int) -> bytes:
        return Struct(f"<{len(values)}I").pack(*values)

    def chunk(kind: int, body: bytes = b"") -> bytes:
        return Struct("<i").pack(kind) + body

    out = [longs(guest.pages)]
    if guest.pv:
        basic = BASIC_CONTEXT[guest.width]
        info = b"vcpu" + ints(basic) + _blob(basic, 3)[:basic]
        info += b"extv" + ints(0) + b"xcnt" + ints(4, 848 + 16)
        frames = (guest.pages - 1) // (PAGE_SIZE // guest.width) + 1
        out += [
            b"\xff" * word + ints(len(info)) + info,
            longs(*(min(n, guest.pages - 1) for n in range(frames))),
        ]
    for batch in _batches(guest):
        entries = longs(*(kind << 28 | (0 if kind == 15 else pfn) for pfn, kind in batch))
        out.append(chunk(len(batch), entries + _data(batch)))
    if guest.pv:
        online = (1 << guest.vcpus) - 1
        words = (guest.vcpus - 1) // 64 + 1
        body = ints(guest.vcpus - 1) + online.to_bytes(8 * words, "little")
        out.append(chunk(-2, body))
    else:
        out += [
            chunk(kind, Struct("<IQ").pack(0, 0xFE000 + param))
            for kind, param in CHUNK_PARAMS.items()
        ]
        name = b"vga.vram\0"
        entry = Struct("<QQQI").pack(0xF0000000, 0xF0000000, 0x800000, len(name)) + name
        body = ints(1, 1) + entry + bytes(4 if word == 8 else 0)
        out.append(chunk(-18, ints(len(body)) + body))
    out += [chunk(-7, Struct("<IQII").pack(0, 123_456_789, 2_400_000, 1)), chunk(-9), chunk(0)]
    if guest.pv:
        out.append(ints(unmapped) + longs(*range(unmapped)))
        for _ in range(guest.vcpus):
            out.append(_blob(BASIC_CONTEXT[guest.width], 4)[: BASIC_CONTEXT[guest.width]])
            out.append(_blob(EXTENDED_MAX, 5)[:EXTENDED_MAX])
            out.append(Struct("<QQ").pack(7, 848) + _blob(848, 6)[:848])
        out.append(_blob(PAGE_SIZE, 7)[:PAGE_SIZE])
    else:
        blob = _blob(1001, 9)[:1001]
        out.append(Struct("<QQQ").pack(0xFEFFE, 0xFEFFD, 0xFEFFC) + ints(len(blob)) + blob)
        out.append(b"DeviceModelRecord0002" + ints(len(guest.emulator)) + guest.emulator)
    return b"".join(out)
