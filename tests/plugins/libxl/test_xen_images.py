"""Images of libvirt and xl: what their headers say, one into the other, files and pipes."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor import saveimage
from polyvisor.errors import InvalidArgument, SaveImageError, StorageError, Unsupported
from polyvisor.model import DomainSpec
from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest
from polyvisor_libxl.streams.convert import convert_legacy
from polyvisor_libxl.xlimage import HEADER_SIZE, MAGIC, MAX_CONFIG, XlFormat

XML = (
    "<domain type='xen'><name>one</name><uuid>6ee10d3e-5d3c-4d0a-8b8e-3f6a8f4f3f11</uuid>"
    "<memory unit='MiB'>24</memory><vcpu>1</vcpu><os><type>xen</type>"
    "<kernel>/boot/guest</kernel></os></domain>"
)
CFG = 'name = "one"\nuuid = "6ee10d3e-5d3c-4d0a-8b8e-3f6a8f4f3f11"\nmemory = 24\nvcpus = 1\n' + (
    'type = "pv"\nkernel = "/boot/guest"\n'
)
PV, HVM = Guest(pages=40), Guest(pv=False, pages=40, batch=16, kinds={3: 15, 4: 13})
LEGACY, V2 = 1, 2


def stream(guest: Guest, version: int) -> bytes:
    """Compose a stream of either version."""
    if version == LEGACY:
        return compose.legacy(guest)
    return compose.libxl(compose.libxc(guest, compose.records(guest)), compose.tail(guest))


def libvirt(version: int, guest: Guest = PV, *, behind: bytes | None = None) -> bytes:
    """Compose an image of libvirt's."""
    xml = XML.encode() + b"\0"
    head = b"libvirt-xml\n \0 \r" + pack("<II40x", version, len(xml)) + xml
    return head + (stream(guest, version) if behind is None else behind)


def xl(
    version: int = V2,
    guest: Guest = PV,
    *,
    config: bytes = CFG.encode() + b"\0",
    size: int | None = None,
    mark: int = 0x01020304,
    flags: int | None = None,
    optional: int | None = None,
    rest: bytes = b"",
    order: str = "<",
) -> bytes:
    """Compose an image of xl's, field by field, as its struct save_file_header has them."""
    data = pack(f"{order}I", len(config) if size is None else size) + config + rest
    mandatory = (2 if version == V2 else 0) if flags is None else flags
    length = len(data) if optional is None else optional
    return MAGIC + pack(f"{order}4I", mark, mandatory, 0, length) + data + stream(guest, version)


@contextmanager
def piped(data: bytes) -> Iterator[int]:
    """Give a pipe's end out of which ``data`` come, by pieces."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), open(write_end, "wb", buffering=0) as pipe:
            pipe.writelines(data[start : start + 5000] for start in range(0, len(data), 5000))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield read_end
    finally:
        os.close(read_end)
        thread.join(30)


IMAGES = {
    "libvirt, legacy": libvirt(LEGACY),
    "libvirt, V2": libvirt(V2),
    "libvirt, V2, HVM": libvirt(V2, HVM),
    "xl, legacy": xl(LEGACY),
    "xl, V2": xl(V2),
    "xl, V2, big-endian header": xl(V2, order=">"),
    "xl, legacy, HVM": xl(LEGACY, HVM),
    "bare": stream(HVM, V2),
}


@pytest.mark.parametrize("name", IMAGES)
def test_sound_from_a_file_and_from_a_pipe(name: str, tmp_path: Path) -> None:
    """An image is recognised and gone through to its end, whatever it comes out of."""
    path = tmp_path / "image"
    path.write_bytes(data := IMAGES[name])
    found = saveimage.verify(path, strict=True)
    assert found.findings == ()
    assert found.checked == len(data)
    with piped(data) as fd:
        assert saveimage.verify(fd, strict=True) == found
    with piped(data) as fd:
        assert saveimage.examine(fd, memory=True) == saveimage.examine(path, memory=True)


def test_what_inspection_says(tmp_path: Path) -> None:
    """The guest, its pages by type and the records are counted; each page has its place."""
    path = tmp_path / "image"
    path.write_bytes(libvirt(V2, HVM))
    found = saveimage.examine(path, memory=True)
    facts = found.facts
    assert facts["guest"] == "x86 HVM"
    assert facts["xen_version"] == "4.17"
    assert facts["pages"] == 40
    types = {row["type"]: row["pages"] for row in facts["page_types"]}
    assert types == {"normal": 38, "invalid": 1, "broken": 1}
    counted = {(row["layer"], row["record"]): row["count"] for row in facts["records"]}
    assert counted["libxc", "PAGE_DATA"] == 3
    assert counted["libxl", "EMULATOR_CONTEXT"] == 1
    assert found.memory is not None
    assert found.memory.counts() == types
    assert found.memory.kinds[found.memory.chunks[0][3] - 1].name == "invalid"
    assert saveimage.examine(path).memory is None


def test_the_picture_shows_each_page(tmp_path: Path) -> None:
    """A page's cell has the colour of its kind; the legend names those that there are."""
    from PIL import Image

    path = tmp_path / "image"
    path.write_bytes(libvirt(V2, HVM))
    memory = saveimage.examine(path, memory=True).memory
    assert memory is not None
    image = Image.open(io.BytesIO(saveimage.picture(memory, title="one")))
    assert image.format == "PNG"
    assert image.width > 600
    seen = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or ()}
    shown = {kind.colour for kind in memory.kinds if kind.name in memory.counts()}
    assert shown <= seen
    assert memory.kinds[1].colour not in seen


