"""What a store can do; see ``_sqlite`` and ``_memory`` for the two that there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Outcome
    from polyvisor.events import AnyEvent, Event, ObjectEvent
    from polyvisor.state._history import NewEvent, NewObjectEvent, Snapshot
    from polyvisor.state._objects import ObjectRecord
    from polyvisor.state._records import Record

__all__ = ["KEPT_EVENTS", "Store"]

#: How many of the latest events are kept for listeners that lag behind.
KEPT_EVENTS = 10_000


class Store(ABC):
    """Keeps the domains of one host.

    Every method is one transaction: another process sees all of it or nothing. Records
    are values; what is changed is put as a new one. All may raise
    :class:`~polyvisor.errors.StorageError`.
    """

    #: Whether a record stays the same object until somebody puts another.
    stable_records: bool = False

    # Domains

    @abstractmethod
    def get(self, uuid: UUID) -> Record | None:
        """Return the record of a domain."""

    @abstractmethod
    def by_name(self, name: str) -> Record | None:
        """Return the record of the domain called ``name``."""

    @abstractmethod
    def by_id(self, number: int) -> Record | None:
        """Return the record of the active domain with the number ``number``."""

    @abstractmethod
    def uuids(self, *, active: bool = True, inactive: bool = True) -> list[UUID]:
        """Return the UUIDs of the wanted kinds, in no fixed order."""

    @abstractmethod
    def records(self, *, active: bool = True, inactive: bool = True) -> Sequence[Record]:
        """Return the records of the wanted kinds, ordered by name.

        Not to be changed: as long as nothing changes, the next one who asks may get the same.
        """

    @abstractmethod
    def put(
        self,
        record: Record,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
    ) -> list[Event]:
        """Keep ``record`` in place of an earlier one, and the events of the change.

        Args:
            record: what to keep.
            events: what happened.
            durable: return only once a power failure could not undo it.
            outcome: a migration's identity and what became of it, ``None`` while that
                is open; kept in the same transaction.

        Returns:
            The events with their numbers.

        Raises:
            AlreadyExists: another domain has the name.
        """

    @abstractmethod
    def remove(
        self,
        uuid: UUID,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome] | None = None,
    ) -> list[Event]:
        """Forget a domain and its snapshots; see :meth:`put` for the rest."""

    @abstractmethod
    def next_id(self) -> int:
        """Return a number for a domain that starts, never given before."""

    # Events

    @abstractmethod
    def append(self, events: Sequence[NewEvent]) -> list[Event]:
        """Keep events that change no record."""

    @abstractmethod
    def events_after(self, sequence: int) -> list[AnyEvent]:
        """Return some of the events after number ``sequence``, in order; empty: no more."""

    @abstractmethod
    def last_sequence(self) -> int:
        """Return the number of the latest event, 0 if there never was one."""

    # Snapshots

    @abstractmethod
    def snapshots(self, uuid: UUID) -> list[Snapshot]:
        """Return a domain's snapshots, oldest first."""

    @abstractmethod
    def put_snapshots(
        self, uuid: UUID, put: Sequence[Snapshot], removed: Sequence[str] = ()
    ) -> None:
        """Keep or replace some snapshots of a domain and forget others by name."""

    # Other objects of the host

    @abstractmethod
    def objects(self, family: str) -> list[ObjectRecord]:
        """Return a family's objects, ordered by name."""

    @abstractmethod
    def object(self, family: str, key: str) -> ObjectRecord | None:
        """Return the record of an object."""

    @abstractmethod
    def object_by_name(self, family: str, name: str) -> ObjectRecord | None:
        """Return the record of the object of a family called ``name``."""

    @abstractmethod
    def put_object(
        self, record: ObjectRecord, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        """Durably keep ``record`` in place of an earlier one, and the events of the change.

        Raises:
            AlreadyExists: another object of the family has the name.
        """

    @abstractmethod
    def remove_object(
        self, family: str, key: str, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        """Durably forget an object."""

    # Migrations

    @abstractmethod
    def outcome(self, migration: str) -> tuple[UUID | None, Outcome | None] | None:
        """Return domain and outcome of a migration.

        The outcome is ``None`` while it is open; the whole is ``None`` if it was never
        heard of.
        """

    @abstractmethod
    def set_outcome(
        self, migration: str, outcome: Outcome | None, *, uuid: UUID | None = None
    ) -> bool:
        """Durably open a migration, or settle one that is open or was never heard of.

        Args:
            migration: its identity.
            outcome: what became of it; ``None``: it is open from now on.
            uuid: the domain, if it is known.

        Returns:
            Whether this changed anything: what is settled stays so, and what is known
            cannot be opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is open. A second call does nothing."""
