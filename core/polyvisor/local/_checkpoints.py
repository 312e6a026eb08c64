"""Checkpoints: their documents and their order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import attrs

from polyvisor.driver import Checkpoints
from polyvisor.errors import AlreadyExists, InvalidArgument, NotFound, PolyvisorError
from polyvisor.local._points import checkpoint_family
from polyvisor.local._save import need_settled
from polyvisor.local._snapshot_take import present_spec
from polyvisor.model import CheckpointSpec, DomainSpec
from polyvisor.model.checkpoint import CheckpointDisks, CheckpointParent
from polyvisor.state import ObjectRecord

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import TracksDisks
    from polyvisor.local._keeper import Keeper
    from polyvisor.state import Store

__all__ = [
    "LocalCheckpoints",
    "keep_point",
    "planned",
    "points",
    "settle_tracking",
]


def points(store: Store, uuid: UUID) -> dict[str, CheckpointSpec]:
    """Return a domain's checkpoints by name, the oldest first."""
    kept = sorted(store.objects(checkpoint_family(uuid)), key=lambda one: one.data["created"])
    return {one.name: CheckpointSpec.from_xml(one.definition or "") for one in kept}


def keep_point(store: Store, uuid: UUID, point: CheckpointSpec) -> None:
    """Keep a checkpoint, in place of an earlier one of its name."""
    name = point.name or ""
    old = store.object(checkpoint_family(uuid), name)
    if old is not None:
        created = old.data["created"]
    else:
        # After all others, whatever became of the clock since they were made.
        others = [one.data["created"] for one in store.objects(checkpoint_family(uuid))]
        created = max([time.time(), *(one + 1e-3 for one in others)])
    store.put_object(
        ObjectRecord(
            checkpoint_family(uuid),
            name,
            name,
            definition=point.to_xml(),
            data={"created": created},
        )
    )


def planned(hold: Hold, wanted: CheckpointSpec) -> CheckpointSpec:
    """Return a checkpoint that is to be made now, with every disk said.

    Raises:
        AlreadyExists: there is one of that name.
        OperationInvalid: the domain has snapshots.
        Unsupported: not of these disks.
    """
    known = points(hold.keeper.home.store, hold.uuid)
    now = int(time.time())
    if wanted.name is None:
        while str(now) in known:
            now += 1
    elif wanted.name in known:
        raise AlreadyExists(
            f"the domain {hold.known.name!r} has a checkpoint {wanted.name!r} already",
            domain=hold.known.name,
        )
    if hold.keeper.home.store.snapshots(hold.uuid):
        # Going back to one would leave the account of what has changed behind.
        raise hold.invalid("it has snapshots; delete them first")
    spec = present_spec(hold)
    point = wanted.created(now, spec)
    if known:
        point = attrs.evolve(point, parent=CheckpointParent(name=list(known)[-1]))
    cast("TracksDisks", hold.keeper.hypervisor).check_tracking(spec, point)
    return point


class LocalCheckpoints(Checkpoints):
    """Keeps checkpoints one after another: each is the parent of the next."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._store = keeper.home.store
        self._hypervisor = cast("TracksDisks", keeper.hypervisor)

    def create(self, uuid: UUID, xml: str, *, redefine: bool = False) -> str:
        wanted = CheckpointSpec.from_xml(xml)
        with self._keeper.hold(uuid, "checkpoint") as hold:
            if redefine:
                return self._redefine(hold, wanted)
            need_settled(hold)
            point = planned(hold, wanted)
            hold.change(intent={"op": "checkpoint", "plan": point.to_xml()})
            try:
                guest = hold.guest if hold.known.active else None
                self._hypervisor.track(guest, present_spec(hold), point)
                keep_point(self._store, uuid, point)
            finally:
                hold.change(intent=None)
            return point.name or ""

    def _redefine(self, hold: Hold, wanted: CheckpointSpec) -> str:
        known = points(self._store, hold.uuid)
        if wanted.name is None or not wanted.disks:
            raise InvalidArgument(
                "redefine a checkpoint: its whole document is needed, with name and disks",
                domain=hold.known.name,
            )
        if wanted.parent is not None and wanted.parent.name not in known:
            raise InvalidArgument(
                f"redefine the checkpoint {wanted.name!r}: its parent {wanted.parent.name!r} is "
                f"missing; redefine that first",
                domain=hold.known.name,
            )
        if wanted.domain is None:
            wanted = attrs.evolve(wanted, domain=present_spec(hold))
        keep_point(self._store, hold.uuid, wanted)
        return wanted.name or ""

    def list(self, uuid: UUID) -> Sequence[str]:
        self._keeper.look(uuid)
        return list(points(self._store, uuid))

    def xml(self, uuid: UUID, name: str, *, sizes: bool = False) -> str:
        record = self._keeper.look(uuid)
        point = self._find(uuid, name)
        if sizes:
            if not record.active:
                from polyvisor.errors import OperationInvalid

                raise OperationInvalid(
                    f"sizes of the checkpoint {name!r}: {record.name!r} is not running",
                    domain=record.name,
                )
            told = self._hypervisor.changed(self._keeper.guest(record), point)
            disks = tuple(attrs.evolve(one, size=told.get(one.name)) for one in point.disks)
            point = attrs.evolve(point, disk_list=CheckpointDisks(disks=disks))
        return point.to_xml()

    def delete(self, uuid: UUID, name: str, *, children: bool, metadata_only: bool) -> None:
        with self._keeper.hold(uuid, "checkpoint delete") as hold:
            self._find(uuid, name)
            known = points(self._store, uuid)
            names = list(known)
            doomed = names[names.index(name) :] if children else [name]
            guest = hold.guest if hold.known.active else None
            if not metadata_only:
                need_settled(hold)
            for one in reversed(doomed):
                if not metadata_only:
                    self._hypervisor.untrack(guest, present_spec(hold), known[one])
                self._hand_on(uuid, known, one)
                self._store.remove_object(checkpoint_family(uuid), one)

    def _hand_on(self, uuid: UUID, known: dict[str, CheckpointSpec], name: str) -> None:
        for one in known.values():
            if one.parent is not None and one.parent.name == name and one.name in known:
                keep_point(self._store, uuid, attrs.evolve(one, parent=known[name].parent))
        known[name] = attrs.evolve(known[name], parent=None)
        del known[name]

    def _find(self, uuid: UUID, name: str) -> CheckpointSpec:
        found = self._store.object(checkpoint_family(uuid), name)
        if found is None:
            raise NotFound(f"no domain checkpoint {name!r}", kind="checkpoint", key=name)
        return CheckpointSpec.from_xml(found.definition or "")


def settle_tracking(hold: Hold) -> None:
    """Put right what a process left that was killed while it made a checkpoint."""
    from polyvisor.local._recovery import end_gone, look
    from polyvisor.states import DomainState

    intent = hold.known.intent
    assert intent is not None
    point = CheckpointSpec.from_xml(intent["plan"])
    seen = look(hold) if hold.known.active else None
    gone = seen is None or seen.state is DomainState.SHUTOFF
    if point.name not in points(hold.keeper.home.store, hold.uuid):
        spec = point.domain
        assert isinstance(spec, DomainSpec)
        with suppress(PolyvisorError):  # Account that nobody knows of is kept in vain, no more.
            hypervisor = cast("TracksDisks", hold.keeper.hypervisor)
            hypervisor.untrack(None if gone else hold.guest, spec, point)
    if seen is not None and gone:
        end_gone(hold, seen.reason)
    else:
        hold.change(intent=None)
