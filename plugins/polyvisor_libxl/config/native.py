"""What the formats of Xen's configurations share as formats."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING

from polyvisor.errors import SpecError
from polyvisor.native import NativeFormat
from polyvisor_libxl.completion import Kind, completed, kind_of
from polyvisor_libxl.config.grammar import Entry, format_entries, parse
from polyvisor_libxl.config.reading import kind
from polyvisor_libxl.config.settings import Settings

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["XenFormat"]

_NAMED = re.compile(rb"^[ \t]*name[ \t]*=[ \t]*[\"']", re.MULTILINE)
#: Tables, and sizes with units: a definition in TOML, which may set a name in the same way.
_TOML = re.compile(rb"(?m)^[ \t]*(?:\[[^\]\n]*\]\]?[ \t]*\r?$|memory[ \t]*=[ \t]*[\"'])")
#: What configurations of other hypervisors begin with.
_FOREIGN = re.compile(rb"\s*(?:<|\{|\.encoding|lxc\.)")


class XenFormat(NativeFormat):
    """A format that sets names, one of which is ``name``."""

    def recognises(self, data: bytes) -> bool:
        """Say whether ``name`` is set to a text on a line of its own, and nothing is TOML's."""
        return not (_FOREIGN.match(data) or _TOML.search(data)) and bool(_NAMED.search(data))

    def read(self, data: bytes, *, path: str) -> DomainSpec:
        """Return the machine; see :meth:`polyvisor.native.NativeFormat.read`."""
        settings = Settings(parse(data, path=path), path)
        guest = kind(settings)
        try:
            spec = completed(self.definition(settings, guest))
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
        spec = completed(spec)
        return format_entries(self.entries(spec, kind_of(spec)), long_text=self.long_text)

    #: Whether text in three quotes may be written.
    long_text = False

    @abstractmethod
    def definition(self, settings: Settings, guest: Kind) -> DomainSpec:
        """Return the definition that a configuration states, not completed yet."""

    @abstractmethod
    def entries(self, spec: DomainSpec, guest: Kind) -> dict[str, Entry]:
        """Return what to set for a completed definition."""
