"""What this machine's firmware says of it: its SMBIOS tables, as dmidecode(8) reads them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from polyvisor.errors import Unsupported
from polyvisor.model.sysinfo import HostSysinfo, SysinfoEntry, SysinfoTable

__all__ = ["machine_sysinfo"]

#: Kinds of table (SMBIOS specification, 7): BIOS, system, board, enclosure, processor, strings
#: of the maker, memory.
_KINDS = "0,1,2,3,4,11,17"
_PATIENCE = 20.0
_MAKER = {"manufacturer": "Manufacturer", "version": "Version", "serial": "Serial Number"}
#: libvirt's names of entries, in its order, by those of dmidecode, table by table.
_TABLES = {
    "BIOS Information": {
        "vendor": "Vendor", "version": "Version", "date": "Release Date",
        "release": "BIOS Revision",
    },
    "System Information": {
        "manufacturer": "Manufacturer", "product": "Product Name", "version": "Version",
        "serial": "Serial Number", "uuid": "UUID", "sku": "SKU Number", "family": "Family",
    },
    "Base Board Information": {
        "manufacturer": "Manufacturer", "product": "Product Name", "version": "Version",
        "serial": "Serial Number", "asset": "Asset Tag", "location": "Location In Chassis",
    },
    "Chassis Information": _MAKER | {"asset": "Asset Tag", "sku": "SKU Number"},
    "Processor Information": {
        "socket_destination": "Socket Designation", "type": "Type", "family": "Family",
        "manufacturer": "Manufacturer", "signature": "Signature", "version": "Version",
        "external_clock": "External Clock", "max_speed": "Max Speed", "status": "Status",
        "serial_number": "Serial Number", "part_number": "Part Number",
    },
    "Memory Device": {
        "size": "Size", "form_factor": "Form Factor", "locator": "Locator",
        "bank_locator": "Bank Locator", "type": "Type", "type_detail": "Type Detail",
        "speed": "Speed", "manufacturer": "Manufacturer", "serial_number": "Serial Number",
        "part_number": "Part Number",
    },
}  # fmt: skip


def machine_sysinfo() -> HostSysinfo:
    """Return what this machine's firmware says of it.

    Raises:
        Unsupported: it has no such tables, dmidecode is missing, or we may not read them.
    """
    program = shutil.which("dmidecode")
    if program is None:
        raise _none("dmidecode is not installed: apt install dmidecode")
    try:
        done = subprocess.run(
            [program, "-q", "-t", _KINDS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _none(str(error)) from error
    if done.returncode:
        raise _none((done.stderr.strip().splitlines() or ["dmidecode says nothing"])[-1])
    return _read(done.stdout)


def _none(why: str) -> Unsupported:
    said = f"Host SMBIOS information is not available: {why}"
    return Unsupported(said, feature="host.sysinfo", libvirt_number=67)


def _read(text: str) -> HostSysinfo:
    found: dict[str, list[SysinfoTable]] = {title: [] for title in _TABLES}
    strings: list[SysinfoEntry] = []
    for title, rows in _sections(text):
        if title == "OEM Strings":
            strings += [SysinfoEntry(value=value) for name, value in rows.items()
                        if name.startswith("String ")]  # fmt: skip
        elif title in _TABLES and rows.get("Size") != "No Module Installed":
            entries = tuple(
                SysinfoEntry(name=ours, value=rows[theirs])
                for ours, theirs in _TABLES[title].items()
                if rows.get(theirs)
            )
            if entries:
                found[title].append(SysinfoTable(entries=entries))
    bios, system, boards, chassis, processors, memory = found.values()
    return HostSysinfo(
        type="smbios",
        bios=next(iter(bios), None),
        system=next(iter(system), None),
        base_boards=tuple(boards),
        chassis=next(iter(chassis), None),
        processors=tuple(processors),
        memory_devices=tuple(memory),
        oem_strings=SysinfoTable(entries=tuple(strings)) if strings else None,
    )


def _sections(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each table: its title, and its rows but for those of lists."""
    title, rows = "", dict[str, str]()
    for line in (*text.splitlines(), ""):
        if not line.strip():
            if title:
                yield title, rows
            title, rows = "", {}
        elif not line.startswith("\t"):
            title = line.strip()
        elif not line.startswith("\t\t"):
            name, _, value = line.strip().partition(": ")
            rows[name] = value.strip()