def test_a_picture_of_memory_with_holes() -> None:
    """Memory far apart is drawn in bands, and much of it in cells for several pages."""
    kinds = (saveimage.MemoryKind("normal", (1, 2, 3)),)
    full = b"\1" * saveimage.MemoryMap.CHUNK
    few = saveimage.MemoryMap(4096, kinds, {0: full, 1 << 30: full})
    many = saveimage.MemoryMap(4096, kinds, dict.fromkeys(range(1024), full))
    for memory in (few, many, saveimage.MemoryMap(4096, kinds, {})):
        assert saveimage.picture(memory, title="x").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (libvirt(LEGACY, behind=stream(PV, V2)), "version 1, legacy, but .* migration V2"),
        (libvirt(V2, behind=stream(PV, LEGACY)), "version 2, migration V2, but .* legacy"),
        (libvirt(V2, behind=stream(HVM, LEGACY)), "version 2, migration V2, but .* legacy"),
        (xl(flags=0), "version 1, legacy, but .* migration V2"),
    ],
    ids=["V2 as 1", "legacy as 2", "legacy HVM as 2", "xl, V2 as legacy"],
)
def test_a_wrong_label_is_told_from_the_stream(data: bytes, words: str, tmp_path: Path) -> None:
    """A header that states the wrong version is a fault, and the stream is read as what it is."""
    path = tmp_path / "image"
    path.write_bytes(data)
    found = saveimage.verify(path)
    assert [one.rule for one in found.faults] == ["image.stream-version"]
    assert found.complete
    assert re.search(words, found.faults[0].fault)


def test_a_wrong_header_is_a_finding(tmp_path: Path) -> None:
    """What a header may not say is found as its position, like any other fault."""
    path = tmp_path / "image"
    path.write_bytes(libvirt(V2)[:16] + pack("<I", 3) + libvirt(V2)[20:])
    found = saveimage.verify(path)
    assert [(one.rule, one.offset) for one in found.faults] == [("image.header", 16)]
    assert not found.complete


# xl's header


def inspect(data: bytes, folder: Path) -> saveimage.ImageHeader:
    """Read a header from a file."""
    path = folder / "image"
    path.write_bytes(data)
    return saveimage.inspect(path)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [LEGACY, V2])
def test_xls_header(order: str, version: int, tmp_path: Path) -> None:
    """An image of xl's has the definition that its configuration describes, as XML."""
    header = inspect(xl(version, order=order, rest=b"later"), tmp_path)
    assert header.format == "xl"
    assert header.stream_version == version
    assert header.native == CFG
    assert header.cookie == b"later"
    assert header.byte_order == ("little" if order == "<" else "big")
    spec = DomainSpec.from_xml(header.xml)
    assert (spec.name, spec.memory) == ("one", 24 << 20)


