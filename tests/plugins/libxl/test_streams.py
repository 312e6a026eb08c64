"""Streams of every kind are sound as they are composed, and each rule finds what breaks it."""

from __future__ import annotations

import io
from collections.abc import Callable
from struct import pack

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.saveimage import Verification, open_format
from polyvisor_libxl.images import XenImage
from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest, Records
from polyvisor_libxl.streams.rules import LENIENT, RULES

#: Kinds of pages that a stream may have.
KINDS = (0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15)


def guests(*, pv: bool | None = None) -> st.SearchStrategy[Guest]:
    """Build guests of all sorts, small ones."""
    return st.builds(
        Guest,
        pv=st.booleans() if pv is None else st.just(pv),
        width=st.sampled_from((4, 8)),
        pages=st.integers(1, 40),
        kinds=st.dictionaries(st.integers(0, 39), st.sampled_from(KINDS), max_size=10),
        vcpus=st.integers(1, 70),
        batch=st.integers(1, 50),
        emulator=st.binary(min_size=1, max_size=30),
    )


def verify(data: bytes, *, strict: bool = True, form: str = "libxl-stream") -> Verification:
    """Hold a stream in memory against the rules."""
    found = open_format(form)
    assert isinstance(found, XenImage)
    return found.verify(io.BytesIO(data), path="stream", strict=strict, limit=100)


def broken(data: bytes, *, form: str = "libxl-stream") -> set[str]:
    """Return which rules a stream breaks; each is a fault unless it is a lenient one."""
    rules = {finding.rule for finding in verify(data, form=form).findings}
    assert verify(data, strict=False, form=form).ok == (rules <= LENIENT)
    return rules


PV, PV32, HVM = Guest(), Guest(width=4), Guest(pv=False)


def stream(
    guest: Guest = PV,
    change: Callable[[Records], Records] = list,
    *,
    after: Callable[[Records], Records] = list,
    version: int = 3,
    order: compose.Order = "<",
    options: int = 0,
    xen: tuple[int, int] = (4, 17),
) -> bytes:
    """Compose a stream of a guest with its records changed."""
    found = change(compose.records(guest, version=version, order=order))
    inner = compose.libxc(guest, found, version=version, order=order, xen=xen)
    return compose.libxl(
        inner, after(compose.tail(guest, order=order)), order=order, options=options
    )


# Sound


@given(guest=guests(), version=st.sampled_from((2, 3)))
def test_a_composed_stream_is_sound(guest: Guest, version: int) -> None:
    """Streams of both versions, of PV guests of both widths and HVM guests, break no rule."""
    data = stream(guest, version=version)
    found = verify(data)
    assert found.findings == ()
    assert found.complete
    assert found.checked == len(data)


@given(guest=guests(), version=st.sampled_from((2, 3)))
def test_a_big_endian_stream_is_read_as_such(guest: Guest, version: int) -> None:
    """The order of a stream's integers is told; that of x86 guests is wrong, the rest sound."""
    assert broken(stream(guest, version=version, order=">")) == {"libxl.header.endianness"}


@given(guest=guests(), word=st.sampled_from((4, 8)), unmapped=st.integers(0, 1))
def test_a_composed_legacy_stream_is_sound(guest: Guest, word: int, unmapped: int) -> None:
    """Legacy streams of toolstacks of both widths, of all guests, break no rule."""
    data = compose.legacy(guest, word=word, unmapped=unmapped)
    found = verify(data, form="xen-legacy-stream")
    assert found.findings == ()
    assert found.complete
    assert found.checked == len(data)


def test_a_libxc_stream_alone_is_sound() -> None:
    """A stream without libxl's around it is read as well."""
    for guest in (PV, PV32, HVM):
        data = compose.libxc(guest, compose.records(guest))
        assert verify(data, form="libxc-stream").findings == ()


