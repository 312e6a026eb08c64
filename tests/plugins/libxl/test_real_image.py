"""A real image, and xen's own tools beside ours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor import saveimage
from polyvisor.errors import SaveImageError
from polyvisor.model import DomainSpec
from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest
from polyvisor_libxl.streams.convert import convert_legacy

XEN = Path("/usr/lib/xen-4.17")


@pytest.fixture
def xen_tool():
    """Hold a function that runs one of xen's stream tools and returns its exit code."""
    if not (XEN / "bin" / "verify-stream-v2").exists():
        pytest.skip("xen's tools are not installed: apt install xen-utils-4.17")

    def run(name: str, *arguments: str | Path) -> int:
        done = subprocess.run(
            [sys.executable, str(XEN / "bin" / name), *map(str, arguments)],
            check=False,
            capture_output=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(XEN / "lib" / "python")},
        )
        return done.returncode

    return run


def verify(data: bytes) -> saveimage.Verification:
    """Hold an image in memory against the rules."""
    form = saveimage.open_format("libvirt-libxl")
    assert isinstance(form, saveimage.VerifiesStream)
    return form.verify(io.BytesIO(data), path="image", strict=True, limit=100)


def test_it_is_sound(real_image: Path) -> None:
    """What libvirt and Xen wrote breaks no rule, strictly, and is what its README says."""
    found = saveimage.verify(real_image, strict=True)
    assert found.findings == ()
    assert (found.records, found.checked) == (19, 25_227_695)
    seen = saveimage.examine(real_image, memory=True)
    assert (seen.header.version, seen.facts["libxc_version"]) == (2, 3)
    assert (seen.facts["guest"], seen.facts["guest_width"]) == ("x86 PV", 64)
    assert seen.facts["pages"] == 24 << 20 >> 12
    assert DomainSpec.from_xml(seen.header.xml).memory == 24 << 20
    assert seen.memory is not None
    assert sum(seen.memory.counts().values()) == 24 << 20 >> 12


def test_it_becomes_xls_and_comes_back(real_image: Path, tmp_path: Path) -> None:
    """Made into an image of xl's and back, it has the same stream and the same machine."""
    saveimage.convert(real_image, tmp_path / "xl", "xl")
    assert saveimage.verify(tmp_path / "xl", strict=True).findings == ()
    saveimage.convert(tmp_path / "xl", tmp_path / "back", "libvirt-libxl")
    old, new = saveimage.inspect(real_image), saveimage.inspect(tmp_path / "back")
    stream = real_image.read_bytes()[old.stream_offset :]
    assert (tmp_path / "back").read_bytes()[new.stream_offset :] == stream
    was, now = DomainSpec.from_xml(old.xml), DomainSpec.from_xml(new.xml)
    assert (now.name, now.uuid, now.memory, now.vcpus) == (
        was.name,
        was.uuid,
        was.memory,
        was.vcpus,
    )


def structure(data: bytes) -> list[tuple[int, int]]:
    """Return where in an image its headers and the headers of its records are."""
    begins = saveimage.open_format("libvirt-libxl").read_header(io.BytesIO(data), path="x")
    position = begins.stream_offset
    found = [(0, 64), (position, 24), (position + 24, 40)]
    position += 64
    while position < len(data):
        kind, length = (
            int.from_bytes(data[position + n : position + n + 4], "little") for n in (0, 4)
        )
        extra = 8 if kind in (1, 2, 3, 4) else 0
        found.append((position, 8 + extra))
        position += 8 + (length + 7 & ~7)
    return found


def test_cut_off_around_every_header(real_image: Path) -> None:
    """Cut off at any byte of a header, or next to one, it is found where it ends."""
    data = real_image.read_bytes()
    points = {
        end + n
        for start, size in structure(data)
        for end in (start, start + size)
        for n in range(-9, 10)
    }
    for end in sorted(point for point in points if 0 <= point < len(data)):
        found = verify(data[:end])
        assert [one.offset for one in found.findings] == [end]
        assert found.findings[0].rule in ("image.header", "stream.cut-off")