def test_xls_header_is_written_as_json(tmp_path: Path) -> None:
    """What is written has libxl's JSON in it and says so, and is read again."""
    path = tmp_path / "image"
    spec = DomainSpec.from_xml(XML)
    with path.open("w+b") as file:
        form = saveimage.open_format("xl")
        form.write_header(file, spec, was_running=True, compression="none")()
        begins = file.tell()
        with pytest.raises(Unsupported, match="stay paused"):
            form.write_header(file, spec, was_running=False, compression="none")
        with pytest.raises(Unsupported, match="not compressed"):
            form.write_header(file, spec, was_running=True, compression="gzip")
    data = path.read_bytes()
    assert data[36:40] == pack("=I", 3)
    header = saveimage.inspect(path)
    assert header.stream_offset == begins
    assert header.native is not None
    assert header.native.startswith("{")
    again = DomainSpec.from_xml(header.xml)
    assert (again.name, again.uuid, again.memory) == (spec.name, spec.uuid, spec.memory)


@pytest.mark.parametrize(
    ("data", "offset", "told"),
    [
        (xl(mark=0x01020305), 32, "mark of its byte order is 0x05030201"),
        (xl(flags=6), 36, "mandatory flags are 0x6"),
        (xl(optional=0xFFFFFFFF), 44, "claims 4294967295 bytes"),
        (xl(optional=MAX_CONFIG), len(xl()), "cut off in the optional data"),
        (xl(optional=3), HEADER_SIZE, "the configuration has 0 bytes"),
        (xl(size=0xFFFFFFFF), HEADER_SIZE, "the configuration has 4294967295 bytes"),
        (xl(size=0), HEADER_SIZE, "the configuration has 0 bytes"),
        (xl(config=CFG.encode()), HEADER_SIZE + 3 + len(CFG), "not ended by a zero"),
        (xl(config=b"a\0b\0"), HEADER_SIZE + 7, "not ended by a zero"),
        (xl(config=b"a\xff\0"), HEADER_SIZE + 5, "not UTF-8"),
        (xl(config=b"{nonsense\0", flags=3), HEADER_SIZE + 4, "configuration in it is damaged"),
        (xl(config=b"{}\0", flags=3), HEADER_SIZE + 4, "configuration in it is damaged"),
        (xl(config=b"[" * 100_000 + b"\0"), HEADER_SIZE + 4, "configuration in it is damaged"),
    ],
)
def test_bad_xl_header(data: bytes, offset: int, told: str, tmp_path: Path) -> None:
    """What is wrong is said, with the byte at which it stands."""
    with pytest.raises(SaveImageError, match=told) as caught:
        inspect(data, tmp_path)
    assert caught.value.offset == offset


@given(data=st.binary(max_size=120))
def test_any_bytes_behind_xls_magic(data: bytes) -> None:
    """No bytes at all make the reader fail in any way but its own."""
    with suppress(SaveImageError):
        header = XlFormat().bare_header(io.BytesIO(MAGIC + data), path="image")
        assert header.stream_offset <= len(MAGIC + data)


def test_an_image_without_a_definition(tmp_path: Path) -> None:
    """Images of xl need no configuration: without, they are verified, but cannot be restored."""
    data = MAGIC + pack("<4I", 0x01020304, 2, 0, 0) + stream(PV, V2)
    with pytest.raises(SaveImageError, match="has no definition"):
        inspect(data, tmp_path)
    assert saveimage.verify(tmp_path / "image").ok


# One into the other


@pytest.mark.parametrize("to", ["libvirt-libxl", "xl", "libxl-stream"])
@pytest.mark.parametrize("name", [name for name in IMAGES if name != "bare"])
def test_converted(name: str, to: str, tmp_path: Path) -> None:
    """Each image becomes each other, of migration V2, with the same machine and stream."""
    path, target = tmp_path / "image", tmp_path / "converted"
    path.write_bytes(data := IMAGES[name])
    saveimage.convert(path, target, to)
    found = saveimage.verify(target, strict=True)
    assert found.findings == ()
    assert found.format == to
    header, before = (
        saveimage.examine(target).header if to == "libxl-stream" else saveimage.inspect(target),
        saveimage.inspect(path),
    )
    if "legacy" not in name:
        assert target.read_bytes()[header.stream_offset :] == data[before.stream_offset :]
    if to != "libxl-stream":
        old, new = DomainSpec.from_xml(before.xml), DomainSpec.from_xml(header.xml)
        assert (new.name, new.uuid, new.memory) == (old.name, old.uuid, old.memory)
        assert header.stream_version == V2
    with piped(data) as fd, (tmp_path / "piped").open("wb") as out:
        saveimage.convert(fd, out.fileno(), to)
    assert (tmp_path / "piped").read_bytes() == target.read_bytes()


