r"""xl's save image: a header of 48 bytes, the configuration, libxl's stream.

The layout is ``struct save_file_header`` of Xen's tools/xl/xl.h, in the byte order of the
host that wrote it::

    32 bytes "Xen saved domain, xl format\n \0 \r", u32 byte order (0x01020304),
    u32 mandatory flags, u32 optional flags, u32 length of the optional data

The optional data are a u32 length and the configuration, its NUL included; what follows in
them is for later versions. Mandatory flags are 1, the configuration is libxl's JSON rather
than text as in a file ``xl.cfg``, and 2, the stream is migration V2 rather than legacy. An
image with others cannot be understood; optional flags may be ignored.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import attrs

from polyvisor.errors import SaveImageError, Unsupported
from polyvisor.saveimage import EditsDefinition, ImageHeader, decoded, read_exactly
from polyvisor_libxl.images import LEGACY, MIGRATION_V2, XenImage

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["HEADER_SIZE", "MAGIC", "MAX_CONFIG", "XlFormat"]

MAGIC = b"Xen saved domain, xl format\n \0 \r"
#: magic, byteorder, mandatory_flags, optional_flags, optional_data_len
_LAYOUT = "32s4I"
HEADER_SIZE = struct.calcsize(f"<{_LAYOUT}")
_BYTE_ORDER = 0x01020304
#: ``XL_MANDATORY_FLAG_JSON`` and ``XL_MANDATORY_FLAG_STREAMv2``.
_JSON, _STREAM_V2 = 1, 2
#: More configuration than any domain has; a header that claims more is damaged.
MAX_CONFIG = 64 << 20
_HOST = "<" if sys.byteorder == "little" else ">"


class XlFormat(XenImage, EditsDefinition):
    """Reads and writes the header of ``xl`` images.

    The definition is converted to XML from what stands in the image, and the other way round
    into libxl's JSON. xl leaves no guest paused on its own account, so neither do its images
    say so.
    """

    name = "xl"

    def bare_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header; the configuration is left as it is, in ``native``."""
        head = read_exactly(image, HEADER_SIZE, path=path, offset=0, what="the header")
        order = "<"
        magic, mark, mandatory, _, length = struct.unpack(order + _LAYOUT, head)
        if magic != MAGIC:
            raise SaveImageError(
                f"{path}: no save image of xl: it begins with {magic!r}", path=path, offset=0
            )
        if mark != _BYTE_ORDER:
            order = ">"
            magic, mark, mandatory, _, length = struct.unpack(order + _LAYOUT, head)
        if mark != _BYTE_ORDER:
            raise SaveImageError(
                f"{path}: the mark of its byte order is {mark:#010x}, which is none",
                path=path,
                offset=32,
            )
        if mandatory & ~(_JSON | _STREAM_V2):
            raise SaveImageError(
                f"{path}: its mandatory flags are {mandatory:#x}, of which only 1 and 2 are "
                f"known; a newer polyvisor may read it",
                path=path,
                offset=36,
            )
        if length > MAX_CONFIG:
            raise SaveImageError(
                f"{path}: the header claims {length} bytes of optional data, more than "
                f"{MAX_CONFIG}",
                path=path,
                offset=44,
            )
        data = read_exactly(image, length, path=path, offset=HEADER_SIZE, what="the optional data")
        config, rest = self._config(data, order, path)
        return ImageHeader(
            format=self.name,
            version=0,
            xml="",
            stream_offset=HEADER_SIZE + length,
            stream_version=MIGRATION_V2 if mandatory & _STREAM_V2 else LEGACY,
            byte_order="little" if order == "<" else "big",
            cookie=rest or None,
            native=config,
        )

    def _config(self, data: bytes, order: str, path: str) -> tuple[str | None, bytes]:
        """Return the configuration and what stands behind it."""
        if not data:
            return None, b""
        size = struct.unpack(f"{order}I", data[:4])[0] if len(data) >= 4 else 0
        if not 0 < size <= len(data) - 4:
            raise SaveImageError(
                f"{path}: the configuration has {size} bytes, it says, of {len(data)} bytes "
                f"of optional data",
                path=path,
                offset=HEADER_SIZE,
            )
        text, zero, behind = data[4 : 4 + size].partition(b"\0")
        if not zero or behind.strip(b"\0"):
            raise SaveImageError(
                f"{path}: the configuration is not ended by a zero byte where it should be",
                path=path,
                offset=HEADER_SIZE + 3 + size,
            )
        config = decoded(text, path=path, offset=HEADER_SIZE + 4, what="the configuration")
        return config, data[4 + size :]

    def read_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header; see :meth:`polyvisor.saveimage.SaveFormat.read_header`."""
        from polyvisor_libxl.definitions import xml_of

        header = self.bare_header(image, path=path)
        return attrs.evolve(header, xml=xml_of(header, path=path))

    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """Write a header; see :meth:`polyvisor.saveimage.SaveFormat.write_header`."""
        from polyvisor_libxl.definitions import json_of

        if compression != "none":
            raise Unsupported(
                f"save: images of the format {self.name!r} are not compressed, so compression "
                f"is 'none', not {compression!r}",
                feature="save.file",
            )
        if not was_running:
            raise Unsupported(
                f"save: images of the format {self.name!r} cannot say that a guest is to stay "
                f"paused",
                feature="save.file",
            )
        image.write(_header(_HOST, _STREAM_V2, json_of(spec.to_xml()), b""))
        return _nothing

    def header_for(self, header: ImageHeader) -> bytes:
        """See :meth:`polyvisor_libxl.images.XenImage.header_for`."""
        from polyvisor_libxl.definitions import json_of

        if header.was_running is False:
            raise SaveImageError(
                "an image of xl cannot say that a guest is to stay paused, as this one does; "
                "change that first (save-image-define --running)"
            )
        config = header.native if header.format == self.name else None
        cookie = header.cookie if header.format == self.name else None
        return _header(_HOST, _STREAM_V2, config or json_of(header.xml), cookie or b"")

    def with_definition(self, header: ImageHeader, xml: str) -> bytes:
        """See :meth:`polyvisor.saveimage.EditsDefinition.with_definition`."""
        from polyvisor_libxl.definitions import json_of

        if header.was_running is False:
            raise SaveImageError("an image of xl cannot say that a guest is to stay paused")
        stream = _STREAM_V2 if header.stream_version == MIGRATION_V2 else 0
        order = "<" if header.byte_order == "little" else ">"
        return _header(order, stream, json_of(xml), header.cookie or b"")


def _header(order: str, stream: int, config: str, rest: bytes) -> bytes:
    """Return a header.

    Args:
        order: of the integers, as :mod:`struct` has it.
        stream: the flag of the stream's version.
        config: the configuration.
        rest: what stands behind it in the optional data.
    """
    text = config.encode() + b"\0"
    data = struct.pack(f"{order}I", len(text)) + text + rest
    flags = stream | (_JSON if config.lstrip().startswith("{") else 0)
    return struct.pack(order + _LAYOUT, MAGIC, _BYTE_ORDER, flags, 0, len(data)) + data


def _nothing() -> None:
    """An image of this format carries no mark that it is unfinished."""
