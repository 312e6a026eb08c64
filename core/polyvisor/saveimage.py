"""Save images: a versioned header, the domain's XML, and the hypervisor's own stream.

This is the registry of formats. A format is announced by a plugin with the hook
``polyvisor_save_formats`` and imported when an image of it is met.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["FormatInfo", "ImageHeader", "SaveFormat"]


@attrs.frozen
class FormatInfo:
    """Announces a format without importing it.

    Attributes:
        name: its short name, such as ``"libvirt-qemu"``.
        magics: first bytes by which images of the format are recognised.
        summary: one line.
        factory: ``"module:Class"`` of a :class:`SaveFormat`.
    """

    name: str
    magics: tuple[bytes, ...]
    summary: str
    factory: str


@attrs.frozen
class ImageHeader:
    """What stands before the stream.

    Attributes:
        format: name of the format.
        version: version in the header; 0 if the format has none.
        xml: the domain's definition as it stands in the image.
        stream_offset: byte position at which the hypervisor's stream begins.
        stream_version: version of that stream as the header states it, or ``None``.
        was_running: whether the guest is to run after restoring; ``None`` if not said.
        compression: ``"none"``, ``"gzip"`` …
        byte_order: ``"little"`` or ``"big"``.
        cookie: further bytes that the writer kept, or ``None``.
    """

    format: str
    version: int
    xml: str
    stream_offset: int
    stream_version: int | None = None
    was_running: bool | None = None
    compression: str = "none"
    byte_order: str = "little"
    cookie: bytes | None = None


class SaveFormat(ABC):
    """Reads and writes the header of one format."""

    #: Short name, as in :class:`FormatInfo`.
    name: ClassVar[str]

    @abstractmethod
    def read_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header of an image opened at its first byte.

        Every length is checked before it is believed.

        Args:
            image: readable; need not be seekable.
            path: for error messages.

        Raises:
            SaveImageError: damaged, unfinished, or of a version too new; names the
                byte offset and the fault.
        """

    @abstractmethod
    def write_header(
        self, image: BinaryIO, spec: DomainSpec, *, was_running: bool, compression: str
    ) -> Callable[[], None]:
        """Write a header for ``spec`` at the start of ``image`` (seekable, empty).

        Returns:
            What to call when the stream behind it is complete: formats that mark an
            unfinished image clear that mark there.
        """