def test_an_image_is_converted_in_its_place(tmp_path: Path) -> None:
    """The target may be the image itself: it is put there when it is whole."""
    path = tmp_path / "image"
    path.write_bytes(libvirt(LEGACY))
    saveimage.convert(path, path, "libvirt-libxl")
    assert saveimage.inspect(path).version == V2
    assert [one.name for one in tmp_path.iterdir()] == ["image"]


@pytest.mark.parametrize("guest", [PV, attrs.evolve(PV, width=4), HVM], ids=["64", "32", "hvm"])
@pytest.mark.parametrize("word", [4, 8])
def test_legacy_becomes_sound_v2_with_every_page(guest: Guest, word: int) -> None:
    """Of what was in a legacy stream nothing is lost but pages that were not mapped."""
    read_end, write_end = os.pipe()
    got = bytearray()

    def collect() -> None:
        with open(read_end, "rb") as pipe:
            got.extend(pipe.read())

    thread = threading.Thread(target=collect)
    thread.start()
    with piped(compose.legacy(guest, word=word)) as fd:
        assert convert_legacy(fd, write_end)
    os.close(write_end)
    thread.join(30)
    form = saveimage.open_format("libxl-stream")
    assert isinstance(form, saveimage.VerifiesStream)
    found = form.verify(io.BytesIO(got), path="stream", strict=True, limit=9)
    assert found.findings == ()
    for pfn in range(guest.pages):
        there = guest.kinds.get(pfn, 0) < 13
        assert (compose.contents(pfn) in got) is there or pfn == 0


def test_a_batch_of_unmapped_pages_is_left_out() -> None:
    """A batch of nothing but pages that were not mapped makes no empty record."""
    guest = Guest(pages=8, batch=4, kinds=dict.fromkeys(range(4), 15))
    with piped(compose.legacy(guest)) as fd, open(os.devnull, "wb") as out:
        assert convert_legacy(fd, out.fileno())


def test_v2_is_passed_on_as_it_is(tmp_path: Path) -> None:
    """A converter that gets what needs no conversion says so and changes nothing."""
    data = stream(HVM, V2)
    with piped(data) as fd, (tmp_path / "out").open("wb") as out:
        assert not convert_legacy(fd, out.fileno())
    assert (tmp_path / "out").read_bytes() == data


@pytest.mark.parametrize("end", [3, 40, 3000, 9000, 160_000])
def test_a_damaged_image_is_not_converted(end: int, tmp_path: Path) -> None:
    """Where a legacy stream ends too early is said, and no half of an image is left."""
    begins = len(libvirt(LEGACY, behind=b""))
    path, target = tmp_path / "image", tmp_path / "converted"
    path.write_bytes(libvirt(LEGACY)[: begins + end])
    with pytest.raises(SaveImageError, match=r"stream\.cut-off|neither"):
        saveimage.convert(path, target, "xl")
    assert [one.name for one in tmp_path.iterdir()] == ["image"]


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    """Formats that do not go into one another are named, unknown ones too."""
    path = tmp_path / "image"
    path.write_bytes(stream(PV, V2))
    with pytest.raises(InvalidArgument, match="cannot be made into one of 'xl', only into libxl"):
        saveimage.convert(path, tmp_path / "out", "xl")
    path.write_bytes(b"TestGuestMagic\0" + pack("<I", len(XML)) + XML.encode())
    with pytest.raises(InvalidArgument, match="cannot be made into one of 'xl', into nothing"):
        saveimage.convert(path, tmp_path / "out", "xl")
    with pytest.raises(StorageError, match=r"cannot read the save image .*missing: No such file"):
        saveimage.convert(tmp_path / "missing", tmp_path / "out", "xl")


def test_paused_cannot_become_xls(tmp_path: Path) -> None:
    """That a guest is to stay paused is not lost silently."""
    path = tmp_path / "image"
    path.write_bytes(libvirt(V2))
    saveimage.change_definition(path, DomainSpec.from_xml(XML), running=False)
    with pytest.raises(SaveImageError, match="save-image-define --running"):
        saveimage.convert(path, tmp_path / "out", "xl")
