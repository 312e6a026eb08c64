"""Disks, and the block nodes behind them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polyvisor_qemu.builder import Builder

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk

__all__ = ["Disks"]

# The device model for a disk on each bus.
_DISK_MODELS = {
    "ide": "ide-hd",
    "sata": "ide-hd",
    "virtio": "virtio-blk-pci",
    "usb": "usb-storage",
    "scsi": "scsi-hd",
}
_CDROM_MODELS = {"ide": "ide-cd", "sata": "ide-cd", "scsi": "scsi-cd"}


class Disks(Builder):
    """Builds the disks."""

    def __init__(self, spec: DomainSpec) -> None:
        super().__init__(spec)
        self._boot = {dev: number for number, dev in enumerate(spec.os.boot, 1)}
        self._booted: set[str] = set()

    def disk(self, number: int, disk: Disk) -> None:
        """Add a disk with what is behind it."""
        bus = (disk.target.bus if disk.target is not None else None) or _bus_of(disk)
        floppy = disk.device == "floppy"
        cdrom = disk.device == "cdrom"
        models = _CDROM_MODELS if cdrom else _DISK_MODELS
        model = "floppy" if floppy else models.get(bus)
        if model is None:
            raise self.refuse(f"disk[{number}]", f"a {disk.device} on bus {bus!r} is not supported")
        if disk.readonly and bus in ("ide", "sata") and not (cdrom or floppy):
            raise self.refuse(
                f"disk[{number}]/readonly",
                f"an {bus} disk cannot be read-only; use bus='virtio' or device='cdrom'",
            )
        node = self.storage(number, disk)
        values: dict[str, Any] = {"id": f"disk{number}", "drive": node}
        if bus in ("ide", "sata") and not floppy:
            place = self.drive_place(number, disk)
            values["bus"] = f"ide.{place[0]}"
            if bus == "ide" and not self.q35:
                values["unit"] = place[1]
        if disk.serial:
            values["serial"] = disk.serial
        kind = "cdrom" if cdrom else "fd" if floppy else "hd"
        if disk.boot is None and kind in self._boot and kind not in self._booted:
            self._booted.add(kind)
            values["bootindex"] = self._boot[kind]
        if floppy:
            values.pop("bootindex", None)
        self.device(model, disk, **values)

    def drive_place(self, number: int, disk: Disk) -> tuple[int, int]:
        """Return controller and unit: as addressed, else by the letter of the target."""
        place: Any = disk.address
        if place is not None and place.__class__.__name__ == "DriveAddress":
            return (place.bus or 0, place.unit or 0) if not self.q35 else (place.unit or 0, 0)
        name = disk.target.dev if disk.target is not None else None
        letter = ord(name[2]) - ord("a") if name is not None and len(name) == 3 else number
        return (letter, 0) if self.q35 else (letter // 2, letter % 2)

    def storage(self, number: int, disk: Disk) -> str | None:
        """Add the block nodes behind a disk and return the name of the top one."""
        source = disk.source
        path = None if source is None else source.file if disk.type == "file" else source.dev
        if disk.type not in ("file", "block"):
            raise self.refuse(
                f"disk[{number}]/source", f"a disk of type {disk.type!r} is not supported yet"
            )
        if path is None:
            if disk.device in ("cdrom", "floppy"):
                return None
            raise self.refuse(f"disk[{number}]/source", "is missing; say which file it is")
        readonly = disk.readonly or disk.device == "cdrom"
        driver = disk.driver
        cache = driver.cache if driver is not None else None
        node: dict[str, Any] = {
            "driver": "file" if disk.type == "file" else "host_device",
            "filename": path,
            "node-name": f"storage{number}",
            "read-only": readonly,
            "discard": (driver.discard if driver is not None else None) or "unmap",
        }
        if readonly:
            node["auto-read-only"] = False
        if cache in ("none", "directsync"):
            node["cache"] = {"direct": True, "no-flush": False}
        elif cache == "unsafe":
            node["cache"] = {"direct": False, "no-flush": True}
        if driver is not None and driver.io is not None:
            node["aio"] = driver.io
        self.args += ["-blockdev", json.dumps(node, ensure_ascii=False)]
        layer = {
            "driver": (driver.type if driver is not None else None) or "raw",
            "node-name": f"format{number}",
            "read-only": readonly,
            "file": f"storage{number}",
        }
        self.args += ["-blockdev", json.dumps(layer, ensure_ascii=False)]
        return f"format{number}"


def _bus_of(disk: Disk) -> str:
    """Return the bus that the target's name stands for (virDiskNameToBusDeviceIndex)."""
    name = (disk.target.dev if disk.target is not None else None) or "hda"
    return {"hd": "ide", "sd": "scsi", "vd": "virtio", "fd": "fdc", "xv": "xen"}.get(
        name[:2], "ide"
    )
