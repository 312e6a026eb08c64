"""Figures of running guests' disks: the group ``block`` of ``virsh domstats``.

Each is a device of its own; with the images below it (``--backing``), each image is one, of
which those below have sizes alone, as libvirt has it (``qemuDomainGetStatsBlockExportDisk``).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor_qemu.naming import disk_names, qdev_name
from polyvisor_qemu.nodes import plain_path

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk

__all__ = ["blocks", "local_sizes"]

_BLOCK = {
    "rd.reqs": "rd_operations",
    "rd.bytes": "rd_bytes",
    "rd.times": "rd_total_time_ns",
    "wr.reqs": "wr_operations",
    "wr.bytes": "wr_bytes",
    "wr.times": "wr_total_time_ns",
    "fl.reqs": "flush_operations",
    "fl.times": "flush_total_time_ns",
}
#: Nodes that have a number are named so; those that QEMU opened itself have none.
_NUMBERED = re.compile(r"libvirt-(\d+)-format")


def blocks(
    spec: DomainSpec,
    nodes: Sequence[dict[str, Any]] | None,
    counts: Sequence[dict[str, Any]],
    sizes: Sequence[tuple[int, int]] | None,
    *,
    backing: bool,
) -> dict[str, Any]:
    """Return the figures of a guest's disks.

    Args:
        spec: the guest.
        nodes: what QEMU answers to ``query-block``, if it was asked.
        counts: and to ``query-blockstats``.
        sizes: capacity and size of the image of each disk, if QEMU need not be asked for them.
        backing: count each image of a chain; needs ``nodes``.
    """
    figures: dict[str, Any] = {"block.count": 0}
    counted = {qdev_name(one): one for one in counts}
    by_device = {qdev_name(one): one for one in nodes or ()}
    number = 0
    for place, disk in enumerate(spec.devices.disks):
        path = disk.source.file or disk.source.dev if disk.source is not None else None
        name = next((one for one in disk_names(disk) if one in counted or one in by_device), None)
        told = counted.get(name or "", {})
        size = image = None
        if name in by_device and "inserted" in by_device[name]:
            image = by_device[name]["inserted"]["image"]
        if sizes is not None:
            size = sizes[place]
        elif image is not None:
            size = _told_sizes(image)
        figures |= _header(number, disk, path, told)
        if name is not None:
            done = told.get("stats", {})
            for ours, theirs in _BLOCK.items():
                figures[f"block.{number}.{ours}"] = done.get(theirs, 0)
        figures |= _sizes(number, told, size)
        number += 1
        if backing and image is not None:
            for counts_below, below in _below(told, image):
                figures |= _header(number, disk, plain_path(below["filename"]), counts_below)
                figures |= _sizes(number, counts_below, _told_sizes(below))
                number += 1
    figures["block.count"] = number
    return figures


def _header(number: int, disk: Disk, path: str | None, told: Mapping[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if disk.target is not None:
        figures[f"block.{number}.name"] = disk.target.dev
    if path is not None:
        figures[f"block.{number}.path"] = path
    numbered = _NUMBERED.fullmatch(told.get("node-name", ""))
    if numbered is not None:
        figures[f"block.{number}.backingIndex"] = int(numbered[1])
    return figures


def _sizes(number: int, told: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    if size is None:
        return {}
    # The highest place that was written to, in the file and not as the guest sees it.
    written = told.get("parent", {}).get("stats", {}).get("wr_highest_offset", 0)
    return {
        f"block.{number}.allocation": written,
        f"block.{number}.capacity": size[0],
        f"block.{number}.physical": size[1],
    }


def _below(
    told: Mapping[str, Any], image: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Return the images below one, with what was counted of each."""
    found = []
    while (below := image.get("backing-image")) is not None:
        told = told.get("backing", {})
        found.append((told, below))
        image = below
    return found


def _told_sizes(image: Mapping[str, Any]) -> tuple[int, int]:
    """Return capacity and size of an image that QEMU tells of."""
    capacity: int = image["virtual-size"]
    return capacity, image.get("actual-size", capacity)


def local_sizes(disk: Disk) -> tuple[int, int] | None:
    """Return capacity and size of a disk's image, if it is a file that says so itself.

    A medium that the guest can take out may not be in; only QEMU knows.
    """
    source, driver = disk.source, disk.driver
    form = driver.type if driver is not None else None
    if disk.device not in (None, "disk") or source is None or source.file is None:
        return None
    if form not in ("raw", "qcow2") or source.slices is not None:
        return None
    if source.encryption is not None or disk.encryption is not None:
        return None
    with suppress(OSError):
        fd = os.open(source.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return None
            if form == "raw":
                # QEMU counts sectors.
                return -(-seen.st_size // 512) * 512, seen.st_blocks * 512
            head = os.pread(fd, 32, 0)
        finally:
            os.close(fd)
        # docs/interop/qcow2.txt: magic, and the size at byte 24.
        if len(head) == 32 and head.startswith(b"QFI\xfb"):
            return int.from_bytes(head[24:32], "big"), seen.st_blocks * 512
    return None
