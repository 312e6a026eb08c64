"""``vmware-vmx``: the format itself, and where images are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polyvisor.errors import SpecError
from polyvisor.native import NativeFormat
from polyvisor_vmware.completion import completed
from polyvisor_vmware.reading import definition
from polyvisor_vmware.settings import Settings, formatted
from polyvisor_vmware.writing import entries

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["HARDWARE", "VmxFormat"]

#: The version of machines that are written: that of ESXi 6.5 and Workstation 14.
HARDWARE = 13

_MARK = re.compile(rb'^[ \t]*config\.version[ \t]*=[ \t]*"', re.MULTILINE | re.IGNORECASE)
#: A datastore's path as ESX sees it, and as its API and definitions have it.
_VOLUME = re.compile(r"/vmfs/volumes/([^/]+)/(.+)")
_DATASTORE = re.compile(r"\[([^\]/]+)\] ?(.+)")


class VmxFormat(NativeFormat):
    """Reads and writes ``vmx`` files.

    Args:
        folder: what images without a folder stand in, such as ``"[datastore] guest"``;
            ``None`` leaves their names as they are.
        hardware: the version of machines to write, ``virtualHW.version``.
    """

    name = "vmware-vmx"

    def __init__(self, folder: str | None = None, hardware: int = HARDWARE) -> None:
        self.folder = folder
        self.hardware = hardware

    def recognises(self, data: bytes) -> bool:
        """Say whether it sets ``config.version``, as all of them do."""
        return _MARK.search(data) is not None

    def read(self, data: bytes, *, path: str) -> DomainSpec:
        """Return the machine; see :meth:`polyvisor.native.NativeFormat.read`."""
        settings = Settings(data, path)
        try:
            spec = definition(settings, self.source)
            spec.to_xml()  # only the model knows all of what it can hold
        except SpecError as error:
            if error.message.startswith(f"{path}:"):
                raise
            fault = error.fault or error.message
            raise SpecError(
                f"{path}: {error.message}", line=error.line, element=error.element, fault=fault
            ) from error
        return spec

    def write(self, spec: DomainSpec) -> str:
        """Return the configuration; see :meth:`polyvisor.native.NativeFormat.write`."""
        return formatted(entries(completed(spec), self.file_name, self.hardware))

    def source(self, name: str) -> str:
        """Return the place of an image by its name in a file."""
        found = _VOLUME.fullmatch(name)
        if found is not None:
            return f"[{found[1]}] {found[2]}"
        if self.folder is None or name.startswith(("/", "[")):
            return name
        return f"{self.folder}/{name}"

    def file_name(self, source: str) -> str:
        """Return the name of an image by its place."""
        found = _DATASTORE.fullmatch(source)
        return source if found is None else f"/vmfs/volumes/{found[1]}/{found[2]}"
