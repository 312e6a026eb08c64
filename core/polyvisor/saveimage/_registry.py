"""Formats: how they are announced, recognised and opened, and what a header says."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import attrs

from polyvisor.errors import InvalidArgument, PluginError, SaveImageError, StorageError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.plugins import Registry

__all__ = ["FormatInfo", "ImageHeader", "SaveFormat", "identify", "inspect", "open_format"]


@attrs.frozen
class FormatInfo:
    """Announces a format without importing it.

    Attributes:
        name: its short name, such as ``"libvirt-qemu"``.
        magics: first bytes by which images of the format are recognised; none if it has to
            be named.
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
        xml: the domain's definition; empty if the image has none.
        stream_offset: byte position at which the hypervisor's stream begins.
        stream_version: version of that stream as the header states it, or ``None``.
        was_running: whether the guest is to run after restoring; ``None`` if not said.
        compression: ``"none"``, ``"gzip"`` …
        byte_order: ``"little"`` or ``"big"``.
        cookie: further bytes that the writer kept, or ``None``.
        native: the definition in the hypervisor's own language, as it stands in the image,
            if it is not XML.
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
    native: str | None = None


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


def open_format(name: str, plugins: Registry | None = None) -> SaveFormat:
    """Return the format called ``name``.

    Args:
        name: short name of the format.
        plugins: the registry to ask; ``None`` means that of the configuration in force.

    Raises:
        PluginError: no plugin offers it, or the one that does cannot be imported.
    """
    from polyvisor.connection import registry

    formats = (plugins or registry()).formats
    info = formats.get(name)
    if info is None:
        known = ", ".join(sorted(formats)) or "none"
        raise PluginError(f"no plugin offers the save image format {name!r} (known: {known})")
    return _load(info)


def identify(image: BinaryIO, *, path: str, plugins: Registry | None = None) -> SaveFormat:
    """Recognise the format of an image by its first bytes, and put it back to its start.

    Args:
        image: opened at its first byte; a ``BufferedReader`` if it is not seekable.
        path: for the error message.
        plugins: as for :func:`open_format`.

    Raises:
        SaveImageError: no format has such a beginning.
    """
    from polyvisor.connection import registry

    formats = (plugins or registry()).formats
    longest = max((len(magic) for info in formats.values() for magic in info.magics), default=0)
    if image.seekable():
        head = image.read(longest)
        image.seek(0)
    else:
        head = _peek(image, longest)
    for info in formats.values():
        if any(head.startswith(magic) for magic in info.magics):
            return _load(info)
    what = "it is empty" if not head else f"it begins with {head[:16]!r}"
    known = ", ".join(sorted(formats)) or "none"
    raise SaveImageError(
        f"{path}: not a save image that any plugin knows: {what} (known formats: {known})",
        path=path,
        offset=0,
    )


def inspect(path: str | os.PathLike[str], *, plugins: Registry | None = None) -> ImageHeader:
    """Read the header of the image at ``path``.

    Raises:
        StorageError: the file cannot be read.
        SaveImageError: it is damaged or of no known format.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as image:
            return identify(image, path=name, plugins=plugins).read_header(image, path=name)
    except OSError as error:
        raise StorageError(
            f"cannot read the save image {name}: {error.strerror}", path=name
        ) from error


def _peek(image: BinaryIO, size: int) -> bytes:
    """Return the first bytes of a pipe without taking them, as many as one read gives."""
    if not isinstance(image, io.BufferedReader):
        raise InvalidArgument(
            "a save image that cannot be put back to its start is given as a BufferedReader"
        )
    return image.peek(size)[:size]


def _load(info: FormatInfo) -> SaveFormat:
    from polyvisor.plugins import load_object

    found = load_object(info.factory, info.name)()
    if not isinstance(found, SaveFormat):
        raise PluginError(f"{info.factory} is not a polyvisor.saveimage.SaveFormat")
    return found
