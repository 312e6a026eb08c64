"""QEMU with guests whose disks are kept in snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.local import SnapshotsDisks
from polyvisor_qemu.changing import ChangingQemu

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest, Merge
    from polyvisor.model import DomainSpec, SnapshotSpec

__all__ = ["KeepingQemu"]


class KeepingQemu(ChangingQemu, SnapshotsDisks):
    """Keeps disks in snapshots, with memory or without it."""

    def plan_snapshot(
        self, spec: DomainSpec, wanted: SnapshotSpec, *, active: bool, disk_only: bool, reuse: bool
    ) -> SnapshotSpec:
        """See :func:`polyvisor_qemu.snapshots.plan.plan`."""
        from polyvisor_qemu.snapshots.plan import plan

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