@pytest.mark.slow
def test_cut_off_at_every_byte(real_image: Path, tmp_path: Path) -> None:
    """Every truncation point is found: each byte but those of pages, and each page."""
    path = tmp_path / "image"
    path.write_bytes(real_image.read_bytes())
    size = path.stat().st_size
    data = real_image.read_bytes()
    pages = [
        range(start + 16 + 8 * 1024, start + 16 + 1024 * (8 + 4096))
        for start, _ in structure(data)
        if data[start : start + 8] == b"\1\0\0\0" + (4_202_504).to_bytes(4, "little")
    ]
    assert len(pages) == 6
    inside = {end for span in pages for end in range(span.start, span.stop)[::4096]}
    skipped = set().union(*(set(range(span.start + 1, span.stop)) for span in pages)) - inside
    for end in range(size - 1, -1, -1):
        if end in skipped:
            continue
        os.truncate(path, end)
        if end < 16:
            continue  # Not to be recognised any more.
        found = saveimage.verify(path)
        assert [one.offset for one in found.faults] == [end]


def test_every_bit_of_every_header(real_image: Path, tmp_path: Path) -> None:
    """No bit of a header or of a record's header can be turned without it being noticed.

    Except where nothing hangs on it: libvirt's unused bytes, and the version of Xen, that is
    only told.
    """
    data = real_image.read_bytes()
    path = tmp_path / "image"
    path.write_bytes(data)
    stream = saveimage.inspect(path).stream_offset
    free = {*range(24, 64), *range(stream + 24 + 24 + 8, stream + 24 + 40)}
    unnoticed = []
    with path.open("r+b", buffering=0) as file:
        for start, size in structure(data):
            # Of records the header; the fields of bodies have their tests in test_streams.
            length = size if start <= stream + 24 else 8
            for at in set(range(start, start + length)) - free:
                for bit in range(8):
                    os.pwrite(file.fileno(), bytes([data[at] ^ 1 << bit]), at)
                    try:
                        if saveimage.verify(path, strict=True).ok:
                            unnoticed.append((start, at - start, bit))
                    except SaveImageError:
                        assert at < 16  # It is not recognised any more.
                os.pwrite(file.fileno(), data[at : at + 1], at)
    assert unnoticed == []


@pytest.mark.real
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("width", [4, 8])
def test_xens_own_tool_agrees(width: int, version: int, xen_tool, tmp_path: Path) -> None:
    """What is composed as sound is so for xen's verify-stream-v2 as well."""
    guest = Guest(width=width, pages=3000, vcpus=2, kinds={3: 1, 5: 9, 100: 13, 101: 14, 102: 15})
    found = compose.records(guest, version=version)
    inner = compose.libxc(guest, found, version=version)
    (tmp_path / "stream").write_bytes(compose.libxl(inner, compose.tail(guest)))
    assert xen_tool("verify-stream-v2", "-f", "libxl", "-i", tmp_path / "stream") == 0


@pytest.mark.real
@pytest.mark.parametrize("word", [32, 64])
@pytest.mark.parametrize(
    "guest",
    [
        Guest(pages=3000, vcpus=70, kinds={3: 1, 5: 9, 7: 12, 100: 13, 101: 14, 102: 15}),
        Guest(width=4, pages=3000, vcpus=2, kinds={3: 2, 5: 10, 102: 15}),
        Guest(pv=False, pages=3000, kinds={100: 13, 101: 14, 102: 15}),
    ],
    ids=["pv", "pv32", "hvm"],
)
def test_converted_as_xens_own_converter_does(
    guest: Guest, word: int, xen_tool, tmp_path: Path
) -> None:
    """Where xen's convert-legacy-stream works, ours writes the same bytes."""
    (tmp_path / "legacy").write_bytes(compose.legacy(guest, word=word // 8))
    kind = "pv" if guest.pv else "hvm"
    arguments = ("-f", "libxl", "-w", str(word), "-g", kind)
    where = ("-i", tmp_path / "legacy", "-o", tmp_path / "theirs")
    assert xen_tool("convert-legacy-stream", *arguments, *where) == 0
    with (tmp_path / "legacy").open("rb") as source, (tmp_path / "ours").open("wb") as out:
        assert convert_legacy(source.fileno(), out.fileno())
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
