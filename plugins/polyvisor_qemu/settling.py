"""Disks whose images are settled anew at each start: volumes of pools, and transient ones.

The running definition has the image itself. A transient disk writes to an overlay beside its
image, under libvirt's name for it, which is thrown away once the guest is gone: its path is in
the run folder before it is made, so that whoever clears a guest away knows of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import OperationInvalid, PolyvisorError, SemanticError, StorageError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk

__all__ = ["Volumes", "discard", "refuse_transient", "settled", "volume_found"]

#: Gives the file of a volume by the names of its pool and its own.
Volumes = Callable[[str, str], str]
#: File of the run folder with the paths of overlays.
_LISTED = "overlays"


def settled(spec: DomainSpec, run_dir: str, volumes: Volumes | None) -> DomainSpec:
    """Return a definition with the images of such disks; overlays are made.

    Args:
        spec: the definition that is to be started.
        run_dir: the guest's run folder.
        volumes: finds volumes.

    Raises:
        PolyvisorError: there is no such volume, or the overlay cannot be made.
    """
    disks: list[Disk] = []
    for disk in spec.devices.disks:
        found = volume_found(spec, disk, volumes)
        if found.transient is not None:
            found = _overlaid(spec, found, run_dir)
        disks.append(found)
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, disks=tuple(disks)))


def volume_found(spec: DomainSpec, disk: Disk, volumes: Volumes | None) -> Disk:
    """Return a disk with the file of its volume, if it is one.

    Raises:
        PolyvisorError: there is no such volume, or its pool is not active.
    """
    source = disk.source
    if disk.type != "volume" or source is None:
        return disk
    if not source.pool or not source.volume or volumes is None:
        raise _refused(spec, "source", "names no storage pool and volume of this host")
    try:
        path = volumes(source.pool, source.volume)
    except PolyvisorError as error:
        raise StorageError(
            f"start {spec.name!r}: the volume {source.volume!r} of the storage pool "
            f"{source.pool!r}: {error.message}",
            path=source.volume,
            domain=spec.name,
        ) from error
    file = attrs.evolve(source, file=path, pool=None, volume=None, mode=None)
    return attrs.evolve(disk, type="file", source=file)


def _refused(spec: DomainSpec, element: str, fault: str) -> SemanticError:
    from polyvisor_qemu.cmdline.context import refused

    return refused(spec, f"domain/devices/disk/{element}", fault)


def _overlaid(spec: DomainSpec, disk: Disk, run_dir: str) -> Disk:
    """Return a transient disk over its image; one that had an overlay gets another."""
    from polyvisor.model.devices.disk import BackingStore, DiskDriver, DiskFormat
    from polyvisor_qemu.imagetool import create_over, qemu_img

    ending = f".TRANSIENT-{spec.name}"
    source, below = disk.source, disk.backing_store
    if source is None or not source.file:
        raise _refused(spec, "transient", "only a disk of type 'file' can be transient")
    if disk.readonly or disk.device != "disk":
        raise _refused(spec, "transient", "nothing is written to it in any case; leave it out")
    if source.file.endswith(ending) and below is not None:
        given = below.source, below.format and below.format.type, below.backing_store
    else:
        given = source, disk.driver.type if disk.driver is not None else None, below
    base, form, deeper = given
    if base is None or base.file is None:
        raise _refused(spec, "transient", "its image is no file")
    form = form or "raw"
    path = f"{base.file}{ending}"
    if os.path.lexists(path):
        # Left by a host that went down; a QEMU that has it open refuses this.
        qemu_img("info", path, path=path, what="take the place of the overlay")
        os.unlink(path)
    with open(f"{run_dir}/{_LISTED}", "a", encoding="utf-8") as file:
        file.write(f"{path}\0")
    create_over(path, base.file, form)
    driver = attrs.evolve(disk.driver or DiskDriver(), type="qcow2")
    return attrs.evolve(
        disk,
        driver=driver,
        source=attrs.evolve(base, file=path, index=None),
        backing_store=BackingStore(
            type="file", format=DiskFormat(type=form), source=base, backing_store=deeper
        ),
    )


def discard(guest: Guest) -> None:
    """Throw the overlays of a guest that is gone away."""
    ending = f".TRANSIENT-{guest.spec.name}"
    paths = [
        one.source.file
        for one in guest.spec.devices.disks
        if one.transient is not None and one.source is not None and one.source.file
    ]
    with suppress(OSError), open(f"{guest.run_dir}/{_LISTED}", encoding="utf-8") as file:
        paths += file.read().split("\0")
    for path in {one for one in paths if one.endswith(ending)}:
        with suppress(OSError):
            os.unlink(path)


def refuse_transient(spec: DomainSpec, operation: str, of: str | None = None) -> None:
    """Refuse what needs a disk's image to outlive its guest.

    Args:
        spec: the guest's definition.
        operation: what is refused.
        of: the target of the disk that it is done to; ``None``: all disks.

    Raises:
        OperationInvalid: it has a transient disk.
    """
    for disk in spec.devices.disks:
        target = disk.target.dev if disk.target is not None else None
        if disk.transient is not None and of in (None, target):
            raise OperationInvalid(
                f"{operation} {spec.name!r}: its disk {target} is transient: what is written to "
                f"it goes with the guest",
                domain=spec.name,
                operation=operation,
            )
