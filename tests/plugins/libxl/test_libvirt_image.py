"""libvirt's libxl save image: headers good and bad."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor import saveimage
from polyvisor.errors import InvalidArgument, SaveImageError, SemanticError, Unsupported
from polyvisor.model import DomainSpec
from polyvisor.testing.strategies import specs
from polyvisor_libxl.libvirtimage import HEADER_SIZE, MAGIC, MAX_XML, LibvirtLibxlFormat

XML = (
    "<domain type='xen'><name>tür</name><uuid>6ee10d3e-5d3c-4d0a-8b8e-3f6a8f4f3f11</uuid>"
    "<memory unit='MiB'>24</memory><os><type>linux</type></os></domain>"
)
STREAM = b"LibxlFmt and so on"


def image_of(
    xml: bytes = XML.encode() + b"\0",
    *,
    version: int = 2,
    length: int | None = None,
    unused: bytes = b"",
    order: str = "<",
) -> bytes:
    """Return an image field by field, as libvirt's libxlSavefileHeader has them."""
    size = len(xml) if length is None else length
    return MAGIC + struct.pack(f"{order}II40s", version, size, unused) + xml + STREAM


def inspect(data: bytes, folder: Path) -> saveimage.ImageHeader:
    """Read a header from a file."""
    path = folder / "image"
    path.write_bytes(data)
    return saveimage.inspect(path)


@given(spec=specs(), was_running=st.booleans(), version=st.sampled_from([1, 2]))
def test_reads_as_it_was_written(spec: DomainSpec, was_running: bool, version: int) -> None:
    """Definition, version, state and the stream's place come back, whatever the domain."""
    form = saveimage.open_format("libvirt-libxl")
    assert isinstance(form, saveimage.VersionedStream)
    file = io.BytesIO()
    finish = form.writing(version).write_header(
        file, spec, was_running=was_running, compression="none"
    )
    begins = file.tell()
    finish()
    file.seek(0)
    assert isinstance(saveimage.identify(file, path="image"), LibvirtLibxlFormat)
    assert form.read_header(file, path="image") == saveimage.ImageHeader(
        format="libvirt-libxl",
        version=version,
        xml=spec.to_xml(),
        stream_offset=begins,
        stream_version=version,
        was_running=None if was_running else False,
        byte_order="little" if struct.pack("=I", 1)[0] else "big",
    )


def test_a_running_guests_header_is_libvirts_byte_for_byte() -> None:
    """Nothing stands in the bytes that libvirt leaves zero; the length counts the NUL."""
    spec = DomainSpec.from_xml(XML)
    file = io.BytesIO()
    LibvirtLibxlFormat().write_header(file, spec, was_running=True, compression="none")
    xml = spec.to_xml().encode() + b"\0"
    order = "<" if struct.pack("=I", 1)[0] else ">"
    assert file.getvalue() == MAGIC + struct.pack(f"{order}II", 2, len(xml)) + bytes(40) + xml


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_byte_orders(order: str, version: int, tmp_path: Path) -> None:
    """A header is read whatever machine wrote it."""
    data = image_of(order=order, version=version)
    header = inspect(data, tmp_path)
    assert header.xml == XML
    assert header.byte_order == ("little" if order == "<" else "big")
    assert (header.version, header.stream_version) == (version, version)
    assert data[header.stream_offset :] == STREAM


def test_bytes_that_nobody_uses_are_not_looked_at(tmp_path: Path) -> None:
    """Libvirt does not check them, so that an image with something in them is read."""
    assert inspect(image_of(unused=b"\xff" * 40), tmp_path).was_running is None


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """A header that ends too early is refused wherever it does, and where is said."""
    data = image_of()
    whole = len(data) - len(STREAM)
    for length in range(whole):
        if length < len(MAGIC):
            told = "not a save image" if length else "it is empty"
        else:
            told = "cut off in the XML" if length >= HEADER_SIZE else "cut off in the header"
        with pytest.raises(SaveImageError, match=told) as caught:
            inspect(data[:length], tmp_path)
        assert caught.value.offset == (length if length >= len(MAGIC) else 0)
    assert inspect(data[:whole], tmp_path).stream_offset == whole


