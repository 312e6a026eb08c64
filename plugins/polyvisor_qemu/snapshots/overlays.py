"""New images over those that disks have."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.errors import StorageError
from polyvisor_qemu.imagetool import create_over
from polyvisor_qemu.nodes import chain_of, disk_of, node_of, opened
from polyvisor_qemu.nodes import drop as drop_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec, SnapshotSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["drop", "make", "switch", "switched"]


def make(
    hypervisor: QemuHypervisor,
    guest: Guest | None,
    spec: DomainSpec,
    plan: SnapshotSpec,
    *,
    reuse: bool,
) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.make_overlays`."""
    made: list[str] = []
    try:
        for name, path in _outside(plan):
            if guest is not None:
                with hypervisor.monitor(guest) as monitor:
                    below = chain_of(monitor, spec, disk_of(spec, name))[0]
                    opened(
                        monitor, path, "qcow2", below.size, backing=below, reuse=reuse, apart=True
                    )
            elif not reuse:
                disk = disk_of(spec, name)
                assert disk.source is not None
                base = os.path.abspath(disk.source.file or disk.source.dev or "")
                form = disk.driver.type if disk.driver is not None else None
                create_over(path, base, form or "raw")
            made.append(path)
    except BaseException:
        for path in made:
            _remove(hypervisor, guest, path, reuse=reuse)
        raise


def drop(
    hypervisor: QemuHypervisor, guest: Guest | None, plan: SnapshotSpec, *, reuse: bool
) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.drop_overlays`."""
    for _, path in _outside(plan):
        _remove(hypervisor, guest, path, reuse=reuse)


def switch(hypervisor: QemuHypervisor, guest: Guest, plan: SnapshotSpec) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.switch`."""
    guest.runtime["moved"] = True
    with hypervisor.monitor(guest) as monitor:
        actions = []
        for name, path in _outside(plan):
            overlay = node_of(monitor, path)
            if overlay is None:
                raise StorageError(f"QEMU has {path} open no more", path=path)
            below = chain_of(monitor, guest.spec, disk_of(guest.spec, name))[0]
            data = {"node": below.node, "overlay": overlay}
            actions.append({"type": "blockdev-snapshot", "data": data})
        monitor.execute("transaction", actions=actions)


def switched(hypervisor: QemuHypervisor, guest: Guest, plan: SnapshotSpec) -> bool:
    """See :meth:`polyvisor.local.SnapshotsDisks.switched`; it is all of them or none."""
    guest.runtime["moved"] = True
    with hypervisor.monitor(guest) as monitor:
        for name, path in _outside(plan):
            return chain_of(monitor, guest.spec, disk_of(guest.spec, name))[0].path == path
    return False


def _remove(hypervisor: QemuHypervisor, guest: Guest | None, path: str, *, reuse: bool) -> None:
    if guest is not None:
        with hypervisor.monitor(guest) as monitor:
            node = node_of(monitor, path)
            drop_node(monitor, node if node is not None else "", path=path)
    if not reuse:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def _outside(plan: SnapshotSpec) -> Iterator[tuple[str, str]]:
    for disk in plan.disks:
        if disk.snapshot == "external" and disk.source is not None and disk.source.file:
            yield disk.name, disk.source.file
