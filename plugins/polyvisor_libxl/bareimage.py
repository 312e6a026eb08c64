"""Streams with no header in front, as xl and libxl hand them on: told by their own first bytes.

A legacy stream has nothing to be told by and has to be named, as ``xen-legacy-stream``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from polyvisor.saveimage import ImageHeader
from polyvisor_libxl.images import LEGACY, XenImage

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["LegacyStreamFormat", "LibxcStreamFormat", "LibxlStreamFormat"]


class LibxlStreamFormat(XenImage):
    """A stream of libxl's, with no definition."""

    name = "libxl-stream"
    #: What the stream is, whatever it looks like.
    stated: ClassVar[int | None] = None
    converts_to: ClassVar[tuple[str, ...]] = ("libxl-stream",)

    def bare_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Say that there is none."""
        return ImageHeader(self.name, 0, "", 0, stream_version=self.stated)

    read_header = bare_header

    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """Write nothing, since there is no header."""
        return _nothing

    def header_for(self, header: ImageHeader) -> bytes:
        """Return nothing, since there is no header."""
        return b""


class LegacyStreamFormat(LibxlStreamFormat):
    """A legacy stream."""

    name = "xen-legacy-stream"
    stated = LEGACY


class LibxcStreamFormat(LibxlStreamFormat):
    """A stream of libxc's, without libxl's around it."""

    name = "libxc-stream"
    converts_to: ClassVar[tuple[str, ...]] = ()


def _nothing() -> None:
    """There is nothing to complete."""
