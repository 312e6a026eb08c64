"""libvirt's QEMU save image: headers good and bad, and real QEMU behind them."""

from __future__ import annotations

import io
import os
import shutil
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor import saveimage
from polyvisor.errors import ConfigError, SaveImageError, Unsupported
from polyvisor.states import DomainState
from polyvisor.testing.strategies import specs
from polyvisor_qemu.image import COMPRESSIONS, HEADER_SIZE, MAGIC, PARTIAL, QemuSaveFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polyvisor.model import DomainSpec

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]

XML = "<domain type='qemu'><name>tür</name></domain>"


def image_of(
    xml: bytes = XML.encode() + b"\0",
    *,
    magic: bytes = MAGIC,
    version: int = 2,
    length: int | None = None,
    running: int = 1,
    compressed: int = 0,
    cookie_at: int = 0,
    order: str = "<",
) -> bytes:
    """Return an image field by field, as libvirt's virQEMUSaveHeader has them, with a stream."""
    size = len(xml) if length is None else length
    head = struct.pack(order + "5I", version, size, running, compressed, cookie_at)
    return magic + head + bytes(56) + xml + b"QEVM and so on"


def inspect(data: bytes, folder: Path) -> saveimage.ImageHeader:
    """Read a header from a file."""
    path = folder / "image"
    path.write_bytes(data)
    return saveimage.inspect(path)


# Headers


@given(spec=specs(), was_running=st.booleans(), compression=st.sampled_from(COMPRESSIONS))
def test_reads_as_it_was_written(spec: DomainSpec, was_running: bool, compression: str) -> None:
    """Definition, state, compression and the stream's place come back, whatever the domain."""
    form = saveimage.open_format("libvirt-qemu")
    file = io.BytesIO()
    finish = form.write_header(file, spec, was_running=was_running, compression=compression)
    begins = file.tell()
    file.write(b"stream")
    finish()
    assert file.tell() == begins + 6
    file.seek(0)
    assert isinstance(saveimage.identify(file, path="image"), QemuSaveFormat)
    header = form.read_header(file, path="image")
    assert header == saveimage.ImageHeader(
        format="libvirt-qemu",
        version=2,
        xml=spec.to_xml(),
        stream_offset=begins,
        was_running=was_running,
        compression=compression,
        byte_order="little" if struct.pack("=I", 1)[0] else "big",
    )
    assert file.read() == b"stream"


def test_room_for_a_longer_definition(make_spec: Make) -> None:
    """Behind the definition there is room, so that a longer one fits in its place."""
    file = io.BytesIO()
    QemuSaveFormat().write_header(file, make_spec(), was_running=True, compression="none")
    assert len(file.getvalue()) - HEADER_SIZE - len(make_spec().to_xml().encode()) > 1000


def test_unfinished(make_spec: Make, tmp_path: Path) -> None:
    """An image is refused until it is whole."""
    with (tmp_path / "image").open("w+b") as file:
        finish = QemuSaveFormat().write_header(
            file, make_spec(), was_running=True, compression="none"
        )
        with pytest.raises(SaveImageError, match="never finished") as caught:
            saveimage.inspect(file.name)
        assert caught.value.path == file.name
        finish()
        assert saveimage.inspect(file.name).was_running


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_byte_orders(order: str, version: int, tmp_path: Path) -> None:
    """An image is read whatever machine wrote it."""
    data = image_of(order=order, version=version, running=0, compressed=2)
    header = inspect(data, tmp_path)
    assert header.xml == XML
    assert header.byte_order == ("little" if order == "<" else "big")
    assert (header.version, header.was_running, header.compression) == (version, False, "bzip2")
    assert data[header.stream_offset :] == b"QEVM and so on"


def test_cookie(tmp_path: Path) -> None:
    """Libvirt's cookie is kept apart from the definition."""
    xml = XML.encode() + b"\0"
    cookie = b"<cookie/>\0"
    header = inspect(image_of(xml + cookie, cookie_at=len(xml)), tmp_path)
    assert header.xml == XML
    assert header.cookie == b"<cookie/>"
    assert inspect(image_of(xml + bytes(500)), tmp_path).cookie is None


def test_cut_off_anywhere(tmp_path: Path) -> None:
    """A header that ends too early is refused wherever it does, and where is said."""
    data = image_of()
    whole = len(data) - len(b"QEVM and so on")
    for length in range(whole):
        if length < len(MAGIC):
            told = "not a save image" if length else "it is empty"
        else:
            told = "cut off in the definition" if length >= HEADER_SIZE else "cut off in the header"
        with pytest.raises(SaveImageError, match=told) as caught:
            inspect(data[:length], tmp_path)
        assert caught.value.offset == (length if length >= len(MAGIC) else 0)
    assert inspect(data[:whole], tmp_path).stream_offset == whole


@pytest.mark.parametrize(
    ("data", "offset", "told"),
    [
        (b"LibvirtQemudSaVe" + image_of()[16:], 0, "not a save image"),
        (image_of(magic=PARTIAL), 0, "never finished"),
        (image_of(version=0), 16, "version 0"),
        (image_of(version=3), 16, "version 3 .* newer polyvisor"),
        (image_of(version=3, order=">"), 16, "version 3 .* newer polyvisor"),
        (image_of(version=0x01020304), 16, "version 67305985"),
        (image_of(length=0), 20, "0 bytes of definition"),
        (image_of(length=0xFFFFFFFF), 20, "4294967295 bytes"),
        (image_of(length=(64 << 20) + 1), 20, "67108865 bytes"),
        (image_of(length=64 << 20), len(image_of()), "cut off in the definition"),
        (image_of(compressed=6), 28, "compression 6"),
        (image_of(compressed=0xFFFFFFFF), 28, "compression 4294967295"),
        (image_of(cookie_at=len(XML.encode()) + 1), 32, "cookie would begin"),
        (image_of(cookie_at=0xFFFFFFFF), 32, "cookie would begin"),
        (image_of(XML.encode()), 91 + len(XML.encode()), "not ended by a zero"),
        (image_of(XML.encode() + b"\0", cookie_at=4), 95, "not ended by a zero"),
        (image_of(b"<a>\xff</a>\0"), 95, "not UTF-8"),
    ],
)
def test_bad_header(data: bytes, offset: int, told: str, tmp_path: Path) -> None:
    """What is wrong is said, with the byte at which it stands."""
    with pytest.raises(SaveImageError, match=told) as caught:
        inspect(data, tmp_path)
    assert caught.value.offset == offset
    assert caught.value.path == str(tmp_path / "image")


