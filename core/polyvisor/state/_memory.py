"""A store of one process, gone with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from polyvisor.errors import AlreadyExists, OperationFailed
from polyvisor.state._store import KEPT_EVENTS, Store

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Outcome
    from polyvisor.events import AnyEvent, Event, ObjectEvent
    from polyvisor.state._history import NewEvent, NewObjectEvent, Snapshot
    from polyvisor.state._objects import ObjectRecord
    from polyvisor.state._records import Record

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """Keeps records in dictionaries; looking things up takes no lock."""

    stable_records = True

    def __init__(self) -> None:
        self._records: dict[UUID, Record] = {}
        self._active: dict[UUID, Record] = {}
        self._names: dict[str, Record] = {}
        self._ids: dict[int, Record] = {}
        self._snapshots: dict[UUID, dict[str, Snapshot]] = {}
        self._outcomes: dict[str, tuple[UUID | None, Outcome | None]] = {}
        self._objects: dict[str, dict[str, ObjectRecord]] = {}
        self._events: deque[AnyEvent] = deque(maxlen=KEPT_EVENTS)
        self._sequence = 0
        self._id = 0
        self._writing = threading.Lock()
        # Another object with each change of a domain, and the lists made since the last one.
        self._version = object()
        self._lists: dict[tuple[bool, bool], tuple[object, list[Record]]] = {}

    def get(self, uuid: UUID) -> Record | None:
        return self._records.get(uuid)

    def by_name(self, name: str) -> Record | None:
        return self._names.get(name)

    def by_id(self, number: int) -> Record | None:
        return self._ids.get(number)

    def uuids(self, *, active: bool = True, inactive: bool = True) -> list[UUID]:
        if active and inactive:
            return list(self._records)
        if active:
            return list(self._active)
        if inactive:
            with self._writing:
                return [uuid for uuid in self._records if uuid not in self._active]
        return []

    def records(self, *, active: bool = True, inactive: bool = True) -> list[Record]:
        version = self._version
        known = self._lists.get((active, inactive))
        if known is not None and known[0] is version:
            return known[1]
        found = list((self._records if inactive else self._active).values())
        if not active:
            found = [record for record in found if not record.active]
        found.sort(key=attrgetter("name"))
        self._lists[active, inactive] = version, found
        return found

    def put(
        self,
        record: Record,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
    ) -> list[Event]:
        uuid = record.uuid
        with self._writing:
            namesake = self._names.get(record.name)
            if namesake is not None and namesake.uuid != uuid:
                raise AlreadyExists(
                    f"the name {record.name!r} belongs to the domain with UUID {namesake.uuid}",
                    domain=record.name,
                )
            # First what is added, then what is dropped: those who read take no lock.
            old = self._records.get(uuid)
            self._records[uuid] = self._names[record.name] = record
            if record.id is not None:
                self._active[uuid] = self._ids[record.id] = record
            if old is not None:
                self._drop(old, record)
            self._version = object()
            if outcome is not None:
                self._outcomes[outcome[0]] = (uuid, outcome[1])
            return self._append(events)

    def remove(
        self,
        uuid: UUID,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome] | None = None,
    ) -> list[Event]:
        with self._writing:
            old = self._records.pop(uuid, None)
            if old is not None:
                self._drop(old, None)
            self._version = object()
            self._snapshots.pop(uuid, None)
            if outcome is not None:
                self._outcomes[outcome[0]] = (uuid, outcome[1])
            return self._append(events)

    def _drop(self, old: Record, instead: Record | None) -> None:
        """Take ``old`` out of the indexes in which ``instead`` does not take its place."""
        if instead is None or instead.name != old.name:
            del self._names[old.name]
        if old.id is not None and (instead is None or instead.id != old.id):
            del self._ids[old.id]
            if instead is None or instead.id is None:
                del self._active[old.uuid]

    def next_id(self) -> int:
        with self._writing:
            self._id += 1
            return self._id

    def append(self, events: Sequence[NewEvent]) -> list[Event]:
        with self._writing:
            return self._append(events)

    def _append(self, events: Sequence[NewEvent]) -> list[Event]:
        if not events:
            return []
        from datetime import UTC, datetime

        from polyvisor.events import DomainRef, Event

        numbered = []
        for event in events:
            self._sequence += 1
            numbered.append(
                Event(
                    self._sequence,
                    DomainRef(event.uuid, event.name),
                    event.kind,
                    event.detail,
                    datetime.now(UTC),
                    event.data,
                )
            )
        self._events.extend(numbered)
        return numbered

    def events_after(self, sequence: int) -> list[AnyEvent]:
        with self._writing:
            first = self._events[0].sequence if self._events else self._sequence + 1
            if sequence + 1 < first:
                raise lagged(sequence, first)
            count = self._sequence - sequence
            return list(self._events)[-count:] if count > 0 else []

    def last_sequence(self) -> int:
        return self._sequence

    def snapshots(self, uuid: UUID) -> list[Snapshot]:
        return list(self._snapshots.get(uuid, {}).values())

    def put_snapshots(
        self, uuid: UUID, put: Sequence[Snapshot], removed: Sequence[str] = ()
    ) -> None:
        with self._writing:
            kept = dict(self._snapshots.get(uuid, {}))
            for name in removed:
                kept.pop(name, None)
            kept.update((snapshot.name, snapshot) for snapshot in put)
            self._snapshots[uuid] = kept

    def objects(self, family: str) -> list[ObjectRecord]:
        with self._writing:
            found = list(self._objects.get(family, {}).values())
        found.sort(key=attrgetter("name"))
        return found

    def object(self, family: str, key: str) -> ObjectRecord | None:
        return self._objects.get(family, {}).get(key)

    def object_by_name(self, family: str, name: str) -> ObjectRecord | None:
        with self._writing:
            return self._namesake(family, name)

    def _namesake(self, family: str, name: str) -> ObjectRecord | None:
        known = self._objects.get(family, {}).values()
        return next((record for record in known if record.name == name), None)

    def put_object(
        self, record: ObjectRecord, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        with self._writing:
            namesake = self._namesake(record.family, record.name)
            if namesake is not None and namesake.key != record.key:
                raise name_taken(record, namesake.key)
            self._objects.setdefault(record.family, {})[record.key] = record
            return self._append_of_objects(events)

    def remove_object(
        self, family: str, key: str, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        with self._writing:
            self._objects.get(family, {}).pop(key, None)
            return self._append_of_objects(events)

    def _append_of_objects(self, events: Sequence[NewObjectEvent]) -> list[ObjectEvent]:
        from datetime import UTC, datetime

        from polyvisor.events import ObjectEvent

        numbered = []
        for event in events:
            self._sequence += 1
            numbered.append(
                ObjectEvent(
                    self._sequence,
                    event.family,
                    event.key,
                    event.name,
                    event.kind,
                    datetime.now(UTC),
                )
            )
        self._events.extend(numbered)
        return numbered

    def outcome(self, migration: str) -> tuple[UUID | None, Outcome | None] | None:
        return self._outcomes.get(migration)

    def set_outcome(
        self, migration: str, outcome: Outcome | None, *, uuid: UUID | None = None
    ) -> bool:
        with self._writing:
            known = self._outcomes.get(migration)
            if known is not None and (outcome is None or known[1] is not None):
                return False
            self._outcomes[migration] = (uuid if known is None else known[0], outcome)
            return True

    def close(self) -> None:
        """Keep everything: other connections of the process may share the store."""


def name_taken(record: ObjectRecord, key: str) -> AlreadyExists:
    """Return the error for an object whose name belongs to another."""
    return AlreadyExists(
        f"the name {record.name!r} belongs to the {record.family} with UUID {key}; choose another"
    )


def lagged(sequence: int, first: int) -> OperationFailed:
    """Return the error for a listener that stayed behind for too long."""
    return OperationFailed(
        f"events {sequence + 1} to {first - 1} are no longer kept: the listener lagged more than "
        f"{KEPT_EVENTS} events behind; listen anew and look at the domains themselves",
        operation="events",
    )
