"""libvirt's QEMU save image: a header of 92 bytes, the XML, a cookie, QEMU's stream.

The layout is ``virQEMUSaveHeader`` of libvirt's src/qemu/qemu_saveimage.h, in the byte order
of the host that wrote it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from polyvisor.errors import SaveImageError, Unsupported
from polyvisor.saveimage import (
    EditsDefinition,
    ImageHeader,
    SaveFormat,
    decoded,
    read_exactly,
)

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["COMPRESSIONS", "QemuSaveFormat"]

MAGIC = b"LibvirtQemudSave"
#: Stands for the magic until the image is whole.
PARTIAL = b"LibvirtQemudPart"
VERSION = 2
#: magic, version, data_len, was_running, compressed, cookieOffset, unused
_LAYOUT = "16s5I56x"
HEADER_SIZE = struct.calcsize(f"<{_LAYOUT}")
#: Numbers of ``virQEMUSaveFormat``.
COMPRESSIONS = ("none", "gzip", "bzip2", "xz", "lzop", "zstd")
#: More XML than any domain has; a header that claims more is damaged.
MAX_DATA = 64 << 20
#: The XML is padded so that a later, longer definition fits in its place (libvirt does the same).
_PADDING = 1024


class QemuSaveFormat(SaveFormat, EditsDefinition):
    """Reads and writes the header."""

    name = "libvirt-qemu"

    def read_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """See :meth:`polyvisor.saveimage.SaveFormat.read_header`."""
        head = read_exactly(image, HEADER_SIZE, path=path, offset=0, what="the header")
        order = "<"
        magic, version, length, running, compressed, cookie_at = struct.unpack(
            order + _LAYOUT, head
        )
        if magic == PARTIAL:
            raise SaveImageError(
                f"{path}: the image was never finished (it still says {PARTIAL.decode()}); "
                f"what it holds cannot be restored",
                path=path,
                offset=0,
            )
        if magic != MAGIC:
            raise SaveImageError(
                f"{path}: no libvirt QEMU save image: it begins with {magic!r}",
                path=path,
                offset=0,
            )
        if version > 0xFFFF:
            # A version of that size is a small one with its bytes reversed.
            order = ">"
            magic, version, length, running, compressed, cookie_at = struct.unpack(
                order + _LAYOUT, head
            )
        if version == 0 or version > VERSION:
            raise SaveImageError(
                f"{path}: version {version} of the image is not known (1 to {VERSION} are); "
                f"a newer polyvisor may read it",
                path=path,
                offset=16,
            )
        if not 0 < length <= MAX_DATA:
            raise SaveImageError(
                f"{path}: the header claims {length} bytes of definition, which is not "
                f"between 1 and {MAX_DATA}",
                path=path,
                offset=20,
            )
        if compressed >= len(COMPRESSIONS):
            raise SaveImageError(
                f"{path}: compression {compressed} is not known", path=path, offset=28
            )
        if cookie_at >= length:
            raise SaveImageError(
                f"{path}: the cookie would begin at {cookie_at}, behind the {length} bytes "
                f"that hold it",
                path=path,
                offset=32,
            )
        data = read_exactly(image, length, path=path, offset=HEADER_SIZE, what="the definition")
        end = cookie_at or length
        text, zero, _ = data[:end].partition(b"\0")
        if not zero:
            raise SaveImageError(
                f"{path}: the definition is not ended by a zero byte",
                path=path,
                offset=HEADER_SIZE + end - 1,
            )
        xml = decoded(text, path=path, offset=HEADER_SIZE, what="the definition")
        return ImageHeader(
            format=self.name,
            version=version,
            xml=xml,
            stream_offset=HEADER_SIZE + length,
            was_running=bool(running),
            compression=COMPRESSIONS[compressed],
            byte_order="little" if order == "<" else "big",
            cookie=data[cookie_at:].rstrip(b"\0") if cookie_at else None,
        )

    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """See :meth:`polyvisor.saveimage.SaveFormat.write_header`."""
        if compression not in COMPRESSIONS:
            raise Unsupported(
                f"save: compression {compression!r} is not one of {', '.join(COMPRESSIONS)}",
                feature="save.file",
            )
        data = _padded(spec.to_xml().encode() + b"\0")
        number = COMPRESSIONS.index(compression)
        head = struct.pack(f"={_LAYOUT}", PARTIAL, VERSION, len(data), int(was_running), number, 0)
        image.write(head + data)
        image.flush()

        def finish() -> None:
            image.flush()
            position = image.tell()
            image.seek(0)
            image.write(MAGIC)
            image.flush()
            image.seek(position)

        return finish

    def with_definition(self, header: ImageHeader, xml: str) -> bytes:
        """See :meth:`polyvisor.saveimage.EditsDefinition.with_definition`."""
        text = xml.encode() + b"\0"
        cookie = b"" if header.cookie is None else header.cookie + b"\0"
        # A definition that fits keeps the stream where it is.
        data = (text + cookie).ljust(header.stream_offset - HEADER_SIZE, b"\0")
        if len(data) > header.stream_offset - HEADER_SIZE:
            data = _padded(data)
        if len(data) > MAX_DATA:
            raise SaveImageError(f"the definition has {len(text)} bytes, more than fit into it")
        return (
            struct.pack(
                ("<" if header.byte_order == "little" else ">") + _LAYOUT,
                MAGIC,
                header.version,
                len(data),
                int(header.was_running is not False),
                COMPRESSIONS.index(header.compression),
                len(text) if cookie else 0,
            )
            + data
        )


def _padded(data: bytes) -> bytes:
    return data.ljust(-(-(len(data) + _PADDING) // _PADDING) * _PADDING, b"\0")
