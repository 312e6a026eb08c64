"""Disks as the guest sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor_qemu.cmdline.names import target_index
from polyvisor_qemu.cmdline.storage import CACHES, Nodes, cache_of, storage
from polyvisor_qemu.cmdline.words import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor_qemu.cmdline.context import Context

__all__ = ["disks", "floppies", "limits"]

_CLASSES = {"cdrom": "cdrom", "floppy": "fd", "disk": "hd", "lun": "hd"}
#: Limits of a disk and QEMU's names for them (block_set_io_throttle, qapi/block-core.json).
_LIMITS = {
    "total_bytes_sec": "bps", "read_bytes_sec": "bps_rd", "write_bytes_sec": "bps_wr",
    "total_iops_sec": "iops", "read_iops_sec": "iops_rd", "write_iops_sec": "iops_wr",
}  # fmt: skip
_MORE_LIMITS = {
    **{f"{ours}_max": f"{theirs}_max" for ours, theirs in _LIMITS.items()},
    **{f"{ours}_max_length": f"{theirs}_max_length" for ours, theirs in _LIMITS.items()},
    "size_iops_sec": "iops_size",
}


def floppies(c: Context) -> None:
    """Add the floppy controller's part in the boot order."""
    held = [one for one in c.spec.devices.disks if one.device == "floppy"]
    order: dict[str, int] = {}
    for disk in held:
        at: Any = disk.address
        unit = at.unit or 0 if at is not None else 0
        place = disk.boot.order if disk.boot is not None and disk.boot.order else None
        place = place or c.boot.pop("fd", None)
        if place:
            order[f"bootindex{'AB'[unit]}"] = place
    if c.machine.q35 and held:
        c.line.json("device", {"driver": "isa-fdc", **order})
    else:
        for key, value in order.items():
            c.line.add("global", f"isa-fdc.{key}={value}")


def disks(c: Context, nodes: Nodes) -> None:
    """Add all disks with what is behind them."""
    for place, disk in enumerate(c.spec.devices.disks):
        _disk(c, place, disk, nodes)


def _disk(c: Context, place: int, disk: Any, nodes: Nodes) -> None:
    bus = disk.target.bus if disk.target is not None else None
    name = c.names.disk(disk)
    if disk.type == "vhostuser":
        _served(c, disk, name)
        return
    if disk.readonly and bus in ("ide", "sata") and disk.device == "disk":
        raise c.refuse(
            f"disk[{place}]/readonly",
            f"an {bus} disk cannot be read-only; use bus='virtio' or device='cdrom'",
        )
    if bus not in ("ide", "sata", "scsi", "virtio", "usb", "fdc", "sd"):
        raise c.refuse(f"disk[{place}]", f"a {disk.device} on bus {bus!r} is not supported")
    if bus == "sd":
        _card(c, place, disk)
        return
    node = storage(c, place, disk, nodes.of(place))
    values: dict[str, Any] = {"drive": node}
    order = None
    if disk.device != "floppy":
        order = c.boot.pop(_CLASSES[disk.device], None) if disk.boot is None else None
    values["bootindex"] = order
    if disk.shareable:
        values["share-rw"] = True
    cache = cache_of(disk)
    if cache in CACHES and disk.device not in ("cdrom", "floppy"):
        values["write-cache"] = "on" if CACHES[cache][2] else "off"
    values |= _facts(disk)
    kind, bus_values = _model(c, place, disk, bus, name)
    at = disk.address
    if at is not None and at.type == "drive":
        bus_values["id"] = name
    if kind == "virtio-blk":
        c.virtio(kind, disk, name, **{k.replace("-", "__"): v for k, v in bus_values.items()},
                 **{k.replace("-", "__"): v for k, v in values.items()})  # fmt: skip
    else:
        bus_values.pop("id", None)
        if disk.device == "floppy":
            # Its place in the boot order is the controller's.
            values.pop("bootindex")
            disk = attrs.evolve(disk, boot=None)
        c.device(kind, disk, name, **{k.replace("-", "__"): v for k, v in bus_values.items()},
                 **{k.replace("-", "__"): v for k, v in values.items()})  # fmt: skip
    _throttle(c, disk, name)


