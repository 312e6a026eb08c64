"""Going back to snapshots that keep the disks too."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import DomainOptions
from polyvisor.errors import OperationInvalid, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._compression import read_stream
from polyvisor.local._hold import off
from polyvisor.local._keeper import LIVELY
from polyvisor.local._launch import boot, run_image
from polyvisor.local._save import open_image, saves_guests
from polyvisor.local._snapshot_docs import (
    document,
    is_external,
    moved,
    named,
    overlays,
    path_of,
)
from polyvisor.local._snapshot_take import snapshots_disks
from polyvisor.model import DomainSpec, SnapshotSpec
from polyvisor.model.snapshot import SnapshotDisk, SnapshotDisks
from polyvisor.state import Document, remove_tree
from polyvisor.state._files import remove_file
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest
    from polyvisor.state import Snapshot

__all__ = ["revert", "reverted", "settle_reverting", "stop_present", "unmade"]


def stop_present(hold: Hold, **more: Any) -> None:
    """End the present guest, if there is one; another is about to take its place.

    Args:
        hold: the domain.
        more: what the intent says beyond that.
    """
    if hold.known.active:
        hold.change(intent={"op": "start", **more})
        hold.keeper.hypervisor.destroy(hold.guest)
        run_dir = hold.known.run_dir
        if run_dir is not None:
            remove_tree(run_dir)
        hold.change((EventKind.STOPPED, "from-snapshot"))


def revert(hold: Hold, wanted: Snapshot, job: Job, *, paused: bool | None) -> None:
    """Put disks, definition and guest back to a snapshot."""
    plan = named(document(wanted), hold.known.name)
    if not isinstance(plan.domain, DomainSpec):
        raise hold.invalid(f"the snapshot {wanted.name!r} does not say how the domain was")
    if any(disk.deleting for disk in plan.disks):
        raise hold.invalid(
            f"the removal of the snapshot {wanted.name!r} was begun, its images have changed; "
            f"delete it"
        )
    if not hold.known.persistent and wanted.state is DomainState.SHUTOFF:
        raise hold.invalid("it is transient, and the snapshot is of a domain that was off")
    snapshots = hold.keeper.home.store.snapshots(hold.uuid)
    if is_external(plan):
        _revert_over(hold, plan, wanted, snapshots, job, paused)
    else:
        _revert_inside(hold, plan, wanted, snapshots, job, paused)


def _revert_inside(
    hold: Hold,
    plan: SnapshotSpec,
    wanted: Snapshot,
    snapshots: Sequence[Snapshot],
    job: Job,
    paused: bool | None,
) -> None:
    spec = plan.domain
    assert isinstance(spec, DomainSpec)
    _refuse_below_others(hold, spec, plan, snapshots)
    hold.keeper.hypervisor.check_start(spec)
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    facts = {"name": wanted.name, "plan": None, "unused": _unused(hold, snapshots)}
    if plan.memory is not None and plan.memory.mode == "internal":
        stop_present(hold)

        def make(guest: Guest) -> dict[str, Any]:
            return hypervisor.load_inside(guest, spec, plan, job)

        run = wanted.state in LIVELY if paused is None else not paused
        _run(hold, plan, spec, make, run, job, {"snapshot": facts})
        return
    stop_present(hold)
    intent = {"op": "revert", "plan": plan.to_xml(), "snapshot": facts}
    hold.put(
        attrs.evolve(
            off(hold.known, StateReason.FROM_SNAPSHOT), definition=Document(spec), intent=intent
        ),
        durable=True,
    )
    try:
        hypervisor.revert_inside(spec, plan)
    except BaseException:
        hold.change(intent=None)
        raise
    reverted(hold, facts)
    hold.change(intent=None)
    _boot(hold, paused)


def _revert_over(
    hold: Hold,
    plan: SnapshotSpec,
    wanted: Snapshot,
    snapshots: Sequence[Snapshot],
    job: Job,
    paused: bool | None,
) -> None:
    """Go on in new images over those of the snapshot, which stay as they are."""
    before = plan.domain
    assert isinstance(before, DomainSpec)
    hold.keeper.hypervisor.check_start(before)
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    fresh = _fresh(plan, before)
    facts = {
        "name": wanted.name,
        "plan": attrs.evolve(fresh, domain=None, inactive_domain=None, cookie=None).to_xml(),
        "unused": _unused(hold, snapshots),
    }
    old = hold.known
    hold.change(intent={"op": "revert", "made": facts})
    try:
        hypervisor.make_overlays(None, before, fresh, reuse=False)
    except BaseException:
        hold.change(intent=None)
        raise
    spec = moved(before, fresh.disks, before)
    try:
        if wanted.path is not None and plan.memory is not None and plan.memory.mode == "external":
            _restore(hold, plan, spec, wanted, fresh, facts, job, paused)
            return
        if not old.persistent:
            raise hold.invalid("it is transient, and the snapshot is of disks alone")
        stop_present(hold, made=facts)
        kept = moved(plan.inactive_domain or before, fresh.disks, before)
        record = attrs.evolve(
            off(hold.known, StateReason.FROM_SNAPSHOT),
            definition=Document(kept),
            intent={"op": "revert", "snapshot": facts},
        )
        hold.put(record, durable=True)
    except BaseException:
        with suppress(PolyvisorError):
            present = hold.record
            if present is None or present.intent is None or "snapshot" not in present.intent:
                unmade(hold, facts)
                if present is not None and present.intent is not None:
                    hold.settle() if present.intent["op"] == "start" else hold.change(intent=None)
        raise
    reverted(hold, facts)
    hold.change(intent=None)
    _boot(hold, paused)


def _restore(
    hold: Hold,
    plan: SnapshotSpec,
    spec: DomainSpec,
    wanted: Snapshot,
    fresh: SnapshotSpec,
    facts: dict[str, Any],
    job: Job,
    paused: bool | None,
) -> None:
    """Read the guest from the file of its memory, over the new images."""
    from polyvisor.saveimage import identify

    path = wanted.path
    assert path is not None
    hypervisor = saves_guests(hold.keeper.hypervisor)
    # Read as far as it can be before the present guest is thrown away.
    with open_image(path) as image:
        header = identify(image, path=path).read_header(image, path=path)
        stop_present(hold, made=facts)

        def make(guest: Guest) -> dict[str, Any]:
            guest.stream_version = header.stream_version
            with read_stream(header, image.fileno(), path) as stream:
                return hypervisor.restore_stream(guest, spec, stream, job)

        run = wanted.state in LIVELY if paused is None else not paused
        more = {"snapshot": facts, "made": facts}
        _run(hold, attrs.evolve(plan, disk_list=fresh.disk_list), spec, make, run, job, more)


def _run(
    hold: Hold,
    plan: SnapshotSpec,
    spec: DomainSpec,
    make: Any,
    run: bool,
    job: Job,
    more: dict[str, Any],
) -> None:
    definition = None
    if hold.known.persistent:
        kept = plan.inactive_domain or plan.domain
        before = plan.domain
        assert isinstance(kept, DomainSpec)
        assert isinstance(before, DomainSpec)
        if is_external(plan):
            kept = moved(kept, plan.disks, before)
        definition = Document(kept)
    with hold.keeper.home.jobs.shown(str(hold.uuid), job):
        run_image(
            hold,
            spec,
            make,
            run=run,
            reason=StateReason.FROM_SNAPSHOT,
            image=hold.known.managed_save,
            definition=definition,
            more=more,
        )


def _boot(hold: Hold, paused: bool | None) -> None:
    """Start the domain that is off now, if that was asked for."""
    if paused is not None:
        definition = hold.known.definition
        assert definition is not None
        boot(hold, definition.spec(), DomainOptions(paused=paused))


def reverted(hold: Hold, facts: dict[str, Any]) -> None:
    """The domain's disks are those of a snapshot: record it, remove what is not needed now.

    Args:
        hold: the domain.
        facts: ``name`` of the snapshot, ``plan`` of the new images as XML or ``None``, and
            ``unused`` images.
    """
    store = hold.keeper.home.store
    changed = []
    for one in store.snapshots(hold.uuid):
        new = attrs.evolve(one, current=one.name == facts["name"])
        if new.current and facts["plan"] is not None:
            disks = SnapshotSpec.from_xml(facts["plan"]).disk_list
            new = attrs.evolve(new, xml=attrs.evolve(document(one), revert_disks=disks).to_xml())
        if new != one:
            changed.append(new)
    store.put_snapshots(hold.uuid, changed)
    for path in facts["unused"]:
        with suppress(PolyvisorError):
            remove_file(path)


def unmade(hold: Hold, facts: dict[str, Any]) -> None:
    """The domain did not go back: remove the new images that were made for it."""
    plan = SnapshotSpec.from_xml(facts["plan"])
    snapshots_disks(hold.keeper.hypervisor).drop_overlays(None, plan, reuse=False)


def settle_reverting(hold: Hold) -> None:
    """Put right what a process left that was killed while it went back to a snapshot."""
    intent = hold.known.intent
    assert intent is not None
    if "made" in intent:
        unmade(hold, intent["made"])
    elif "plan" in intent:
        plan = SnapshotSpec.from_xml(intent["plan"])
        assert isinstance(plan.domain, DomainSpec)
        snapshots_disks(hold.keeper.hypervisor).revert_inside(plan.domain, plan)
    if "snapshot" in intent:
        reverted(hold, intent["snapshot"])
    hold.change(intent=None)


def _fresh(plan: SnapshotSpec, before: DomainSpec) -> SnapshotSpec:
    """Return a plan of new images over those that the domain had."""
    from polyvisor.model.devices.disk_source import DiskSource
    from polyvisor.model.snapshot import SnapshotDiskDriver

    paths = {disk.target.dev: path_of(disk) for disk in before.devices.disks if disk.target}
    stamp = int(time.time())
    disks = []
    for disk in plan.disks:
        base = paths.get(disk.name)
        if disk.snapshot != "external" or base is None:
            continue
        folder = os.path.dirname(disk.source.file or base) if disk.source else ""
        stem = f"{folder or os.path.dirname(base)}/{os.path.basename(base).rpartition('.')[0]}"
        number = stamp
        while os.path.lexists(f"{stem}.{number}"):
            number += 1
        disks.append(
            SnapshotDisk(
                name=disk.name,
                snapshot="external",
                type="file",
                driver=SnapshotDiskDriver(type="qcow2"),
                source=DiskSource(file=f"{stem}.{number}"),
            )
        )
    return attrs.evolve(plan, disk_list=SnapshotDisks(disks=tuple(disks)), revert_disks=None)


def _unused(hold: Hold, snapshots: Sequence[Snapshot]) -> list[str]:
    """Return the images that only the present state is in, which is thrown away."""
    current = next((one for one in snapshots if one.current), None)
    if current is None:
        return []
    plan = document(current)
    made = overlays(plan.disks) | overlays(plan.revert_disks.disks if plan.revert_disks else ())
    needed = {
        path_of(disk)
        for one in snapshots
        for domain in (document(one).domain,)
        if isinstance(domain, DomainSpec)
        for disk in domain.devices.disks
    }
    return [path for path in made.values() if path not in needed]


def _refuse_below_others(
    hold: Hold, spec: DomainSpec, plan: SnapshotSpec, snapshots: Sequence[Snapshot]
) -> None:
    """Refuse to change images on which those of other snapshots lie."""
    kept = {disk.name for disk in plan.disks if disk.snapshot == "internal"}
    mine = {path_of(d) for d in spec.devices.disks if d.target and d.target.dev in kept}
    for one in snapshots:
        other = document(one)
        if not is_external(other) or not isinstance(other.domain, DomainSpec):
            continue
        theirs = {path_of(disk) for disk in other.domain.devices.disks} & mine
        if theirs:
            raise OperationInvalid(
                f"{hold.operation} of {hold.known.name!r}: on {theirs.pop()} lie the images of the "
                f"snapshot {one.name!r}, which would be lost; delete that one first",
                domain=hold.known.name,
                operation=hold.operation,
            )
