r"""Save images of libvirt's test driver, with our stream behind.

libvirt writes (``testDomainSaveImageWrite``, ``src/test/test_driver.c``)::

    15 bytes "TestGuestMagic\0", int length of the XML, the XML

with the length in the byte order of its machine, and nothing more: its guests have no
memory. Restoring, it reads so far and ignores what follows; it refuses XML of more than
8192 bytes, its own as well. So there is room for us behind the XML, at the end of which a
comment says that we used it; libvirt's parser passes over that. An image that was cut off
behind the XML can so be told from one that never had more::

    <!-- memory follows -->

    8 bytes "PVSIMHDR", u32 flags (1: the guest was running), u32 version of the stream,
    8 bytes compression of the stream, "none" or "gzip" …, padded with NUL

and then the stream (:mod:`polyvisor_sim.stream`), little-endian. An image without all this
is libvirt's own: a guest that boots afresh.

For libvirt to restore an image of ours, the definition must be one that it takes: it knows
``<domain type='test'>``, not ``type='sim'``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO, Literal

from polyvisor.errors import InvalidArgument, SaveImageError
from polyvisor.saveimage import (
    EditsDefinition,
    ImageHeader,
    SaveFormat,
    decoded,
    read_exactly,
)
from polyvisor_sim.versions import VERSIONS

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["MAGIC", "TestImageFormat"]

#: First bytes of an image, the final NUL included.
MAGIC = b"TestGuestMagic\0"
#: More XML than this is not believed; the model reads as much.
MOST_XML = 8 << 20

_LENGTH = 4
_TAIL = Struct("<8sII8s")
_TAIL_MAGIC = b"PVSIMHDR"
_PROMISE = "<!-- memory follows -->\n"
_RUNNING = 1
_COMPRESSIONS = ("none", "gzip", "bzip2", "xz")
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


class TestImageFormat(SaveFormat, EditsDefinition):
    """Reads and writes the header of ``libvirt-test`` images."""

    name = "libvirt-test"

    def read_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header; see :meth:`polyvisor.saveimage.SaveFormat.read_header`."""
        magic = read_exactly(image, len(MAGIC), path=path, offset=0, what="the magic bytes")
        if magic != MAGIC:
            raise _fault(path, 0, f"not an image of the test driver: it begins with {magic!r}")
        raw = read_exactly(
            image, _LENGTH, path=path, offset=len(MAGIC), what="the length of the XML"
        )
        order, length = _length(raw)
        if order is None:
            raise _fault(path, len(MAGIC), f"the XML is {length} bytes long, at most {MOST_XML}")
        start = len(MAGIC) + _LENGTH
        body = read_exactly(image, length, path=path, offset=start, what="the XML")
        xml = decoded(body, path=path, offset=start, what="the XML")
        end = start + length
        tail = image.read(_TAIL.size)
        promised = xml.endswith(_PROMISE)
        if not tail and not promised:
            return ImageHeader(self.name, 0, xml, end, byte_order=order)
        if len(tail) < _TAIL.size and _TAIL_MAGIC.startswith(tail[:8]):
            raise _fault(path, end + len(tail), "it is cut off in the header of the stream")
        known, flags, version, packed = _TAIL.unpack(tail.ljust(_TAIL.size, b"\0"))
        if known != _TAIL_MAGIC:
            raise _fault(path, end, f"unknown bytes follow the XML: {tail[:8]!r}")
        compression = packed.rstrip(b"\0").decode("ascii", "backslashreplace")
        if version not in VERSIONS or flags & ~_RUNNING or compression not in _COMPRESSIONS:
            raise _fault(
                path,
                end + 8,
                f"it is damaged, or was written by a newer polyvisor: flags {flags:#x}, stream "
                f"version {version}, compression {compression!r}; known are flags up to "
                f"{_RUNNING:#x}, versions up to {VERSIONS[-1]}, {', '.join(_COMPRESSIONS)}",
            )
        if not image.read(1):
            raise _fault(path, end + _TAIL.size, "it is cut off where the stream begins")
        return ImageHeader(
            self.name,
            0,
            xml.removesuffix(_PROMISE),
            end + _TAIL.size,
            stream_version=version,
            was_running=bool(flags & _RUNNING),
            compression=compression,
            byte_order=order,
        )

    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """Write a header; see :meth:`polyvisor.saveimage.SaveFormat.write_header`."""
        if compression not in _COMPRESSIONS:
            raise InvalidArgument(
                f"save: compression is one of {', '.join(_COMPRESSIONS)}, not {compression!r}"
            )
        xml = f"{spec.to_xml()}{_PROMISE}".encode()
        flags = _RUNNING if was_running else 0
        image.write(MAGIC + len(xml).to_bytes(_LENGTH, "little") + xml)
        image.write(_TAIL.pack(_TAIL_MAGIC, flags, VERSIONS[-1], compression.encode()))
        return _nothing

    def with_definition(self, header: ImageHeader, xml: str) -> bytes:
        """See :meth:`polyvisor.saveimage.EditsDefinition.with_definition`.

        An image of libvirt's own has no place for whether its guest runs.
        """
        data = xml.encode()
        order = "<" if header.byte_order == "little" else ">"
        head = MAGIC + Struct(f"{order}I").pack(len(data)) + data
        if header.stream_version is None:
            if header.was_running is False:
                raise SaveImageError(
                    "an image of libvirt's own test driver has no place for a guest that is to "
                    "stay paused; say so when it is restored"
                )
            return head
        flags = 0 if header.was_running is False else _RUNNING
        return head + _TAIL.pack(
            _TAIL_MAGIC, flags, header.stream_version, header.compression.encode()
        )


def _nothing() -> None:
    """An image of this format carries no mark that it is unfinished."""


def _length(raw: bytes) -> tuple[str | None, int]:
    """Return the byte order in which a length makes sense, and the length."""
    for order in _ORDERS:
        length = int.from_bytes(raw, order)
        if 0 < length <= MOST_XML:
            return order, length
    return None, int.from_bytes(raw, "little")


def _fault(path: str, offset: int, fault: str) -> SaveImageError:
    return SaveImageError(
        f"save image {os.fspath(path)}, byte {offset}: {fault}", path=path, offset=offset
    )
