"""What the guest's firmware tables say of the machine."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import Element, attr, child, children, element, text

__all__ = ["Sysinfo", "SysinfoEntry", "SysinfoTable"]


@element(kw_only=True)
class SysinfoEntry(Element):
    """One entry: ``<entry name='vendor'>LENOVO</entry>``; a string of the maker has no name."""

    name: str | None = attr()
    #: For ``fwcfg``: the file that holds the value.
    file: str | None = attr()
    value: str | None = text()


@element(kw_only=True)
class SysinfoTable(Element):
    """One table."""

    entries: tuple[SysinfoEntry, ...] = children(SysinfoEntry, "entry")


@element(kw_only=True)
class Sysinfo(Element):
    """What the guest's firmware tables say: ``<sysinfo>``."""

    type: Literal["smbios", "fwcfg"] | None = attr(choices(Literal["smbios", "fwcfg"]))
    #: For ``fwcfg``.
    entries: tuple[SysinfoEntry, ...] = children(SysinfoEntry, "entry")
    bios: SysinfoTable | None = child(SysinfoTable)
    system: SysinfoTable | None = child(SysinfoTable)
    base_boards: tuple[SysinfoTable, ...] = children(SysinfoTable, "baseBoard")
    chassis: SysinfoTable | None = child(SysinfoTable)
    oem_strings: SysinfoTable | None = child(SysinfoTable, "oemStrings")
