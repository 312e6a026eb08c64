"""Snapshots inside qcow2 images: through QEMU while it runs, through qemu-img else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import AlreadyExists, HypervisorError, OperationInvalid, PolyvisorError
from polyvisor_qemu.imagetool import image_facts, qemu_img
from polyvisor_qemu.jobs import dismiss, run_job
from polyvisor_qemu.nodes import chain_of, disk_of
from polyvisor_qemu.qmp import Gone

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec, SnapshotSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["drop", "keep", "load", "revert"]

_SAVE = "snapshot-save"


def keep(
    hypervisor: QemuHypervisor, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec, job: Job
) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.keep_inside`."""
    name = plan.name or ""
    if guest is not None:
        # Its tables are on the disk when QEMU has ended in good order.
        guest.runtime["moved"] = True
        job.report("memory and disks")
        with hypervisor.monitor(guest) as monitor:
            nodes = _nodes(monitor, spec, plan)
            run_job(
                monitor, _SAVE, _SAVE, f"snapshot of {guest.name!r}", _spent(hypervisor, guest),
                tag=name, vmstate=nodes[0], devices=nodes,
            )  # fmt: skip
        return
    made: list[str] = []
    job.report("disks")
    try:
        for path in _paths(spec, plan):
            if name in _names(path):
                raise AlreadyExists(f"{path} holds a snapshot {name!r} already", domain=spec.name)
            qemu_img("snapshot", "-c", name, path, path=path, what="keep a snapshot in")
            made.append(path)
    except BaseException:
        for path in made:
            with suppress(PolyvisorError):
                _delete(path, name)
        raise


def drop(
    hypervisor: QemuHypervisor, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec
) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.drop_inside`."""
    name = plan.name or ""
    paths = _paths(spec, plan)
    if guest is not None:
        with hypervisor.monitor(guest) as monitor:
            dismiss(monitor, _SAVE)
            nodes = []
            for disk in guest.spec.devices.disks:
                if disk.source is None or not (disk.source.file or disk.source.dev):
                    continue
                chain = chain_of(monitor, guest.spec, disk)
                if chain[0].path in paths:
                    nodes.append(chain[0].node)
                    paths.remove(chain[0].path)
                elif under := {one.path for one in chain} & set(paths):
                    raise OperationInvalid(
                        f"snapshot {name!r} of {guest.name!r} is in {under.pop()}, on which other "
                        f"images lie; delete those snapshots first",
                        domain=guest.name,
                    )
            if nodes:
                guest.runtime["moved"] = True
                run_job(
                    monitor, "snapshot-delete", "snapshot-delete",
                    f"remove the snapshot {name!r} of {guest.name!r}", _spent(hypervisor, guest),
                    tag=name, devices=nodes,
                )  # fmt: skip
    for path in paths:
        if os.path.exists(path) and name in _names(path):
            _delete(path, name)


def load(
    hypervisor: QemuHypervisor, guest: Guest, spec: DomainSpec, plan: SnapshotSpec, job: Job
) -> dict[str, Any]:
    """See :meth:`polyvisor.local.SnapshotsDisks.load_inside`."""
    from polyvisor_qemu.launch import last_words, log_size

    log_from = log_size(guest)
    runtime = hypervisor.launch(guest, spec)
    what = f"revert {guest.name!r} to the snapshot {plan.name!r}"
    try:
        job.report("memory and disks")
        with hypervisor.monitor(guest) as monitor:
            nodes = _nodes(monitor, spec, plan)
            run_job(
                monitor, "snapshot-load", "snapshot-load", what, _spent(hypervisor, guest),
                tag=plan.name, vmstate=nodes[0], devices=nodes,
            )  # fmt: skip
    except Gone as error:
        hypervisor.destroy(guest)
        raise last_words(guest, what, log_from) from error
    except BaseException:
        hypervisor.destroy(guest)
        raise
    runtime["moved"] = guest.runtime["moved"] = True
    return runtime


def revert(spec: DomainSpec, plan: SnapshotSpec) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.revert_inside`."""
    name = plan.name or ""
    paths = _paths(spec, plan)
    for path in paths:
        if name not in _names(path):
            raise HypervisorError(
                f"{path} holds no snapshot {name!r}; somebody has removed it", domain=spec.name
            )
    for path in paths:
        qemu_img("snapshot", "-a", name, path, path=path, what="put back the snapshot of")


def _spent(hypervisor: QemuHypervisor, guest: Guest) -> Callable[[], float | None]:
    return lambda: hypervisor.memory_and_cpu_time(guest)[1]


def _nodes(monitor: Monitor, spec: DomainSpec, plan: SnapshotSpec) -> list[str]:
    return [
        chain_of(monitor, spec, disk_of(spec, one.name))[0].node
        for one in plan.disks
        if one.snapshot == "internal"
    ]


def _paths(spec: DomainSpec, plan: SnapshotSpec) -> list[str]:
    found = []
    for one in plan.disks:
        source = disk_of(spec, one.name).source if one.snapshot == "internal" else None
        path = None if source is None else source.file or source.dev
        if path is not None:
            found.append(os.path.abspath(path))
    return found


def _names(path: str) -> list[str]:
    return [one["name"] for one in image_facts(path).get("snapshots", ())]


def _delete(path: str, name: str) -> None:
    qemu_img("snapshot", "-d", name, path, path=path, what="remove a snapshot from")
