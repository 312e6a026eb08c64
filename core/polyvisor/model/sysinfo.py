"""What firmware tables say of a machine, a guest's or the host."""

from __future__ import annotations

from typing import ClassVar, Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import Element, attr, child, children, element, text
from polyvisor.model.document import Document

__all__ = ["HostSysinfo", "Sysinfo", "SysinfoEntry", "SysinfoTable"]


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


@element(kw_only=True)
class HostSysinfo(Document):
    """What the host's firmware tables say: ``<sysinfo>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "sysinfo"
    XML_TITLE: ClassVar[str] = "system information"

    type: Literal["smbios"] | None = attr(choices(Literal["smbios"]))
    bios: SysinfoTable | None = child(SysinfoTable)
    system: SysinfoTable | None = child(SysinfoTable)
    base_boards: tuple[SysinfoTable, ...] = children(SysinfoTable, "baseBoard")
    chassis: SysinfoTable | None = child(SysinfoTable)
    processors: tuple[SysinfoTable, ...] = children(SysinfoTable, "processor")
    memory_devices: tuple[SysinfoTable, ...] = children(SysinfoTable, "memory_device")
    oem_strings: SysinfoTable | None = child(SysinfoTable, "oemStrings")
