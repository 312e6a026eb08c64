"""Configurations in a hypervisor's own language, such as ``xl.cfg``: read and written.

This is the registry of those formats, under the names that libvirt's
``domxml-from-native`` and ``domxml-to-native`` have for them. A format is announced by a
plugin with the hook ``polyvisor_native_formats`` and imported when it is needed. None
needs its hypervisor.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs

from polyvisor.errors import PluginError, SpecError, StorageError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.plugins import Registry

__all__ = ["MAX_SIZE", "NativeFormat", "NativeInfo", "formats", "identify", "load", "open_format"]

#: Longest configuration that is read, in bytes.
MAX_SIZE = 4 << 20


@attrs.frozen
class NativeInfo:
    """Announces a format without importing it.

    Attributes:
        name: libvirt's name for it, such as ``"xen-xl"``.
        summary: one line.
        suffixes: how names of such files usually end, such as ``(".cfg",)``.
        factory: ``"module:Class"`` of a :class:`NativeFormat`.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...]
    factory: str


class NativeFormat(ABC):
    """Reads and writes the configurations of one format."""

    #: As in :class:`NativeInfo`.
    name: ClassVar[str]

    @abstractmethod
    def recognises(self, data: bytes) -> bool:
        """Say whether ``data`` looks like this format; quick, and raises nothing."""

    @abstractmethod
    def read(self, data: bytes, *, path: str) -> DomainSpec:
        """Return the machine that a configuration describes.

        The text is data: nothing in it is run, and no file that it names is opened.

        Args:
            data: the whole configuration.
            path: where it is from, for error messages.

        Raises:
            SpecError: it is not of this format, or says what no definition can; names
                the line where the format has lines.
        """

    @abstractmethod
    def write(self, spec: DomainSpec) -> str:
        """Return the configuration of a machine.

        Raises:
            SpecError: it has something that this format cannot say.
        """


def formats(plugins: Registry | None = None) -> Mapping[str, NativeInfo]:
    """Return all formats by name.

    Args:
        plugins: the registry to ask; ``None`` means that of the configuration in force.
    """
    from polyvisor.connection import registry

    return (plugins or registry()).native_formats


def open_format(name: str, plugins: Registry | None = None) -> NativeFormat:
    """Return the format called ``name``.

    Args:
        name: as libvirt calls it.
        plugins: as for :func:`formats`.

    Raises:
        PluginError: no plugin offers it, or the one that does cannot be imported.
    """
    known = formats(plugins)
    info = known.get(name)
    if info is None:
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(sorted(known)) or "none"
        raise PluginError(
            f"no plugin offers the configuration format {name!r}{hint} (known: {listed})"
        )
    return _load(info)


def identify(data: bytes, *, path: str, plugins: Registry | None = None) -> NativeFormat:
    """Recognise the format of a configuration by what it says.

    Formats are asked in the order in which plugins announced them, those first that go
    with the end of the file's name.

    Args:
        data: the whole configuration.
        path: the file's name, also for the error message.
        plugins: as for :func:`formats`.

    Raises:
        SpecError: no format takes it for its own.
    """
    known = formats(plugins)
    for info in sorted(known.values(), key=lambda one: not path.endswith(one.suffixes)):
        found = _load(info)
        if found.recognises(data):
            return found
    listed = ", ".join(sorted(known)) or "none"
    raise SpecError(
        f"{path}: not a configuration that any plugin knows (known formats: {listed}); "
        f"name its format",
        fault="unknown format",
    )


def load(
    path: str | os.PathLike[str], name: str | None = None, *, plugins: Registry | None = None
) -> DomainSpec:
    """Return the machine that the configuration in a file describes.

    Args:
        path: the file.
        name: its format; ``None`` means to recognise it.
        plugins: as for :func:`formats`.

    Raises:
        StorageError: the file cannot be read.
        SpecError: it is wrong, longer than :data:`MAX_SIZE`, or of no known format.
    """
    place = os.fspath(path)
    try:
        with open(place, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise StorageError(
            f"cannot read the configuration {place}: {error.strerror}", path=place
        ) from error
    if len(data) > MAX_SIZE:
        raise SpecError(
            f"{place}: longer than a configuration may be ({MAX_SIZE} bytes)", fault="too long"
        )
    found = open_format(name, plugins) if name else identify(data, path=place, plugins=plugins)
    return found.read(data, path=place)


def _load(info: NativeInfo) -> NativeFormat:
    from polyvisor.plugins import load_object

    found = load_object(info.factory, info.name)()
    if not isinstance(found, NativeFormat):
        raise PluginError(f"{info.factory} is not a polyvisor.native.NativeFormat")
    return found
