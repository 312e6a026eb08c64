"""Taking snapshots that keep the disks too, and settling what a killed process began."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

import attrs

from polyvisor.driver import SaveOptions
from polyvisor.errors import Busy, PolyvisorError, Unsupported
from polyvisor.local._keeper import LIVELY
from polyvisor.local._save import begun_file, go_on, need_settled, write_image
from polyvisor.local._snapshot_disks import SnapshotsDisks
from polyvisor.local._snapshot_docs import is_external, keep, moved, snapshot_state
from polyvisor.state import AtomicFile, Document
from polyvisor.state._files import remove_file, remove_part
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.driver import SnapshotOptions
    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest, LocalHypervisor
    from polyvisor.model import DomainSpec, SnapshotSpec

__all__ = ["move", "present_spec", "settle_taking", "snapshots_disks", "take"]


def snapshots_disks(hypervisor: LocalHypervisor) -> SnapshotsDisks:
    """Return the hypervisor as one whose snapshots keep disks."""
    if not isinstance(hypervisor, SnapshotsDisks):
        raise Unsupported(
            f"{hypervisor.name} keeps no disks in snapshots", feature="snapshots.disk"
        )
    return cast("SnapshotsDisks", hypervisor)


def present_spec(hold: Hold) -> DomainSpec:
    """Return the definition that counts now, without number."""
    held = hold.known.live or hold.known.definition
    assert held is not None
    return attrs.evolve(held.spec(), id=None)


def take(hold: Hold, wanted: SnapshotSpec, options: SnapshotOptions, job: Job) -> None:
    """Take a snapshot, and record it and where the disks are from then on.

    Args:
        hold: the domain.
        wanted: the snapshot, with name and time.
        options: how.
        job: tells how far it is.
    """
    record = hold.known
    if record.active and record.state not in LIVELY and record.state is not DomainState.PAUSED:
        raise hold.invalid(f"it is {record.state}")
    need_settled(hold)
    spec = present_spec(hold)
    plan = snapshots_disks(hold.keeper.hypervisor).plan_snapshot(
        spec, wanted, active=record.active, disk_only=options.disk_only, reuse=options.reuse
    )
    external = is_external(plan)
    state = snapshot_state(record.state)
    if options.disk_only and record.active:
        state = "disk-snapshot"
    inactive = record.definition.spec() if record.definition and record.live else None
    plan = attrs.evolve(plan, state=state, domain=spec, inactive_domain=inactive)
    with hold.keeper.home.jobs.shown(str(hold.uuid), job):
        if external:
            _take_over(hold, plan, options, job)
        else:
            _take_inside(hold, plan, job)
    if job.latest.total:
        hold.finished(job)


def _take_inside(hold: Hold, plan: SnapshotSpec, job: Job) -> None:
    record = hold.known
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    intent = _intent(hold, plan, "inside")
    guest = None
    if record.active:
        guest = hold.guest
        hold.change(state=DomainState.PAUSED, reason=StateReason.CREATING_SNAPSHOT, intent=intent)
    else:
        hold.change(intent=intent)
    try:
        if intent["running"]:
            hold.keeper.hypervisor.suspend(hold.guest)
        hypervisor.keep_inside(guest, present_spec(hold), plan, job)
        keep(hold.keeper.home.store, hold.uuid, plan, None)
    except BaseException:
        with suppress(PolyvisorError):
            _settled(hold)
        raise
    _settled(hold)


def _take_over(hold: Hold, plan: SnapshotSpec, options: SnapshotOptions, job: Job) -> None:
    """Let every disk go on in a new image over the one that it has."""
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    path = plan.memory.file if plan.memory is not None else None
    intent = {**_intent(hold, plan, "make"), "path": path, "reuse": options.reuse}
    spec = present_spec(hold)
    guest = hold.guest if hold.known.active else None
    writing: AtomicFile | None = None
    if path is not None:
        writing = begun_file(hold, path, StateReason.CREATING_SNAPSHOT, intent)
    else:
        hold.change(intent=intent)
    with writing or nullcontext() as file:
        try:
            hypervisor.make_overlays(guest, spec, plan, reuse=options.reuse)
            if file is not None:
                _write_memory(hold, file, spec, options, job)
            hold.change(intent={**intent, "phase": "switch"}, durable=True)
            if guest is not None:
                hypervisor.switch(guest, plan)
        except BaseException:
            with suppress(PolyvisorError):
                if guest is not None and hypervisor.switched(guest, plan):
                    _moved(hold, plan, path)
                else:
                    _undo(hold, plan, guest)
                _settled(hold)
            raise
    _moved(hold, plan, path)
    _settled(hold)


def _write_memory(
    hold: Hold, file: AtomicFile, spec: DomainSpec, options: SnapshotOptions, job: Job
) -> None:
    """Write the guest's memory; it stands still afterwards."""
    intent = hold.known.intent
    assert intent is not None
    if intent["running"] and not options.live:
        hold.keeper.hypervisor.suspend(hold.guest)
    write_image(hold, file, spec, resume=intent["running"], options=SaveOptions(), job=job)
    job.check()
    file.commit()