@given(data=st.binary(max_size=200), magic=st.sampled_from([MAGIC, PARTIAL, b""]))
def test_any_bytes(data: bytes, magic: bytes) -> None:
    """No bytes at all make the reader fail in any way but its own."""
    with suppress(SaveImageError):
        header = QemuSaveFormat().read_header(io.BytesIO(magic + data), path="image")
        assert header.stream_offset <= len(magic + data)


def test_unknown_compression(make_spec: Make) -> None:
    """What could not be read again is not written."""
    with pytest.raises(Unsupported, match="'zpaq' is not one of none, gzip"):
        QemuSaveFormat().write_header(
            io.BytesIO(), make_spec(), was_running=True, compression="zpaq"
        )


# With QEMU behind them


@pytest.mark.real
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_goes_on_where_it_was(hosts: Hosts, compression: str) -> None:
    """A restored guest counts on from where it was saved, compressed or not."""
    host = hosts.open()
    domain = host.domains.define(hosts.counting())
    domain.start()
    hosts.wait_for_count()
    image = hosts.root / "image"
    if compression in ("lzop", "zstd") and shutil.which(compression) is None:
        with pytest.raises(Unsupported, match=f"program {compression}"):
            domain.save(image, compression=compression)
        pytest.skip(f"{compression} is not installed")
    domain.save(image, compression=compression)
    assert saveimage.inspect(image).compression == compression
    host.domains.restore(image)
    hosts.wait_for_count()
    lines = hosts.serial.read_text().split()[1::2]
    assert lines == sorted(lines)


@pytest.mark.real
def test_another_machines_header(hosts: Hosts) -> None:
    """An image whose header is in the other byte order is restored all the same."""
    host = hosts.open()
    host.domains.create(hosts.counting()).save(image := hosts.root / "image")
    data = image.read_bytes()
    swapped = struct.pack(">5I", *struct.unpack("<5I", data[16:36]))
    image.write_bytes(data[:16] + swapped + data[36:])
    assert saveimage.inspect(image).byte_order == "big"
    assert host.domains.restore(image).state is DomainState.RUNNING


@pytest.mark.real
@pytest.mark.parametrize("damage", ["no stream", "half a stream", "nonsense", "another machine"])
def test_damaged_stream(hosts: Hosts, damage: str) -> None:
    """A stream that QEMU cannot read is refused in its words, and no guest is left of it."""
    host = hosts.open()
    host.domains.create(hosts.counting()).save(image := hosts.root / "image")
    data = image.read_bytes()
    begins = saveimage.inspect(image).stream_offset
    if damage == "no stream":
        data = data[:begins]
    elif damage == "half a stream":
        data = data[: (begins + len(data)) // 2]
    elif damage == "nonsense":
        data = data[:begins] + os.urandom(10_000)
    else:
        data = data[:begins] + data[begins:].replace(b"pc-i440fx-", b"xx-i440fx-")
    image.write_bytes(data)
    with pytest.raises(SaveImageError, match="damaged or was made by a machine"):
        host.domains.restore(image)
    assert host.domains.list() == []
    assert hosts.processes() == []


@pytest.mark.real
def test_compression_as_configured(hosts: Hosts) -> None:
    """The setting says what is done where nothing else is asked for, in libvirt's words."""
    host = hosts.open(save_image_format="gzip")
    domain = host.domains.define(hosts.counting())
    domain.start()
    domain.save(hosts.root / "image")
    assert saveimage.inspect(hosts.root / "image").compression == "gzip"
    host.domains.restore(hosts.root / "image")
    domain.managed_save()
    (managed,) = hosts.root.glob("a/**/*.save")
    assert saveimage.inspect(managed).compression == "gzip"
    domain.start()
    domain.save(hosts.root / "raw", compression="none")
    assert saveimage.inspect(hosts.root / "raw").compression == "none"
    with pytest.raises(ConfigError, match="save_image_format"):
        hosts.open(save_image_format="rar")


@pytest.mark.real
@pytest.mark.parametrize("compression", ["gzip", "lzop", "zstd"])
def test_damaged_compression(hosts: Hosts, compression: str) -> None:
    """What cannot be unpacked, or ends too soon, is refused, and no guest is left of it."""
    if compression != "gzip" and shutil.which(compression) is None:
        pytest.skip(f"{compression} is not installed")
    host = hosts.open()
    host.domains.create(hosts.counting()).save(
        image := hosts.root / "image", compression=compression
    )
    data = image.read_bytes()
    begins = saveimage.inspect(image).stream_offset
    for damaged in (
        data[:begins] + b"nonsense" + data[begins + 8 :],
        data[: (begins + len(data)) // 2],
    ):
        image.write_bytes(damaged)
        with pytest.raises(SaveImageError, match=r"damaged|too soon"):
            host.domains.restore(image)
    assert host.domains.list() == []
    assert hosts.processes() == []
