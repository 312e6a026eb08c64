"""Backups of running domains: begun here, gone on with by the hypervisor."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from polyvisor.driver import Backups
from polyvisor.errors import NotFound, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._checkpoints import keep_point, planned, points
from polyvisor.local._save import need_settled
from polyvisor.local._snapshot_take import present_spec
from polyvisor.model import BackupSpec, CheckpointSpec
from polyvisor.state import NewEvent

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import JobProgress
    from polyvisor.local._disk_backups import BacksUpDisks
    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.state import Record

__all__ = ["LocalBackups", "abort_backup", "backup_job", "settle_backup"]

# In the guest's runtime facts: the document of the backup that goes on, and why the last one
# is not whole.
_GOING, _FAILED = "backup_xml", "backup_failed"


class LocalBackups(Backups):
    """Begins backups; they end when a look shows that they are done, or when they are aborted."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._hypervisor = cast("BacksUpDisks", keeper.hypervisor)

    def begin(self, uuid: UUID, xml: str, checkpoint: str | None, *, reuse: bool) -> None:
        wanted = BackupSpec.from_xml(xml)
        marked = None if checkpoint is None else CheckpointSpec.from_xml(checkpoint)
        with self._keeper.hold(uuid, "backup") as hold:
            hold.need_active()
            need_settled(hold)
            if _GOING in hold.guest.runtime:
                told = self._hypervisor.backup_job(hold.guest)
                if told is not None and not told.done:
                    raise hold.invalid("a backup goes on already; wait for it or abort it")
                _end(hold)
            point = None if marked is None else planned(hold, marked)
            suffix = point.name if point is not None and point.name else str(int(time.time()))
            backup = wanted.aligned(present_spec(hold), suffix)
            since = self._since(hold, backup)
            hold.change(
                intent={
                    "op": "backup",
                    "plan": None if point is None else point.to_xml(),
                    "backup": backup.to_xml(),
                    "there": [path for path in _images(backup) if os.path.lexists(path)],
                }
            )
            try:
                begun = self._hypervisor.begin_backup(hold.guest, backup, point, since, reuse=reuse)
                if point is not None:
                    keep_point(self._keeper.home.store, uuid, point)
                hold.guest.runtime[_GOING] = begun.to_xml()
                hold.guest.runtime.pop(_FAILED, None)
            finally:
                hold.change(intent=None)

    def _since(self, hold: Hold, backup: BackupSpec) -> dict[str, str]:
        """Return, by disk, the name under which it is kept account of what is to be copied."""
        known = points(self._keeper.home.store, hold.uuid)
        found = {}
        for disk in backup.disks:
            if disk.backup is False or disk.incremental is None:
                continue
            point = known.get(disk.incremental)
            if point is None:
                raise NotFound(
                    f"backup of {hold.known.name!r}: no checkpoint {disk.incremental!r}",
                    kind="checkpoint",
                    key=disk.incremental,
                )
            kept = next((one for one in point.disks if one.name == disk.name), None)
            if kept is None or kept.checkpoint != "bitmap":
                raise hold.invalid(
                    f"the checkpoint {disk.incremental!r} keeps no account of {disk.name}"
                )
            found[disk.name] = kept.bitmap or disk.incremental
        return found

    def xml(self, uuid: UUID) -> str:
        record = self._keeper.look(uuid)
        if backup_job(self._keeper, record) is None:
            record = self._keeper.look(uuid)
            why = record.runtime.get(_FAILED)
            raise NotFound(
                f"no backup of {record.name!r} goes on"
                + (f"; the last one failed: {why}" if why else ""),
                kind="backup",
                key=record.name,
            )
        return str(record.runtime[_GOING])


def backup_job(keeper: Keeper, record: Record) -> JobProgress | None:
    """Return how far a domain's backup is; one that is done is ended."""
    if _GOING not in record.runtime or not record.active:
        return None
    hypervisor = cast("BacksUpDisks", keeper.hypervisor)
    told = hypervisor.backup_job(keeper.guest(record))
    if told is None or not told.done:
        return told
    with keeper.hold(record.uuid, "end a backup") as hold:
        if hold.known.active and _GOING in hold.guest.runtime:
            again = hypervisor.backup_job(hold.guest)
            if again is None or again.done:
                _end(hold)
    return None


def abort_backup(keeper: Keeper, record: Record) -> bool:
    """End a domain's backup before its time; say whether there was one."""
    if _GOING not in record.runtime:
        return False
    with keeper.hold(record.uuid, "abort job") as hold:
        if not hold.known.active or _GOING not in hold.guest.runtime:
            return False
        _end(hold)
    return True


def _images(backup: BackupSpec) -> list[str]:
    """Return the files that a backup writes to."""
    images = (disk.target or disk.scratch for disk in backup.disks)
    return [image.file for image in images if image is not None and image.file is not None]


def _end(hold: Hold) -> None:
    hypervisor = cast("BacksUpDisks", hold.keeper.hypervisor)
    told = hypervisor.backup_job(hold.guest)
    why = hypervisor.end_backup(hold.guest)
    hold.guest.runtime.pop(_GOING, None)
    if why is not None:
        hold.guest.runtime[_FAILED] = why
    if told is None:
        hold.change()
        return
    from polyvisor.jobstats import JobOutcome, JobStatistics

    outcome = JobOutcome.COMPLETED
    if why is not None:
        outcome = JobOutcome.FAILED
    elif not told.done and told.phase != "pull":  # a pull has no other end
        outcome = JobOutcome.CANCELLED
    job = JobStatistics.of(told, outcome, why)
    hold.change(job=job.to_json())
    said: dict[str, Any] = {**job.figures, "success": outcome is JobOutcome.COMPLETED}
    if why is not None:
        said["errmsg"] = why
    event = NewEvent(hold.uuid, hold.known.name, EventKind.JOB_COMPLETED, "backup", said)
    hold.keeper.note(event)


def settle_backup(hold: Hold) -> None:
    """Put right what a process left that was killed while it began a backup."""
    from polyvisor.local._checkpoints import settle_tracking

    intent = hold.known.intent
    assert intent is not None
    if hold.known.active:
        with suppress(PolyvisorError):  # The guest may be gone, and the backup with it.
            hypervisor = cast("BacksUpDisks", hold.keeper.hypervisor)
            begun = BackupSpec.from_xml(intent["backup"])
            hypervisor.end_backup(hold.guest, begun, intent["there"])
        hold.guest.runtime.pop(_GOING, None)
    if intent["plan"] is not None:
        settle_tracking(hold)
    else:
        hold.change(intent=None)