def _intent(hold: Hold, plan: SnapshotSpec, phase: str) -> dict[str, Any]:
    record = hold.known
    return {
        "op": "snapshot",
        "path": None,
        "running": record.state in LIVELY,
        "reason": str(record.reason),
        "plan": plan.to_xml(),
        "phase": phase,
    }


def _settled(hold: Hold) -> None:
    """The guest goes on as it was before, if it stood still for this."""
    record = hold.known
    intent = record.intent
    assert intent is not None
    if record.active and (intent["phase"] == "inside" or intent["path"] is not None):
        go_on(hold)
    else:
        hold.change(intent=None)


def move(hold: Hold, plan: SnapshotSpec) -> None:
    """Record that the disks are the new images from now on."""
    record = hold.known
    before = cast("DomainSpec", plan.domain)
    changes: dict[str, Any] = {}
    for which in ("live", "definition"):
        held = getattr(record, which)
        if held is not None:
            changes[which] = Document(moved(held.spec(), plan.disks, before))
    hold.change(durable=True, **changes)


def _moved(hold: Hold, plan: SnapshotSpec, path: str | None) -> None:
    move(hold, plan)
    keep(hold.keeper.home.store, hold.uuid, plan, path)


def _undo(hold: Hold, plan: SnapshotSpec, guest: Guest | None) -> None:
    """Remove the new images, which are not used, and the file of memory."""
    intent = hold.known.intent
    assert intent is not None
    reuse, path = intent["reuse"], intent["path"]
    snapshots_disks(hold.keeper.hypervisor).drop_overlays(guest, plan, reuse=reuse)
    if path is not None:
        with suppress(Busy, OSError):
            remove_part(path)
        if not reuse:
            remove_file(path)  # it was not there before


def settle_taking(hold: Hold) -> None:
    """Put right what a process left that was killed while it took a snapshot with disks."""
    from polyvisor.local._recovery import end_gone, look
    from polyvisor.model import SnapshotSpec

    intent = hold.known.intent
    assert intent is not None
    plan = SnapshotSpec.from_xml(intent["plan"])
    hypervisor = snapshots_disks(hold.keeper.hypervisor)
    seen = look(hold) if hold.known.active else None
    guest = hold.guest if seen is not None and seen.state is not DomainState.SHUTOFF else None
    known = {one.name for one in hold.keeper.home.store.snapshots(hold.uuid)}
    if intent["phase"] == "inside":
        if plan.name not in known:
            hypervisor.drop_inside(guest, present_spec(hold), plan)
    elif intent["phase"] == "make" or (
        # New images over those that a dead guest had are right, whether it came to use them.
        guest is not None and not hypervisor.switched(guest, plan)
    ):
        _undo(hold, plan, guest)
    elif plan.name not in known:
        _moved(hold, plan, intent["path"])
    else:
        move(hold, plan)
    if guest is None and seen is not None:
        end_gone(hold, seen.reason)
    elif guest is not None and (intent["phase"] == "inside" or intent["path"] is not None):
        go_on(hold, abandoned=True)
    else:
        hold.change(intent=None)