@pytest.mark.parametrize("colo", [False, True], ids=["remus", "colo"])
def test_checkpoints_go_back_and_forth(colo: bool) -> None:
    """After libxc's CHECKPOINT libxl's records come, and then libxc's again."""
    first = compose.records(HVM)[:-1]
    # A round begins with pages and has registers again.
    again = [one for one in first if one[0] in (0x01, 0x08, 0x09, 0x0A)]
    emulator = compose.tail(HVM)[:-1]
    rest = b"".join(compose.record(*one) for one in emulator)
    rest += compose.record(4, b"")
    if colo:
        rest += compose.record(5, bytes(8))
    middle = b"".join(compose.record(*one) for one in [*again, (0x0E, b"")]) + rest
    end = b"".join(compose.record(*one) for one in [*again, (0x00, b"")])
    inner = compose.libxc(HVM, [*first, (0x0E, b"")]) + rest + middle * 2 + end
    data = compose.libxl(inner, compose.tail(HVM))
    assert verify(data).findings == ()
    broken_off = compose.libxl(compose.libxc(HVM, [*first, (0x0E, b"")]) + rest + middle, [])
    assert broken(broken_off) == {"libxl.checkpoint.open"}


def test_optional_records_are_passed_by() -> None:
    """Whoever does not know an optional record may do without it."""
    extra = (0x80000123, b"whatever")

    def add(found: Records) -> Records:
        return [extra, *found[:-1], extra, found[-1]]

    assert broken(stream(PV, add, after=add)) == set()


# Broken


def drop(*kinds: int) -> Callable[[Records], Records]:
    """Leave records out."""
    return lambda found: [one for one in found if one[0] not in kinds]


def twice(kind: int) -> Callable[[Records], Records]:
    """Repeat records."""
    return lambda found: [one for each in found for one in [each] * (1 + (each[0] == kind))]


def body(kind: int, edit: Callable[[bytes], bytes]) -> Callable[[Records], Records]:
    """Change the bodies of records."""
    return lambda found: [(one, edit(data) if one == kind else data) for one, data in found]


def put(at: int, *more: tuple[int, bytes]) -> Callable[[Records], Records]:
    """Put records in."""
    return lambda found: [*found[:at], *more, *found[at:]]


def later(kind: int) -> Callable[[Records], Records]:
    """Move records to before the last."""

    def move(found: Records) -> Records:
        moved = [one for one in found if one[0] == kind]
        return [*drop(kind)(found)[:-1], *moved, found[-1]]

    return move


def at(offset: int, data: bytes) -> Callable[[bytes], bytes]:
    """Overwrite bytes of a body."""
    return lambda whole: whole[:offset] + data + whole[offset + len(data) :]


def xenstore(data: bytes) -> Callable[[Records], Records]:
    """Give an emulator other xenstore data."""
    return body(2, lambda whole: whole[:8] + data)


