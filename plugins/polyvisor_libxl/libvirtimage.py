r"""libvirt's libxl save image: a header of 64 bytes, the XML, libxl's stream.

The layout is ``libxlSavefileHeader`` of libvirt's src/libxl/libxl_conf.h, in the byte order
of the host that wrote it::

    16 bytes "libvirt-xml\n \0 \r", u32 version, u32 length of the XML, 40 bytes unused

Version 1 says that a legacy stream follows, version 2 one of migration V2; the length counts
the NUL that ends the XML. libvirt believes whatever the length says and does not look for the
NUL; here both are checked.

libvirt has no place for whether the guest is to stay paused, since it saves only running
ones. Of those that are to stay paused we write ``PVPAUSED`` into the unused bytes, which
libvirt does not look at; all else is as libvirt writes it, byte for byte.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self

from polyvisor.errors import InvalidArgument, SaveImageError, Unsupported
from polyvisor.saveimage import (
    EditsDefinition,
    ImageHeader,
    VersionedStream,
    decoded,
    read_exactly,
)
from polyvisor_libxl.images import LEGACY, MIGRATION_V2, XenImage

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["HEADER_SIZE", "MAGIC", "MAX_XML", "LibvirtLibxlFormat"]

MAGIC = b"libvirt-xml\n \0 \r"
#: magic, version, xmlLen, unused
_LAYOUT = "16sII40s"
HEADER_SIZE = struct.calcsize(f"<{_LAYOUT}")
#: More XML than any domain has; a header that claims more is damaged.
MAX_XML = 64 << 20
#: Ours, at the start of the unused bytes.
_PAUSED = b"PVPAUSED"
_HOST = "<" if sys.byteorder == "little" else ">"


class LibvirtLibxlFormat(XenImage, VersionedStream, EditsDefinition):
    """Reads and writes the header of ``libvirt-libxl`` images.

    Args:
        version: of the stream in images that are written.
    """

    name = "libvirt-libxl"
    stream_versions: ClassVar[tuple[int, ...]] = (LEGACY, MIGRATION_V2)

    def __init__(self, version: int = MIGRATION_V2) -> None:
        if version not in self.stream_versions:
            known = ", ".join(map(str, self.stream_versions))
            raise InvalidArgument(
                f"{self.name}: there is no stream version {version} (there are {known})"
            )
        self._version = version

    def writing(self, version: int) -> Self:
        """See :meth:`polyvisor.saveimage.VersionedStream.writing`."""
        return type(self)(version)

    def bare_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header, whose definition is XML as it stands there."""
        return self.read_header(image, path=path)

    def header_for(self, header: ImageHeader) -> bytes:
        """See :meth:`polyvisor_libxl.images.XenImage.header_for`."""
        from polyvisor_libxl.definitions import xml_of

        running = header.was_running is not False
        return self._header(_HOST, MIGRATION_V2, xml_of(header), was_running=running)

    def read_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header; see :meth:`polyvisor.saveimage.SaveFormat.read_header`."""
        head = read_exactly(image, HEADER_SIZE, path=path, offset=0, what="the header")
        order = "<"
        magic, version, length, unused = struct.unpack(order + _LAYOUT, head)
        if magic != MAGIC:
            raise SaveImageError(
                f"{path}: no libvirt libxl save image: it begins with {magic!r}",
                path=path,
                offset=0,
            )
        if version > 0xFFFF:
            # A version of that size is a small one with its bytes reversed.
            order = ">"
            magic, version, length, unused = struct.unpack(order + _LAYOUT, head)
        if version not in self.stream_versions:
            hint = "a newer polyvisor may read it" if version else "the header is damaged"
            raise SaveImageError(
                f"{path}: version {version} of the image is not known (1, with a legacy "
                f"stream, and 2, with migration V2, are); {hint}",
                path=path,
                offset=16,
            )
        if not 1 < length <= MAX_XML:
            raise SaveImageError(
                f"{path}: the header claims {length} bytes of XML, its NUL included, which is "
                f"not between 2 and {MAX_XML}",
                path=path,
                offset=20,
            )
        data = read_exactly(image, length, path=path, offset=HEADER_SIZE, what="the XML")
        text, zero, _ = data.partition(b"\0")
        if not zero or data[-1]:
            raise SaveImageError(
                f"{path}: the XML is not ended by a zero byte where the header says that it ends",
                path=path,
                offset=HEADER_SIZE + length - 1,
            )
        if not text:
            raise SaveImageError(
                f"{path}: there is no XML in front of its zero byte", path=path, offset=HEADER_SIZE
            )
        xml = decoded(text, path=path, offset=HEADER_SIZE, what="the XML")
        return ImageHeader(
            format=self.name,
            version=version,
            xml=xml,
            stream_offset=HEADER_SIZE + length,
            stream_version=version,
            was_running=False if unused.startswith(_PAUSED) else None,
            byte_order="little" if order == "<" else "big",
        )

    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """Write a header; see :meth:`polyvisor.saveimage.SaveFormat.write_header`."""
        if compression != "none":
            raise Unsupported(
                f"save: images of the format {self.name!r} are not compressed, so compression "
                f"is 'none', not {compression!r}",
                feature="save.file",
            )
        image.write(self._header(_HOST, self._version, spec.to_xml(), was_running=was_running))
        return _nothing

    def with_definition(self, header: ImageHeader, xml: str) -> bytes:
        """See :meth:`polyvisor.saveimage.EditsDefinition.with_definition`."""
        order = "<" if header.byte_order == "little" else ">"
        running = header.was_running is not False
        return self._header(order, header.version, xml, was_running=running)

    def _header(self, order: str, version: int, xml: str, *, was_running: bool) -> bytes:
        data = xml.encode() + b"\0"
        unused = b"" if was_running else _PAUSED
        return struct.pack(order + _LAYOUT, MAGIC, version, len(data), unused) + data


def _nothing() -> None:
    """An image of this format carries no mark that it is unfinished."""
