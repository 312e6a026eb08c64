"""Offsets of disks' files beyond which a write is told of (QMP's ``block-set-write-threshold``).

QEMU tells the node alone. Whose it is stands in a file of the guest's run folder, which any
process that watches can read.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor_qemu.nodes import plain_path

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor_qemu.qmp import Monitor

__all__ = ["crossed", "set_threshold"]

#: Drivers of nodes that are files or devices themselves.
_PROTOCOLS = ("file", "host_device")


def _mark(guest: Guest, node: str) -> str:
    return f"{guest.run_dir}/threshold-{node.replace('/', '_')}"


def set_threshold(monitor: Monitor, guest: Guest, disk: str, path: str, threshold: int) -> None:
    """Set the threshold of a disk's own file.

    Args:
        monitor: the guest's.
        guest: the guest.
        disk: the disk's target.
        path: the file.
        threshold: the offset in bytes; 0: none.

    Raises:
        HypervisorError: QEMU does not have the file open as such.
    """
    named = monitor.execute("query-named-block-nodes", flat=True)
    node = next(
        (
            one["node-name"]
            for one in named
            if one["drv"] in _PROTOCOLS and plain_path(one["file"]) == path
        ),
        None,
    )
    if node is None:
        raise HypervisorError(
            f"set a threshold of {guest.name!r}: QEMU has no file {path} open for {disk!r}",
            domain=guest.name,
        )
    with open(f"{_mark(guest, node)}.part", "w", encoding="utf-8") as file:
        json.dump({"disk": disk, "path": path}, file)
    os.replace(file.name, _mark(guest, node))
    given: dict[str, Any] = {"node-name": node, "write-threshold": threshold}
    monitor.execute("block-set-write-threshold", **given)


def crossed(guest: Guest, data: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is told of a threshold that was crossed; ``None``: it is not one of ours."""
    try:
        with open(_mark(guest, str(data["node-name"])), encoding="utf-8") as file:
            found = json.load(file)
        return {
            **found,
            "threshold": int(data["write-threshold"]),
            "excess": int(data["amount-exceeded"]),
        }
    except (OSError, ValueError, KeyError):
        return None