CASES = {
    # libxl
    "libxl.header.options": stream(options=4),
    "libxl.header.endianness": stream(order=">"),
    "libxl.header.legacy": stream(options=2),
    "libxl.record.type": stream(after=put(0, (9, b""))),
    "libxl.record.optional": stream(after=put(0, (0x80000004, b""))),
    "libxl.record.length": stream(after=body(0, lambda _: b"12345678")),
    "libxl.order.libxc-once": compose.libxl(compose.libxc(PV, compose.records(PV)), [(1, b"")])
    + compose.libxc(PV, compose.records(PV))
    + compose.record(0, b""),
    "libxl.order.emulator": stream(after=put(0, (3, pack("<II", 2, 0) + b"x"))),
    "libxl.order.checkpoint": stream(after=put(0, (4, b""))),
    "libxl.emulator.id": stream(HVM, after=body(3, at(0, pack("<I", 3)))),
    "libxl.emulator.unknown": stream(HVM, after=body(3, at(0, pack("<I", 0)))),
    "libxl.emulator.empty": stream(HVM, after=body(3, lambda whole: whole[:8])),
    "libxl.xenstore.size": stream(HVM, after=xenstore(b"k" * 2049 + b"\0v\0")),
    "libxl.xenstore.termination": stream(HVM, after=xenstore(b"key\0value")),
    "libxl.xenstore.pairs": stream(HVM, after=xenstore(b"key\0value\0more\0")),
    "libxl.xenstore.key": stream(HVM, after=xenstore(b"../../0/name\0value\0")),
    "libxl.xenstore.value": stream(HVM, after=xenstore(b"key\0\x1b[2J\0")),
    # libxc
    "libxc.record.type": stream(change=put(1, (0x13, b""))),
    "libxc.record.optional": stream(change=put(5, (0x80000001, b""))),
    "libxc.record.length": stream(change=body(0x07, lambda whole: whole[:-8])),
    "libxc.record.reserved": stream(change=body(0x08, at(20, b"\1"))),
    "libxc.record.empty": stream(change=body(0x05, lambda whole: whole[:8])),
    "libxc.record.guest": stream(HVM, put(5, (0x07, bytes(4096)))),
    "libxc.record.version": stream(change=put(1, (0x11, bytes(24))), version=2),
    "libxc.record.deprecated": stream(change=put(5, (0x0B, b"toolstack"))),
    "libxc.record.direction": stream(change=put(6, (0x0F, bytes(8)))),
    "libxc.record.repeated": stream(change=twice(0x08)),
    "libxc.static.missing": stream(change=drop(0x10)),
    "libxc.static.repeated": stream(change=twice(0x10)),
    "libxc.static.late": stream(change=later(0x11)),
    "libxc.order.pv-info": stream(change=twice(0x02)),
    "libxc.order.p2m": stream(change=later(0x03)),
    "libxc.order.pages": stream(change=later(0x01)),
    "libxc.order.params": stream(HVM, later(0x0A)),
    "libxc.order.verify": stream(change=put(6, (0x0D, b""), (0x0D, b""))),
    "libxc.complete.records": stream(HVM, drop(0x09)),
    "libxc.complete.usual": stream(change=drop(0x07)),
    "libxc.pv-info.width": stream(change=body(0x02, at(0, b"\x06"))),
    "libxc.p2m.range": stream(change=body(0x03, at(0, pack("<II", 15, 14)))),
    "libxc.p2m.frames": stream(change=body(0x03, lambda whole: whole + bytes(8))),
    "libxc.p2m.frame": stream(change=body(0x03, at(8, pack("<Q", 16)))),
    "libxc.page-data.count": stream(change=put(5, (0x01, bytes(8)))),
    "libxc.page-data.length": stream(change=body(0x01, lambda whole: whole[:-1])),
    "libxc.page-data.reserved": stream(change=body(0x01, at(14, b"\x10"))),
    "libxc.page-data.type": stream(change=body(0x01, at(15, b"\x50"))),
    "libxc.page-data.pfn": stream(change=body(0x01, at(8, pack("<Q", 16)))),
    "libxc.page-data.duplicate": stream(change=body(0x01, at(8, pack("<Q", 1)))),
    "libxc.vcpu.id": stream(change=body(0x06, at(0, pack("<I", 8192)))),
    "libxc.vcpu.context": stream(change=body(0x04, lambda whole: whole + b"\0")),
    "libxc.tsc.mode": stream(change=body(0x08, at(0, pack("<I", 4)))),
    "stream.trailing": stream() + b"\0",
}


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_finds_what_breaks_it(rule: str) -> None:
    """A stream with one thing wrong breaks the rule for it."""
    assert rule in broken(CASES[rule])


@pytest.mark.parametrize("rule", sorted(set(CASES) - {"libxl.order.libxc-once"}))
def test_little_else_is_complained_of(rule: str) -> None:
    """One thing wrong is one or two findings, not a flood."""
    assert len(verify(CASES[rule]).findings) <= 3


