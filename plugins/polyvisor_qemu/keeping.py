"""QEMU with guests whose disks are kept in snapshots and backed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.local import BacksUpDisks, SnapshotsDisks
from polyvisor_qemu.settling import refuse_transient
from polyvisor_qemu.switching import SwitchingQemu

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job, JobProgress
    from polyvisor.local import Guest, Hold, Merge
    from polyvisor.model import BackupSpec, CheckpointSpec, DomainSpec, SnapshotSpec

__all__ = ["KeepingQemu"]


class KeepingQemu(SwitchingQemu, SnapshotsDisks, BacksUpDisks):
    """Keeps disks in snapshots, with memory or without it, and backs them up."""

    #: Says whether it is kept account of what changes on a domain's disks.
    tracked: Callable[[UUID], bool] | None = None

    def plan_snapshot(
        self, spec: DomainSpec, wanted: SnapshotSpec, *, active: bool, disk_only: bool, reuse: bool
    ) -> SnapshotSpec:
        """See :func:`polyvisor_qemu.snapshots.plan.plan`."""
        from polyvisor_qemu.snapshots.plan import plan

        refuse_transient(spec, "take a snapshot of")
        return plan(spec, wanted, active=active, disk_only=disk_only, reuse=reuse)

    def keep_inside(
        self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec, job: Job
    ) -> None:
        """See :func:`polyvisor_qemu.snapshots.inside.keep`."""
        from polyvisor_qemu.snapshots.inside import keep

        keep(self, guest, spec, plan, job)

    def drop_inside(self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec) -> None:
        """See :func:`polyvisor_qemu.snapshots.inside.drop`."""
        from polyvisor_qemu.snapshots.inside import drop

        drop(self, guest, spec, plan)

    def load_inside(
        self, guest: Guest, spec: DomainSpec, plan: SnapshotSpec, job: Job
    ) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.snapshots.inside.load`."""
        from polyvisor_qemu.snapshots.inside import load

        return load(self, guest, spec, plan, job)

    def revert_inside(self, spec: DomainSpec, plan: SnapshotSpec) -> None:
        """See :func:`polyvisor_qemu.snapshots.inside.revert`."""
        from polyvisor_qemu.snapshots.inside import revert

        revert(spec, plan)

    def make_overlays(
        self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec, *, reuse: bool
    ) -> None:
        """See :func:`polyvisor_qemu.snapshots.overlays.make`."""
        from polyvisor_qemu.snapshots.overlays import make

        make(self, guest, spec, plan, reuse=reuse)

    def drop_overlays(self, guest: Guest | None, plan: SnapshotSpec, *, reuse: bool) -> None:
        """See :func:`polyvisor_qemu.snapshots.overlays.drop`."""
        from polyvisor_qemu.snapshots.overlays import drop

        drop(self, guest, plan, reuse=reuse)

    def switch(self, guest: Guest, plan: SnapshotSpec) -> None:
        """See :func:`polyvisor_qemu.snapshots.overlays.switch`."""
        from polyvisor_qemu.snapshots.overlays import switch

        switch(self, guest, plan)

    def switched(self, guest: Guest, plan: SnapshotSpec) -> bool:
        """See :func:`polyvisor_qemu.snapshots.overlays.switched`."""
        from polyvisor_qemu.snapshots.overlays import switched

        return switched(self, guest, plan)

    def merge(self, guest: Guest | None, merges: Sequence[Merge], job: Job) -> None:
        """See :func:`polyvisor_qemu.snapshots.merging.merge`."""
        from polyvisor_qemu.snapshots.merging import merge

        merge(self, guest, merges, job)

    def merged(self, guest: Guest | None, merge: Merge) -> bool:
        """See :func:`polyvisor_qemu.snapshots.merging.merged`."""
        from polyvisor_qemu.snapshots.merging import merged

        return merged(self, guest, merge)

    def check_tracking(self, spec: DomainSpec, point: CheckpointSpec) -> None:
        """See :func:`polyvisor_qemu.backups.tracking.check`."""
        from polyvisor_qemu.backups.tracking import check

        refuse_transient(spec, "take a checkpoint of")
        check(spec, point)

    def track(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """See :func:`polyvisor_qemu.backups.tracking.track`."""
        from polyvisor_qemu.backups.tracking import track

        track(self, guest, spec, point)

    def untrack(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """See :func:`polyvisor_qemu.backups.tracking.untrack`."""
        from polyvisor_qemu.backups.tracking import untrack

        untrack(self, guest, spec, point)

    def changed(self, guest: Guest, point: CheckpointSpec) -> Mapping[str, int]:
        """See :func:`polyvisor_qemu.backups.tracking.changed`."""
        from polyvisor_qemu.backups.tracking import changed

        return changed(self, guest, point)

    def begin_backup(
        self,
        guest: Guest,
        backup: BackupSpec,
        point: CheckpointSpec | None,
        since: Mapping[str, str],
        *,
        reuse: bool,
    ) -> BackupSpec:
        """See :func:`polyvisor_qemu.backups.copying.begin`."""
        from polyvisor_qemu.backups.copying import begin

        return begin(self, guest, backup, point, since, reuse=reuse)

    def backup_job(self, guest: Guest) -> JobProgress | None:
        """See :func:`polyvisor_qemu.backups.copying.progress`."""
        from polyvisor_qemu.backups.copying import progress

        return progress(self, guest)

    def end_backup(
        self, guest: Guest, begun: BackupSpec | None = None, there: Sequence[str] = ()
    ) -> str | None:
        """See :func:`polyvisor_qemu.backups.copying.end`."""
        from polyvisor_qemu.backups.copying import end

        return end(self, guest, begun, there)

    def abandon_save(self, guest: Guest) -> None:
        """Stop QEMU's writing; it may have written more into its images than is on the disk."""
        guest.runtime["moved"] = True
        super().abandon_save(guest)

    def destroy(self, guest: Guest) -> None:
        """End QEMU, with the scratch space of a backup that went on."""
        if self.tracked is not None and self.tracked(guest.uuid):
            # What has changed is written into the images when QEMU ends in good order.
            guest.runtime.setdefault("moved", True)
        super().destroy(guest)
        self._discard(guest)
        if "backup" in guest.runtime:
            from polyvisor_qemu.backups.copying import remove_scratch

            remove_scratch(guest)
        if self.owning is not None:
            self.owning.give_back(guest.uuid)

    def _discard(self, guest: Guest) -> None:
        from polyvisor_qemu.settling import discard

        discard(guest)

    def settle(self, hold: Hold) -> None:
        """Put right what a killed process left of a block job, or of a device it plugged in."""
        if "plugging" in (hold.known.intent or {}):
            from polyvisor_qemu.unplugging import settle_plugging

            settle_plugging(self, hold)
            return
        from polyvisor_qemu.blocks import settle

        settle(self, hold)

    def ended(self, guest: Guest) -> None:
        """Give files that are not its user's back."""
        super().ended(guest)
        self._discard(guest)
        if self.owning is not None:
            self.owning.give_back(guest.uuid)
