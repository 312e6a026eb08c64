"""Removing snapshots that keep the disks too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import PolyvisorError
from polyvisor.local._keeper import LIVELY
from polyvisor.local._snapshot_disks import Merge
from polyvisor.local._snapshot_docs import (
    document,
    find,
    forget,
    is_external,
    overlays,
    path_of,
    with_paths,
)
from polyvisor.local._snapshot_take import present_spec, snapshots_disks
from polyvisor.model import DomainSpec
from polyvisor.model.snapshot import SnapshotDisks
from polyvisor.state import Document
from polyvisor.state._files import remove_file
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.model import SnapshotSpec
    from polyvisor.state import Snapshot

__all__ = ["delete", "settle_deleting"]


def delete(hold: Hold, name: str, job: Job) -> None:
    """Remove what a snapshot keeps; the caller forgets it then."""
    snapshots = hold.keeper.home.store.snapshots(hold.uuid)
    kept = find(hold.known, name, snapshots)
    plan = document(kept)
    spec = plan.domain
    if not isinstance(spec, DomainSpec):
        return
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    guest = hold.guest if hold.known.active else None
    if is_external(plan):
        merges, doomed = _merges(hold, kept, plan, snapshots)
        if merges:
            _merge(hold, kept, plan, merges, job)
        for path in doomed:
            remove_file(path)
    elif any(disk.snapshot == "internal" for disk in plan.disks):
        hypervisor.drop_inside(guest, spec, plan)
    if kept.path is not None:
        remove_file(kept.path)


def _merge(
    hold: Hold, kept: Snapshot, plan: SnapshotSpec, merges: Sequence[Merge], job: Job
) -> None:
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    disks = tuple(attrs.evolve(disk, deleting=True) for disk in plan.disks)
    begun = attrs.evolve(plan, disk_list=SnapshotDisks(disks=disks))
    hold.keeper.home.store.put_snapshots(hold.uuid, [attrs.evolve(kept, xml=begun.to_xml())])
    running = hold.known.state in LIVELY
    hold.change(
        intent={
            "op": "snapshot-delete",
            "name": kept.name,
            "running": running,
            "merges": [attrs.asdict(merge) for merge in merges],
        }
    )
    guest = hold.guest if hold.known.active else None
    try:
        with hold.keeper.home.jobs.shown(str(hold.uuid), job):
            hypervisor.merge(guest, merges, job)
    except BaseException:
        with suppress(PolyvisorError):
            settle_deleting(hold)
        raise
    _renamed(hold, merges)
    _go_on(hold, running=running)


def _go_on(hold: Hold, *, running: bool) -> None:
    if running and hold.known.active:
        hold.keeper.hypervisor.resume(hold.guest)
    hold.change(intent=None)


def _renamed(hold: Hold, merges: Sequence[Merge]) -> None:
    """Record that images are gone, in all definitions in which they are."""
    paths = {merge.upper: (merge.lower, merge.format) for merge in merges}
    store = hold.keeper.home.store
    changed = []
    for one in store.snapshots(hold.uuid):
        plan = document(one)
        new: dict[str, Any] = {}
        for which in ("domain", "inactive_domain"):
            spec = getattr(plan, which)
            if isinstance(spec, DomainSpec):
                new[which] = with_paths(spec, paths)
        if any(new[which] is not getattr(plan, which) for which in new):
            changed.append(attrs.evolve(one, xml=attrs.evolve(plan, **new).to_xml()))
    store.put_snapshots(hold.uuid, changed)
    record = hold.known
    moved: dict[str, Any] = {
        which: Document(with_paths(held.spec(), paths))
        for which in ("live", "definition")
        if (held := getattr(record, which)) is not None
    }
    hold.change(durable=True, **moved)
    for merge in merges:
        with suppress(PolyvisorError):
            remove_file(merge.upper)


def settle_deleting(hold: Hold) -> None:
    """Put right what a process left that was killed while it removed a snapshot.

    What is not merged stays; the snapshot is marked, so that nobody goes back to it.
    """
    from polyvisor.local._recovery import end_gone, look

    intent = hold.known.intent
    assert intent is not None
    merges = [Merge(**{**one, "above": tuple(one["above"])}) for one in intent["merges"]]
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    seen = look(hold) if hold.known.active else None
    gone = seen is None or seen.state is DomainState.SHUTOFF
    guest = None if gone else hold.guest
    done = [merge for merge in merges if hypervisor.merged(guest, merge)]
    _renamed(hold, done)
    if len(done) == len(merges):
        for path in forget(hold.keeper.home.store, hold.uuid, [intent["name"]]):
            with suppress(PolyvisorError):
                remove_file(path)
    if seen is not None and gone:
        end_gone(hold, seen.reason)
    else:
        _go_on(hold, running=intent["running"] and guest is not None)


def _merges(
    hold: Hold, kept: Snapshot, plan: SnapshotSpec, snapshots: Sequence[Snapshot]
) -> tuple[list[Merge], list[str]]:
    """Return what is to be merged so that a snapshot can go, and the images to be removed."""
    others = [document(one) for one in snapshots if one.name != kept.name]
    present = _images(present_spec(hold))
    running = hold.known.active
    merges: list[Merge] = []
    doomed: list[str] = []
    below = plan.domain
    assert isinstance(below, DomainSpec)
    for name, (lower, form) in _images(below).items():
        made = {path for path in (layer.get(name) for layer in _layers(plan)) if path is not None}
        if not made:
            continue
        active = _chain(present.get(name, ("", ""))[0], name, [plan, *others])
        used = [
            path
            for path in sorted(made)
            if path in active or any(_has(one, name, path) for one in others)
        ]
        if len(used) > 1:
            raise hold.invalid(
                f"two branches of snapshots lie on {lower}; delete those of one of them first, or "
                f"only the metadata of {kept.name!r}"
            )
        if used:
            above = {
                path
                for one in others
                if _has(one, name, used[0])
                for path in (layer.get(name) for layer in _layers(one))
                if path is not None and os.path.exists(path)
            }
            if running:
                above -= set(active)
            merges.append(
                Merge(name, used[0], lower, form, tuple(sorted(above)), used[0] in active)
            )
        elif (
            lower not in active
            and not any(_has(one, name, lower) for one in others)
            # An end of the tree: its image was made for it, if another lies below.
            and any(lower == layer.get(name) for one in others for layer in _layers(one))
        ):
            doomed.append(lower)
    return merges, doomed


def _images(spec: DomainSpec) -> dict[str, tuple[str, str]]:
    """Return path and format of each disk's image by its target."""
    return {
        disk.target.dev: (path, (disk.driver.type if disk.driver else None) or "raw")
        for disk in spec.devices.disks
        if disk.target is not None and disk.target.dev and (path := path_of(disk)) is not None
    }


def _layers(plan: SnapshotSpec) -> tuple[dict[str, str], dict[str, str]]:
    """Return the images that lie on a snapshot's own: since it was taken, since it was reverted."""
    reverted = plan.revert_disks.disks if plan.revert_disks is not None else ()
    return overlays(plan.disks), overlays(reverted)


def _has(plan: SnapshotSpec, disk: str, path: str) -> bool:
    """Say whether a disk was in an image when a snapshot was taken."""
    domain = plan.domain
    return isinstance(domain, DomainSpec) and _images(domain).get(disk, ("", ""))[0] == path


def _chain(path: str, disk: str, plans: Sequence[SnapshotSpec]) -> list[str]:
    """Return an image and those below it, as far as snapshots made them."""
    found = [path]
    while True:
        under = next(
            (
                _images(plan.domain).get(disk, ("", ""))[0]
                for plan in plans
                if isinstance(plan.domain, DomainSpec)
                and any(layer.get(disk) == found[-1] for layer in _layers(plan))
            ),
            None,
        )
        if not under or under in found:
            return found
        found.append(under)