#: What a header's field is overwritten with, in a stream of a PV guest, and the rule for it.
FIELDS = {
    "libxl.header.ident": (0, b"LibxlFmT"),
    "libxl.header.version": (8, pack(">I", 3)),
    "libxc.header.marker": (24, b"\xfe"),
    "libxc.header.id": (32, b"XENG"),
    "libxc.header.version": (36, pack(">I", 4)),
    "libxc.header.options": (40, pack(">H", 2)),
    "libxc.header.reserved": (42, pack(">H", 1)),
    "libxc.header.agreement": (40, pack(">H", 1)),
    "libxc.domain.type": (48, pack("<I", 3)),
    "libxc.domain.page-shift": (52, pack("<H", 13)),
    "libxc.record.size": (68, pack("<I", (128 << 20) + 1)),
}


@pytest.mark.parametrize("rule", FIELDS)
def test_each_field_of_the_headers_is_looked_at(rule: str) -> None:
    """A header with a field that is none breaks the rule for it, where the field stands."""
    offset, data = FIELDS[rule]
    found = verify(at(offset, data)(stream()))
    assert (rule, offset) in {(finding.rule, finding.offset) for finding in found.findings}


def test_padding_is_zero() -> None:
    """Bytes between records that say nothing are zero; where they are not is said."""
    data = stream(HVM)
    end = data.index(b"QEVM and so on") + len(b"QEVM and so on")
    found = verify(at(end, b"\1")(data))
    assert [(one.rule, one.offset) for one in found.findings] == [("libxl.record.padding", end)]
    context = data.index(compose.records(HVM)[-2][1]) + 1001
    found = verify(at(context, b"\1")(data))
    assert [(one.rule, one.offset) for one in found.findings] == [("libxc.record.padding", context)]


@pytest.mark.parametrize("form", ["libxl-stream", "xen-legacy-stream"])
@pytest.mark.parametrize("guest", [PV, PV32, HVM], ids=["pv", "pv32", "hvm"])
def test_cut_off_anywhere(guest: Guest, form: str) -> None:
    """Wherever a stream ends before its time, that is found, and where it ends is said."""
    guest = attrs.evolve(guest, pages=1)
    data = stream(guest) if form == "libxl-stream" else compose.legacy(guest)
    # Every byte where something else begins, every so many of what is a blob.
    for end in sorted({*range(min(700, len(data))), *range(0, len(data), 37)}):
        found = verify(data[:end], form=form)
        assert [(one.rule, one.offset) for one in found.findings] == [("stream.cut-off", end)]
        assert not found.complete


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFF8, 128 << 20, 0x80000000])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 0x80000001])
def test_a_record_that_claims_gigabytes_takes_none(kind: int, length: int) -> None:
    """Nothing is allocated for what a length claims, in neither stream."""
    data = stream()
    for offset in (16, 64):
        hostile = data[:offset] + pack("<II", kind, length) + data[offset + 8 :]
        assert not verify(hostile).ok


# Legacy


def legacy(offset: int, data: bytes, guest: Guest = PV, word: int = 8) -> bytes:
    """Overwrite bytes of a legacy stream."""
    return at(offset, data)(compose.legacy(guest, word=word))


_PV, _HVM = compose.legacy(PV), compose.legacy(HVM)
_BATCH = _PV.index(pack("<iQQ", 16, 0, 1))
LEGACY_CASES = {
    "legacy.header.size": legacy(0, pack("<Q", 0)),
    "legacy.header.extended-info": legacy(16, pack("<I", 1 << 20)),
    "legacy.header.width": legacy(24, pack("<I", 0x1431)),
    "legacy.p2m.frame": legacy(_BATCH - 8, pack("<Q", 16)),
    "legacy.chunk.type": legacy(_BATCH, pack("<i", -21)),
    "legacy.chunk.guest": legacy(_PV.index(pack("<i", -9)), pack("<iIQi", -8, 0, 1, -9)),
    "legacy.chunk.unconvertible": legacy(_BATCH, pack("<i", -12)),
    "legacy.batch.size": legacy(_BATCH, pack("<i", 1025)),
    "legacy.batch.type": legacy(_BATCH + 4, pack("<Q", 0x50000000)),
    "legacy.batch.pfn": legacy(_BATCH + 4, pack("<Q", 16)),
    "legacy.batch.duplicate": legacy(_BATCH + 4, pack("<Q", 1)),
    "legacy.vcpu.id": legacy(_PV.index(pack("<iI", -2, 0)) + 4, pack("<I", 4096)),
    "legacy.vcpu.xsave": legacy(_PV.index(pack("<QQ", 7, 848)) + 8, pack("<Q", 849)),
    "legacy.toolstack": legacy(_HVM.index(pack("<i", -18)) + 8, pack("<I", 2), HVM),
    "legacy.emulator": legacy(_HVM.index(b"DeviceModel"), b"QemuDeviceModelRecord", HVM),
    "libxc.tsc.mode": legacy(_PV.index(pack("<iIQ", -7, 0, 123_456_789)) + 4, pack("<I", 9)),
    "stream.trailing": _PV + b"\0",
}