@pytest.mark.parametrize(
    ("data", "offset", "told"),
    [
        (b"libvirt-xmL" + image_of()[11:], 0, "not a save image"),
        (image_of(version=0), 16, "version 0 .* damaged"),
        (image_of(version=3), 16, "version 3 .* newer polyvisor"),
        (image_of(version=3, order=">"), 16, "version 3 .* newer polyvisor"),
        (image_of(version=0x01020304), 16, "version 67305985"),
        (image_of(length=0), 20, "claims 0 bytes"),
        (image_of(length=1), 20, "claims 1 bytes"),
        (image_of(length=0xFFFFFFFF), 20, "claims 4294967295 bytes"),
        (image_of(length=0xFFFFFFFF, order=">"), 20, "claims 4294967295 bytes"),
        (image_of(length=MAX_XML + 1), 20, f"claims {MAX_XML + 1} bytes"),
        (image_of(length=MAX_XML), len(image_of()), "cut off in the XML"),
        (image_of(XML.encode()), 63 + len(XML.encode()), "not ended by a zero"),
        (image_of(XML.encode() + b"\0x"), 65 + len(XML.encode()), "not ended by a zero"),
        (image_of(b"\0<domain/>\0"), 64, "no XML in front of its zero byte"),
        (image_of(b"<a>\xff</a>\0"), 67, "not UTF-8"),
    ],
)
def test_bad_header(data: bytes, offset: int, told: str, tmp_path: Path) -> None:
    """What is wrong is said, with the byte at which it stands."""
    with pytest.raises(SaveImageError, match=told) as caught:
        inspect(data, tmp_path)
    assert caught.value.offset == offset
    assert caught.value.path == str(tmp_path / "image")


@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """No bytes at all make the reader fail in any way but its own."""
    with suppress(SaveImageError):
        header = LibvirtLibxlFormat().read_header(io.BytesIO(MAGIC + data), path="image")
        assert header.stream_offset <= len(MAGIC + data)


def test_what_cannot_be_written() -> None:
    """A compression or a version that the format has no place for is refused in words."""
    with pytest.raises(Unsupported, match="not compressed, so compression is 'none', not 'gzip'"):
        LibvirtLibxlFormat().write_header(
            io.BytesIO(), DomainSpec.from_xml(XML), was_running=True, compression="gzip"
        )
    with pytest.raises(InvalidArgument, match=r"no stream version 3 \(there are 1, 2\)"):
        LibvirtLibxlFormat(3)


# Another definition


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("title", ["t", "a longer title" * 500])
def test_a_definition_is_changed(order: str, title: str, tmp_path: Path) -> None:
    """Another definition, longer or shorter, stands in the image; all else is as it was."""
    path = tmp_path / "image"
    path.write_bytes(image_of(order=order, version=1))
    path.chmod(0o640)
    spec = attrs.evolve(DomainSpec.from_xml(XML), title=title)
    assert saveimage.change_definition(path, spec)
    header = saveimage.inspect(path)
    assert DomainSpec.from_xml(header.xml) == spec
    assert (header.version, header.byte_order) == (1, "little" if order == "<" else "big")
    assert path.read_bytes()[header.stream_offset :] == STREAM
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["image"]
    assert not saveimage.change_definition(path, spec)


def test_whether_it_runs_is_changed(tmp_path: Path) -> None:
    """That a guest is to stay paused is put into an image, and taken out again."""
    path = tmp_path / "image"
    path.write_bytes(image_of())
    spec = DomainSpec.from_xml(XML)
    assert saveimage.change_definition(path, spec, running=False)
    assert saveimage.inspect(path).was_running is False
    assert not saveimage.change_definition(path, spec, running=False)
    assert saveimage.change_definition(path, spec, running=True)
    assert saveimage.inspect(path).was_running is None
    assert not saveimage.change_definition(path, spec, running=True)


def test_a_link_stays_one(tmp_path: Path) -> None:
    """Of an image behind a symbolic link, the image is changed and not the link."""
    (tmp_path / "image").write_bytes(image_of())
    (tmp_path / "link").symlink_to("image")
    spec = attrs.evolve(DomainSpec.from_xml(XML), title="t")
    assert saveimage.change_definition(tmp_path / "link", spec)
    assert (tmp_path / "link").is_symlink()
    assert DomainSpec.from_xml(saveimage.inspect(tmp_path / "image").xml) == spec


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"memory": 1 << 30}, {"uuid": UUID(int=7)}],
    ids=["name", "memory", "uuid"],
)
def test_another_machine_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    """A definition that the guest would notice is refused, and the image stays as it was."""
    path = tmp_path / "image"
    path.write_bytes(before := image_of())
    other = attrs.evolve(DomainSpec.from_xml(XML), **changes)
    with pytest.raises(SemanticError, match="another machine than the one the guest knows"):
        saveimage.change_definition(path, other)
    assert path.read_bytes() == before
