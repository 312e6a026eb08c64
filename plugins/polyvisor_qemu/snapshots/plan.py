"""What a snapshot does with each disk, as libvirt decides it (qemu_snapshot.c)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import AlreadyExists, SemanticError, StorageError, Unsupported
from polyvisor.model.devices.disk_source import DiskSource
from polyvisor.model.snapshot import (
    SnapshotDisk,
    SnapshotDiskDriver,
    SnapshotDisks,
    SnapshotMemory,
)

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec, SnapshotSpec
    from polyvisor.model.devices.disk import Disk

__all__ = ["plan"]


def plan(
    spec: DomainSpec, wanted: SnapshotSpec, *, active: bool, disk_only: bool, reuse: bool
) -> SnapshotSpec:
    """See :meth:`polyvisor.local.SnapshotsDisks.plan_snapshot`."""
    memory = wanted.memory.mode if wanted.memory is not None else None
    if not active or disk_only:
        if memory not in (None, "no"):
            raise _refused(spec, "there is no memory to keep: leave <memory> out")
        memory = "no"
        disk_only = disk_only or (
            not active and any(d.snapshot == "external" for d in wanted.disks)
        )
    elif memory == "no":
        disk_only = True
    outside = disk_only or memory == "external"
    disks = _disks(spec, wanted, "external" if outside else "internal")
    kinds = {disk.snapshot for disk in disks} - {"no"}
    if kinds == {"internal", "external"} or (outside and "internal" in kinds):
        raise _refused(spec, "some disks would be kept inside, others outside: choose one way")
    if not kinds:
        raise _refused(spec, "it has no disk that could be kept")
    if active and not outside:
        if "external" in kinds:
            raise _refused(
                spec, "with disks in new images its memory goes into a file, or say disk only"
            )
        memory = "internal"
        firmware = spec.os.loader is not None and spec.os.loader.type == "pflash"
        if firmware or spec.os.firmware == "efi":
            raise _refused(
                spec, "variables of UEFI are not in its disks; give the memory a file of its own"
            )
    if "internal" in kinds:
        _check_inside(spec, disks)
    else:
        disks = tuple(_outside(spec, one, wanted.name or "", reuse=reuse) for one in disks)
        file = wanted.memory.file if wanted.memory is not None else None
        if file is not None and not reuse and os.path.lexists(file):
            raise AlreadyExists(f"snapshot of {spec.name!r}: {file} is there", domain=spec.name)
    kept = SnapshotMemory(snapshot=memory, file=wanted.memory.file if wanted.memory else None)
    return attrs.evolve(wanted, memory=kept, disk_list=SnapshotDisks(disks=disks))


def _refused(spec: DomainSpec, why: str) -> Unsupported:
    return Unsupported(
        f"snapshot of {spec.name!r}: {why}", feature="snapshots.disk", domain=spec.name
    )


def _disks(spec: DomainSpec, wanted: SnapshotSpec, usual: Any) -> tuple[SnapshotDisk, ...]:
    said = {disk.name: disk for disk in wanted.disks}
    found = []
    for disk in spec.devices.disks:
        target = (disk.target.dev if disk.target is not None else None) or ""
        path = _path(disk)
        one = said.pop(target, None) or said.pop(path or "", None) or SnapshotDisk(name=target)
        kind = one.snapshot or disk.snapshot
        if kind is None:
            fixed = disk.readonly or disk.device == "cdrom"
            empty = path is None and disk.type in ("file", "block")
            kind = "no" if fixed or empty else usual
        if kind != "no" and disk.readonly:
            raise _refused(spec, f"{target} is read-only: there is nothing to keep")
        if kind == "manual":
            raise _refused(spec, f"{target} is to be kept by hand, which is not known here")
        if kind != "no" and path is None:
            raise _refused(spec, f"{target} is not a file or device")
        found.append(attrs.evolve(one, name=target, snapshot=kind))
    if said:
        name = next(iter(said))
        raise SemanticError(
            f"snapshot of {spec.name!r}: it has no disk {name!r}",
            domain=spec.name,
            element="domainsnapshot/disks/disk",
            fault=f"no disk {name!r}",
        )
    return tuple(found)


def _check_inside(spec: DomainSpec, disks: tuple[SnapshotDisk, ...]) -> None:
    for one, disk in zip(disks, spec.devices.disks, strict=True):
        form = _format(disk)
        if one.snapshot == "internal" and form != "qcow2":
            raise _refused(
                spec,
                f"{one.name} is {form}, and only qcow2 holds snapshots; take an external one "
                f"(of the disks only, or with a file for the memory), or leave the disk out",
            )


def _outside(spec: DomainSpec, one: SnapshotDisk, name: str, *, reuse: bool) -> SnapshotDisk:
    """Return a disk with the new image that it goes on in (virDomainSnapshotAlignDisks)."""
    if one.snapshot != "external":
        return attrs.evolve(one, type=None, driver=None, source=None)
    form = (one.driver.type if one.driver is not None else None) or "qcow2"
    if form != "qcow2" or (one.type or "file") != "file":
        raise _refused(spec, f"{one.name} can go on in a qcow2 file only")
    path = one.source.file if one.source is not None else None
    if path is None:
        disk = next(d for d in spec.devices.disks if d.target and d.target.dev == one.name)
        base = _path(disk) or ""
        if disk.type != "file":
            raise _refused(spec, f"{one.name} is {base}: say which file it goes on in")
        folder, file = os.path.split(base)
        stem = file.rpartition(".")[0] or file
        path = f"{folder}/{stem}.{name}"
    path = os.path.abspath(path)
    there = os.path.lexists(path)
    if there and not reuse:
        raise AlreadyExists(
            f"snapshot of {spec.name!r}: {path}, in which {one.name} would go on, is there; "
            f"choose another name or reuse it",
            domain=spec.name,
        )
    if reuse and not there:
        raise StorageError(f"snapshot of {spec.name!r}: {path} is missing", path=path)
    source = attrs.evolve(one.source or DiskSource(), file=path)
    return attrs.evolve(one, type="file", driver=SnapshotDiskDriver(type=form), source=source)


def _path(disk: Disk) -> str | None:
    return None if disk.source is None else disk.source.file or disk.source.dev


def _format(disk: Disk) -> str:
    return (disk.driver.type if disk.driver is not None else None) or "raw"