@pytest.mark.parametrize("rule", LEGACY_CASES)
def test_each_rule_of_the_legacy_stream_finds_what_breaks_it(rule: str) -> None:
    """A legacy stream with one thing wrong breaks the rule for it."""
    assert rule in broken(LEGACY_CASES[rule], form="xen-legacy-stream")


def test_an_emulators_state_of_gigabytes() -> None:
    """What would not fit into a record is refused, not believed."""
    hostile = legacy(_HVM.index(b"DeviceModel") + 21, pack("<I", 0xFFFFFFFF), HVM)
    assert broken(hostile, form="xen-legacy-stream") == {"legacy.emulator"}


def test_every_rule_has_a_case() -> None:
    """No rule stands in the table that no test has seen broken."""
    elsewhere = {
        "image.header",  # test_xen_images
        "image.stream-version",  # test_xen_images
        "stream.cut-off",
        "libxl.record.padding",
        "libxl.order.libxc-first",
        "libxl.checkpoint.open",
        "libxl.checkpoint.state",
        "libxc.header.endianness",
        "libxc.record.padding",
    }
    assert set(RULES) - set(CASES) - set(FIELDS) - set(LEGACY_CASES) == elsewhere


def test_the_rest() -> None:
    """Rules that need a stream of their own to be broken."""
    emulator = compose.tail(HVM)[:-1]
    early = compose.libxl(b"", [])[:16] + compose.record(*emulator[0])
    assert "libxl.order.libxc-first" in broken(early + stream(HVM)[16:])
    inner = compose.libxc(PV, compose.records(PV), order=">")
    assert "libxc.header.endianness" in broken(inner, form="libxc-stream")
    wrong = compose.record(4, b"") + compose.record(5, pack("<II", 4, 1)) + b"\0"
    inner = compose.libxc(PV, [*compose.records(PV)[:-1], (0x0E, b"")])
    found = broken(compose.libxl(inner, []) + wrong)
    assert {"libxl.checkpoint.state", "libxl.record.padding"} <= found


def test_faults_are_not_lost_behind_remarks() -> None:
    """However many things are passed over, what is not is found, and only so much is kept."""
    empty = [(0x05, pack("<II", 0, 0))] * 500
    data = stream(change=lambda found: [*found[:6], *empty, *found[6:]]) + b"\0"
    found = verify(data, strict=False)
    assert [one.rule for one in found.faults] == ["stream.trailing"]
    assert len(found.findings) == 101
    assert len(verify(data).findings) == 100
    assert not verify(data).complete


# Anything at all


@given(
    guest=guests(),
    form=st.sampled_from(("libxl-stream", "xen-legacy-stream")),
    data=st.data(),
)
def test_damage_raises_nothing(guest: Guest, form: str, data: st.DataObject) -> None:
    """Whatever bytes are changed, dropped or added, the result is a list of findings."""
    whole = bytearray(stream(guest) if form == "libxl-stream" else compose.legacy(guest))
    for _ in range(data.draw(st.integers(1, 5))):
        where = data.draw(st.integers(0, len(whole) - 1))
        size = data.draw(st.integers(0, 9))
        whole[where : where + size] = data.draw(st.binary(max_size=9))
        if not whole:
            break
    verify(bytes(whole), form=form)
