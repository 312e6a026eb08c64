"""Checkpoints: bitmaps in qcow2 images, in which QEMU marks what is written.

As with libvirt (its kbase/internals/incremental-backup), each checkpoint has a bitmap of its
own on each disk, and all of them go on being marked: what has changed since a checkpoint is in
its bitmap alone, and to remove one is to remove its bitmap.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, PolyvisorError, StorageError, Unsupported
from polyvisor_qemu.imagetool import image_facts, qemu_img
from polyvisor_qemu.nodes import chain_of, disk_of
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import CheckpointSpec, DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["additions", "bitmaps", "changed", "check", "forget", "sound", "track", "untrack"]


def check(spec: DomainSpec, point: CheckpointSpec) -> None:
    """See :meth:`polyvisor.local.BacksUpDisks.check_tracking`."""
    marked = list(_marked(point))
    if not marked:
        raise _refused(spec, "none of its disks can be written to")
    for target, _ in marked:
        disk = disk_of(spec, target)
        form = (disk.driver.type if disk.driver is not None else None) or "raw"
        if form != "qcow2":
            raise _refused(spec, f"{target} is {form}, and only qcow2 keeps account of changes")


def _refused(spec: DomainSpec, why: str) -> Unsupported:
    return Unsupported(
        f"checkpoint of {spec.name!r}: {why}", feature="checkpoints", domain=spec.name
    )


def track(
    hypervisor: QemuHypervisor, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec
) -> None:
    """See :meth:`polyvisor.local.BacksUpDisks.track`."""
    if guest is not None:
        # Bitmaps are written into the images when QEMU ends in good order.
        guest.runtime["moved"] = True
        with hypervisor.monitor(guest) as monitor:
            monitor.execute("transaction", actions=additions(monitor, guest, point))
        return
    made: list[tuple[str, str]] = []
    try:
        for target, name in _marked(point):
            path = _path(spec, target)
            qemu_img("bitmap", "--add", path, name, path=path, what="keep a checkpoint in")
            made.append((path, name))
    except BaseException:
        for path, name in made:
            with suppress(PolyvisorError):
                _remove(path, name)
        raise


def additions(monitor: Monitor, guest: Guest, point: CheckpointSpec) -> list[dict[str, Any]]:
    """Return the actions of a transaction that begin to keep account."""
    return [
        {
            "type": "block-dirty-bitmap-add",
            "data": {"node": _node(monitor, guest, target), "name": name, "persistent": True},
        }
        for target, name in _marked(point)
    ]


def untrack(
    hypervisor: QemuHypervisor, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec
) -> None:
    """See :meth:`polyvisor.local.BacksUpDisks.untrack`."""
    if guest is None:
        for target, name in _marked(point):
            path = _path(spec, target)
            if os.path.exists(path) and name in _told(path):
                _remove(path, name)
        return
    with hypervisor.monitor(guest) as monitor:
        actions = []
        for target, name in _marked(point):
            node = _node(monitor, guest, target)
            if name in bitmaps(monitor, node):
                data = {"node": node, "name": name}
                actions.append({"type": "block-dirty-bitmap-remove", "data": data})
        if actions:
            guest.runtime["moved"] = True
            monitor.execute("transaction", actions=actions)


def changed(hypervisor: QemuHypervisor, guest: Guest, point: CheckpointSpec) -> dict[str, int]:
    """See :meth:`polyvisor.local.BacksUpDisks.changed`."""
    sizes = {}
    with hypervisor.monitor(guest) as monitor:
        for target, name in _marked(point):
            found = sound(monitor, _node(monitor, guest, target), name, guest, target)
            sizes[target] = int(found["count"])
    return sizes


def sound(monitor: Monitor, node: str, name: str, guest: Guest, target: str) -> dict[str, Any]:
    """Return what QEMU tells of a bitmap.

    Raises:
        HypervisorError: it is gone, or QEMU could not keep it up.
    """
    found = bitmaps(monitor, node).get(name)
    if found is None or found.get("inconsistent"):
        why = "is gone" if found is None else "is broken: QEMU did not end in good order"
        raise HypervisorError(
            f"the account of changes {name!r} of {target} of {guest.name!r} {why}; delete the "
            f"checkpoint and make a full backup",
            domain=guest.name,
        )
    return found


def bitmaps(monitor: Monitor, node: str) -> dict[str, dict[str, Any]]:
    """Return what QEMU tells of a node's bitmaps, by name."""
    for one in monitor.execute("query-named-block-nodes", flat=True):
        if one["node-name"] == node:
            return {found.get("name", ""): found for found in one.get("dirty-bitmaps", ())}
    return {}


def _marked(point: CheckpointSpec) -> Iterator[tuple[str, str]]:
    for disk in point.disks:
        if disk.checkpoint == "bitmap":
            yield disk.name, disk.bitmap or point.name or ""


def _node(monitor: Monitor, guest: Guest, target: str) -> str:
    return chain_of(monitor, guest.spec, disk_of(guest.spec, target))[0].node


def _path(spec: DomainSpec, target: str) -> str:
    source = disk_of(spec, target).source
    path = None if source is None else source.file or source.dev
    if path is None:
        raise StorageError(f"{target} of {spec.name!r} is not a file or device", domain=spec.name)
    return os.path.abspath(path)


def _told(path: str) -> set[str]:
    facts = image_facts(path).get("format-specific", {}).get("data", {})
    return {one["name"] for one in facts.get("bitmaps", ())}


def _remove(path: str, name: str) -> None:
    qemu_img("bitmap", "--remove", path, name, path=path, what="remove a checkpoint from")


def forget(monitor: Monitor, node: str, name: str) -> None:
    """Remove a bitmap if it is there."""
    with suppress(QmpError):
        monitor.execute("block-dirty-bitmap-remove", node=node, name=name)
