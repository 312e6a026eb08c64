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
    from collections.abc import Iterable
    from uuid import UUID

    from polyvisor.local._keeper import Keeper

__all__ = ["Survey", "survey"]


@attrs.frozen
class Survey:
    """What a look at all guests of a host has shown.

    Attributes:
        guests: the guests, by number, which is cheaper than by UUID.
        changed: whether domains were taken in.
    """

    guests: dict[int, FoundGuest]
    changed: bool


def survey(
    keeper: Keeper, records: Iterable[Record] | None = None, *, only: UUID | None = None
) -> Survey | None:
    """Look at all guests of the host at once, and take in those that nobody knew.

    Args:
        keeper: the host's.
        records: the active records among others, if they were just read.
        only: the one domain that is to be taken in if nobody knew it.

    Returns:
        What was seen; ``None`` if the hypervisor cannot look that way.
    """
    if not isinstance(keeper.hypervisor, FindsGuests):
        return None
    hypervisor = cast("FindsGuests", keeper.hypervisor)
    guests = {guest.id: guest for guest in hypervisor.find_guests()}
    if only is not None:
        wanted = [guest for guest in guests.values() if guest.uuid == only]
    else:
        if records is None:
            records = keeper.home.store.records(inactive=False)
        known = {record.id: record.uuid for record in records}
        wanted = [guest for number, guest in guests.items() if known.get(number) != guest.uuid]
    changed = False
    for guest in wanted:
        if guest.seen.state.active:
            with suppress(PolyvisorError):  # Met again at the next look.
                changed = _take_in(keeper, hypervisor, guest) or changed
    return Survey(guests, changed)


def _take_in(keeper: Keeper, hypervisor: FindsGuests, found: FoundGuest) -> bool:
    """Make a guest a domain; return whether it is one now that was not."""
    # Whoever holds it is making it, or ending it, just now.
    lock = keeper.home.locks.try_acquire(str(found.uuid), "take in")
    if lock is None:
        return False
    with Hold(keeper, found.uuid, "take in", lock) as hold:
        hold.settle()
        if hold.record is not None and hold.record.active:
            return True
        described = hypervisor.describe(found)
        if described is None:
            return False
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
    return True
