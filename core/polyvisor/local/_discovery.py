"""Guests that others started on the same host: met, and taken in as domains."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, cast

import attrs

from polyvisor.errors import AlreadyExists, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._hold import Hold
from polyvisor.local._hypervisor import FindsGuests, FoundGuest
from polyvisor.state import Document, Record, boot_id

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._keeper import Keeper

__all__ = ["survey"]


def survey(keeper: Keeper) -> dict[UUID, FoundGuest] | None:
    """Look at all guests of the host at once, and take in those that nobody knew.

    Returns:
        What was seen, by UUID; ``None`` if the hypervisor cannot look that way.
    """
    if not isinstance(keeper.hypervisor, FindsGuests):
        return None
    hypervisor = cast("FindsGuests", keeper.hypervisor)
    found = {guest.uuid: guest for guest in hypervisor.find_guests()}
    known = {record.uuid: record.id for record in keeper.home.store.records(inactive=False)}
    for uuid, guest in found.items():
        if known.get(uuid) != guest.id and guest.seen.state.active:
            with suppress(PolyvisorError):  # Met again at the next look.
                _take_in(keeper, hypervisor, guest)
    return found


def _take_in(keeper: Keeper, hypervisor: FindsGuests, found: FoundGuest) -> None:
    # Whoever holds it is making it, or ending it, just now.
    lock = keeper.home.locks.try_acquire(str(found.uuid), "take in")
    if lock is None:
        return
    with Hold(keeper, found.uuid, "take in", lock) as hold:
        hold.settle()
        if hold.record is not None and hold.record.active:
            return
        described = hypervisor.describe(found)
        if described is None:
            return
        spec, runtime = described
        old = hold.record
        record = Record(
            uuid=found.uuid,
            name=old.name if old is not None else spec.name,
            definition=old.definition if old is not None else None,
            live=Document(attrs.evolve(spec, id=found.id)),
            id=found.id,
            state=found.seen.state,
            reason=found.seen.reason,
            autostart=old.autostart if old is not None else False,
            title=old.title if old is not None else spec.title,
            managed_save=old.managed_save if old is not None else None,
            runtime=runtime,
            boot_id=boot_id(),
        )
        happened = [(EventKind.STARTED, "booted")]
        try:
            hold.put(record, happened)
        except AlreadyExists:
            # A definition has the name, under another UUID.
            hold.put(attrs.evolve(record, name=f"{record.name}-{found.id}"), happened)