def _model(c: Context, place: int, disk: Any, bus: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return QEMU's device for a disk and where it hangs (qemuBuildDiskDeviceProps)."""
    at, driver = disk.address, disk.driver
    cdrom = disk.device == "cdrom"
    if bus in ("ide", "sata"):
        controller = c.names.controller(bus, at.controller)
        if bus == "sata":
            return ("ide-cd" if cdrom else "ide-hd"), {"bus": f"{controller}.{at.unit or 0}"}
        return (
            "ide-cd" if cdrom else "ide-hd",
            {"bus": f"{controller}.{at.bus or 0}", "unit": at.unit or 0},
        )
    if bus == "scsi":
        lun = disk.device == "lun"
        kind = "scsi-block" if lun else "scsi-cd" if cdrom else "scsi-hd"
        controller = c.names.controller("scsi", at.controller)
        model = next(
            (one.model for one in c.spec.devices.controllers
             if one.type == "scsi" and (one.index or 0) == (at.controller or 0)), None,
        )  # fmt: skip
        values: dict[str, Any] = {"bus": f"{controller}.0"}
        if model == "lsilogic":
            values["scsi-id"] = at.unit or 0
        else:
            values |= {"channel": at.bus or 0, "scsi-id": at.target or 0, "lun": at.unit or 0}
        if not lun:
            values["device_id"] = disk.serial or f"drive-{name}"
        return kind, values
    if bus == "virtio":
        values = {}
        if driver is not None:
            values = {
                "iothread": f"iothread{driver.iothread}" if driver.iothread else None,
                "ioeventfd": driver.ioeventfd, "event_idx": driver.event_idx,
                "num-queues": driver.queues, "queue-size": driver.queue_size,
            }  # fmt: skip
        if disk.device == "lun":
            values["scsi"] = True
        return "virtio-blk", values
    if bus == "usb":
        return "usb-storage", {"removable": bool(disk.target.removable)}
    return "floppy", {"unit": (at.unit or 0) if at is not None else 0}


def _facts(disk: Any) -> dict[str, Any]:
    """Return what the disk says of itself to the guest, and what is done about errors."""
    values: dict[str, Any] = {
        "serial": disk.serial, "vendor": disk.vendor, "product": disk.product,
        "wwn": int(disk.wwn, 16) if disk.wwn else None,
        "rotation_rate": disk.target.rotation_rate,
    }  # fmt: skip
    if disk.geometry is not None and disk.geometry.cyls:
        shape = disk.geometry
        values |= {"cyls": shape.cyls, "heads": shape.heads, "secs": shape.secs,
                   "bios-chs-trans": shape.trans}  # fmt: skip
    if disk.blockio is not None:
        values |= {
            "logical_block_size": disk.blockio.logical_block_size or None,
            "physical_block_size": disk.blockio.physical_block_size or None,
        }
    driver = disk.driver
    if driver is not None and (driver.error_policy or driver.rerror_policy):
        write = {"enospace": "enospc"}.get(driver.error_policy or "", driver.error_policy)
        read = driver.rerror_policy
        if read is None and driver.error_policy != "enospace":
            read = driver.error_policy
        values |= {"werror": write, "rerror": read}
    return values


def limits(given: Mapping[str, int | None]) -> dict[str, int]:
    """Return limits of a disk, by libvirt's names, as QEMU wants to be told of them."""
    wanted = {theirs: given.get(ours) or 0 for ours, theirs in _LIMITS.items()}
    for ours, theirs in _MORE_LIMITS.items():
        value = given.get(ours)
        if value:
            wanted[theirs] = value
    return wanted


def _throttle(c: Context, disk: Any, name: str) -> None:
    """Have a disk's limits set before the guest runs."""
    tune = disk.iotune
    if tune is None:
        return
    wanted = limits({ours: getattr(tune, ours) for ours in (*_LIMITS, *_MORE_LIMITS)})
    if any(wanted.values()):
        group = {"group": tune.group_name} if tune.group_name else {}
        # A virtio disk's back end is a device within its device.
        inner = f"/machine/peripheral/{name}/virtio-backend"
        owner = inner if disk.target.bus == "virtio" else name
        c.line.commands.append(("block_set_io_throttle", {"id": owner, **wanted, **group}))


def _served(c: Context, disk: Any, name: str) -> None:
    """Add a disk that another process serves through vhost-user."""
    source = disk.source
    again = source.reconnect
    seconds = again.timeout if again is not None and again.enabled else None
    end = f"chr-vu-{name}"
    c.line.add(
        "chardev", joined("socket", id=end, path=source.path or source.dev, reconnect=seconds)
    )
    order = c.boot.pop("hd", None) if disk.boot is None else None
    driver = disk.driver
    queues = {"num__queues": driver.queues} if driver is not None and driver.queues else {}
    if driver is not None and driver.queue_size:
        queues["queue__size"] = driver.queue_size
    c.virtio("vhost-user-blk", disk, name, chardev=end, bootindex=order, **queues)


def _card(c: Context, place: int, disk: Any) -> None:
    """Add an SD card: the boards that have slots for them know no block nodes."""
    path = disk.source.file or disk.source.dev if disk.source is not None else None
    if path is None:
        raise c.refuse(f"disk[{place}]/source", "is missing; say which file it is")
    kind = (disk.driver.type if disk.driver is not None else None) or "raw"
    index = target_index(disk.target.dev)
    words = {"file": path, "format": kind, "if_": "sd", "index": index}
    c.line.add("drive", joined(**words, readonly=True if disk.readonly else None))
