"""What the name of a disk says: its number, its bus and its place there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import Disk

__all__ = ["BUSES", "PLACES", "disk_bus", "disk_index"]

#: What a target's name says of the bus (virDomainDiskDefPostParse).
BUSES = {"hd": "ide", "sd": "scsi", "vd": "virtio", "xvd": "xen", "ubd": "uml"}
#: How many disks one controller has place for, and one of its buses.
PLACES = {"ide": (4, 2), "sata": (6, 6), "fdc": (2, 2), "scsi": (7, 7)}


def disk_index(name: str | None) -> int:
    """Return the number of a disk by its name: 2 for ``"hdc"``, -1 when it has none."""
    for prefix in ("fd", "hd", "vd", "sd", "xvd", "ubd"):
        if name is not None and name.startswith(prefix):
            letters = name[len(prefix) :].rstrip("0123456789")
            if not letters or not (letters.isascii() and letters.isalpha() and letters.islower()):
                return -1
            number = 0
            for letter in letters[:8]:
                number = number * 26 + ord(letter) - ord("a") + 1
            return number - 1
    return -1


def disk_bus(disk: Disk) -> str:
    """Return the bus of a disk: the one given, or what its name and kind say."""
    target = disk.target
    if target is not None and target.bus is not None:
        return target.bus
    name = None if target is None else target.dev
    if disk.device == "floppy":
        return "fdc"
    for prefix, bus in BUSES.items():
        if name is not None and name.startswith(prefix):
            return bus
    return "ide"
