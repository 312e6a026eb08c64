"""Backups: pushed into images by QEMU, or pulled from a server in it by whoever wants them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import (
    InvalidArgument,
    PolyvisorError,
    Timeout,
)
from polyvisor.jobs import JobProgress
from polyvisor_qemu.backups.serving import serve, stop_serving
from polyvisor_qemu.backups.tracking import additions, forget, sound
from polyvisor_qemu.nodes import chain_of, disk_of, drop, node_of, opened
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import BackupSpec, CheckpointSpec
    from polyvisor.model.backup import BackupDisk
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.nodes import Opened
    from polyvisor_qemu.qmp import Monitor

__all__ = ["begin", "end", "progress", "remove_scratch"]

#: Seconds in which jobs that were told to end have ended.
_ENDING = 60.0


def begin(
    hypervisor: QemuHypervisor,
    guest: Guest,
    backup: BackupSpec,
    point: CheckpointSpec | None,
    since: Mapping[str, str],
    *,
    reuse: bool,
) -> BackupSpec:
    """See :meth:`polyvisor.local.BacksUpDisks.begin_backup`."""
    wanted = [disk for disk in backup.disks if disk.backup is not False]
    if not wanted:
        raise InvalidArgument(f"backup of {guest.name!r}: no disk is to be backed up")
    server = backup.server
    pull = backup.mode == "pull"
    facts: dict[str, Any] = {"pull": pull, "begun": time.time(), "disks": {}}
    guest.runtime["backup"] = facts
    guest.runtime["moved"] = True
    with hypervisor.monitor(guest) as monitor:
        try:
            actions = [] if point is None else additions(monitor, guest, point)
            kept = []
            for disk in wanted:
                chain = chain_of(monitor, guest.spec, disk_of(guest.spec, disk.name))
                one: dict[str, Any] = {"source": chain[0].node, "bitmap": None}
                facts["disks"][disk.name] = one
                bitmap = since.get(disk.name)
                if bitmap is not None:
                    sound(monitor, chain[0].node, bitmap, guest, disk.name)
                make = _pulled if pull else _pushed
                actions += make(monitor, disk, chain[0], one, bitmap, reuse=reuse)
                kept.append(_told(disk, one) if pull else disk)
            monitor.execute("transaction", actions=actions)
            if pull:
                assert server is not None
                server = serve(hypervisor, monitor, server, facts, wanted)
        except BaseException:
            with suppress(PolyvisorError):
                _clear(monitor, guest, facts, failed=True)
            guest.runtime.pop("backup", None)
            raise
    kept += [disk for disk in backup.disks if disk.backup is False]
    disks = attrs.evolve(backup.disk_list, disks=tuple(kept)) if backup.disk_list else None
    return attrs.evolve(backup, id=1, server=server, disk_list=disks)


def _pushed(
    monitor: Monitor,
    disk: BackupDisk,
    source: Opened,
    one: dict[str, Any],
    bitmap: str | None,
    *,
    reuse: bool,
) -> list[dict[str, Any]]:
    """Return the actions that begin to copy a disk into an image."""
    image = disk.target
    assert image is not None
    path = os.path.abspath(image.file or image.dev or "")
    target = opened(monitor, path, disk.driver or "qcow2", source.size, backing=None, reuse=reuse)
    one |= {"node": target, "path": path}
    one["made"] = path if not reuse and image.file is not None else None
    data: dict[str, Any] = _job(disk, source, target)
    if bitmap is None:
        data["sync"] = "full"
    else:
        # The bitmap goes on being marked, whatever becomes of the copy.
        data |= {"sync": "bitmap", "bitmap": bitmap, "bitmap-mode": "never"}
    return [{"type": "blockdev-backup", "data": data}]


def _pulled(
    monitor: Monitor,
    disk: BackupDisk,
    source: Opened,
    one: dict[str, Any],
    bitmap: str | None,
    *,
    reuse: bool,
) -> list[dict[str, Any]]:
    """Return the actions that keep a disk as it is, in scratch space, while it is read."""
    image = disk.scratch
    assert image is not None
    path = os.path.abspath(image.file or image.dev or "")
    scratch = opened(monitor, path, "qcow2", source.size, backing=source, reuse=reuse)
    one |= {"node": scratch, "path": path, "scratch": image.file is not None}
    actions: list[dict[str, Any]] = []
    if bitmap is not None:
        name = disk.exportbitmap or f"backup-{disk.name}"
        one["bitmap"] = name
        adding = {"node": source.node, "name": name, "disabled": True}
        merging = {"node": source.node, "target": name, "bitmaps": [bitmap]}
        actions += [
            {"type": "block-dirty-bitmap-add", "data": adding},
            {"type": "block-dirty-bitmap-merge", "data": merging},
        ]
    actions.append(
        {"type": "blockdev-backup", "data": {**_job(disk, source, scratch), "sync": "none"}}
    )
    return actions


def _job(disk: BackupDisk, source: Opened, target: str) -> dict[str, Any]:
    return {
        "job-id": f"backup-{disk.name}",
        "device": source.node,
        "target": target,
        "auto-dismiss": False,
    }


def _told(disk: BackupDisk, one: dict[str, Any]) -> BackupDisk:
    return attrs.evolve(disk, exportname=disk.exportname or disk.name, exportbitmap=one["bitmap"])


def progress(hypervisor: QemuHypervisor, guest: Guest) -> JobProgress | None:
    """See :meth:`polyvisor.local.BacksUpDisks.backup_job`."""
    facts = guest.runtime.get("backup")
    if facts is None:
        return None
    with hypervisor.monitor(guest) as monitor:
        jobs = _jobs(monitor, facts)
    done = sum(job["current-progress"] for job in jobs.values())
    total = sum(job["total-progress"] for job in jobs.values())
    over = [job for job in jobs.values() if job["status"] == "concluded"]
    ended = len(over) == len(facts["disks"]) or any("error" in job for job in over)
    figures = {}
    if facts["pull"]:
        # What is counted is what its scratch images have taken in of the guest's own writes.
        figures = {"disk_temp_used": done, "disk_temp_total": total}
        done = total = 0
    return JobProgress(
        "backup",
        "pull" if facts["pull"] else "push",
        max(0.0, time.time() - facts["begun"]),
        total,
        done,
        max(0, total - done),
        done=ended,
        figures=figures,
    )


def _jobs(monitor: Monitor, facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = {f"backup-{disk}" for disk in facts["disks"]}
    return {job["id"]: job for job in monitor.execute("query-jobs") if job["id"] in names}


def end(
    hypervisor: QemuHypervisor,
    guest: Guest,
    begun: BackupSpec | None = None,
    there: Sequence[str] = (),
) -> str | None:
    """See :meth:`polyvisor.local.BacksUpDisks.end_backup`."""
    facts = guest.runtime.pop("backup", None)
    with hypervisor.monitor(guest) as monitor:
        if facts is None and begun is not None:
            guest.runtime["moved"] = True
            facts = _half_begun(monitor, guest, begun, there)
            return _clear(monitor, guest, facts, failed=True)
        return None if facts is None else _clear(monitor, guest, facts, failed=False)


def _half_begun(
    monitor: Monitor, guest: Guest, begun: BackupSpec, there: Sequence[str]
) -> dict[str, Any]:
    """Return what may be there of a backup that was begun by a process that was killed."""
    disks = {}
    for disk in begun.disks:
        image = disk.target or disk.scratch
        if disk.backup is False or image is None:
            continue
        path = image.file or image.dev or ""
        chain = chain_of(monitor, guest.spec, disk_of(guest.spec, disk.name))
        disks[disk.name] = {
            "source": chain[0].node,
            "bitmap": disk.exportbitmap or f"backup-{disk.name}",
            "node": node_of(monitor, path) or "none",
            "path": path,
            "made": path if image.file is not None and path not in there else None,
        }
    server = begun.server
    pull = begun.mode == "pull"
    socket_path = server.socket if server is not None else None
    return {"pull": pull, "disks": disks, "served": pull, "socket": socket_path}


def _clear(monitor: Monitor, guest: Guest, facts: dict[str, Any], *, failed: bool) -> str | None:
    """End jobs and server and let go of images; return why the backup is not whole."""
    if facts.get("served"):
        stop_serving(monitor, facts["disks"])
    why = _end_jobs(monitor, facts)
    for one in facts["disks"].values():
        if facts["pull"] and one["bitmap"] is not None:
            forget(monitor, one["source"], one["bitmap"])
        if one.get("node"):
            drop(monitor, one["node"], path=one["path"])
        unwanted = one.get("scratch") or (failed and one.get("made"))
        if unwanted and one.get("path"):
            with suppress(OSError):
                os.unlink(one["path"])
    if facts.get("socket"):
        with suppress(OSError):
            os.unlink(facts["socket"])
    return None if facts["pull"] else why


def _end_jobs(monitor: Monitor, facts: dict[str, Any]) -> str | None:
    why = None
    deadline = time.monotonic() + _ENDING
    while jobs := _jobs(monitor, facts):
        for name, job in jobs.items():
            if job["status"] == "concluded":
                why = job.get("error", why)
                monitor.execute("job-dismiss", id=name)
            elif job["status"] in ("running", "ready", "paused", "standby"):
                why = why or "it was aborted"
                with suppress(QmpError):
                    monitor.execute("block-job-cancel", device=name, force=True)
        if time.monotonic() > deadline:
            raise Timeout(f"backup: {', '.join(jobs)} did not end in {_ENDING:g} s")
        monitor.next_event(0.05)
    return why


def remove_scratch(guest: Guest) -> None:
    """Remove the scratch space and the socket of a guest whose QEMU is gone."""
    facts = guest.runtime.pop("backup", None) or {"disks": {}}
    for one in facts["disks"].values():
        if one.get("scratch") and one.get("path"):
            with suppress(OSError):
                os.unlink(one["path"])
    if facts.get("socket"):
        with suppress(OSError):
            os.unlink(facts["socket"])
