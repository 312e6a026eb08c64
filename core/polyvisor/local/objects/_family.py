"""What all families have in common: definitions, names, life, events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

from polyvisor.driver import StartedObjects
from polyvisor.errors import AlreadyExists, NotFound, OperationInvalid
from polyvisor.events import ObjectEventKind
from polyvisor.objects import ObjectSummary
from polyvisor.state import NewObjectEvent, ObjectRecord, boot_id

if TYPE_CHECKING:
    from polyvisor.model.document import Document
    from polyvisor.state import Home

__all__ = ["LocalFamily"]

_S = TypeVar("_S", bound="Document")

#: What an error calls the objects of a family, where that is not the family's name.
KINDS = {"pool": "storage pool", "nodedev": "node device"}

#: Seconds to wait for an object that another operation holds.
LOCK_TIMEOUT = 30.0


class LocalFamily(StartedObjects[_S]):
    """One family of one host's objects.

    A class derived from it sets ``family`` and ``title`` and says in :meth:`document` of
    which class its documents are; :meth:`complete`, :meth:`begin` and :meth:`end` are for
    what is its own.

    Args:
        home: where everything is kept.

    Attributes:
        home: where everything is kept.
    """

    #: What an object is called in messages, such as ``"network"``.
    title: ClassVar[str]
    #: Whether an active object goes on, as a transient one, when it is undefined.
    outlives_definition: ClassVar[bool] = True

    def __init__(self, home: Home) -> None:
        self.home = home

    # For the family itself

    def document(self) -> type[_S]:
        """Return the class of the family's documents."""
        raise AssertionError(f"{type(self).__name__} does not say what its documents are")

    def key_of(self, spec: _S) -> str | None:
        """Return the key in a definition, if it has one."""
        uuid = getattr(spec, "uuid", None)
        return None if uuid is None else str(uuid)

    def name_of(self, spec: _S, key: str) -> str:
        """Return the name that a definition gives."""
        return str(getattr(spec, "name"))  # noqa: B009 - not every document has one

    def complete(self, spec: _S) -> _S:
        """Return a definition as it is to be kept, with what this host makes explicit.

        Raises:
            SpecError: such an object cannot be here.
        """
        return spec

    def begin(self, spec: _S) -> _S:
        """Make the object be there and return its live document."""
        return spec

    def end(self, record: ObjectRecord) -> None:
        """Make an active object be there no more."""

    # Looking

    def summaries(self) -> Sequence[ObjectSummary]:
        return [self.summary(record) for record in self.home.store.objects(self.family)]

    def by_name(self, name: str) -> ObjectSummary:
        record = self.home.store.object_by_name(self.family, name)
        if record is None:
            raise self._missing(f"no {self.title} is called {name!r}", name)
        return self.summary(record)

    def get(self, key: str) -> ObjectSummary:
        return self.summary(self.record(key))

    def xml(self, key: str, *, inactive: bool = False) -> str:
        record = self.record(key)
        if record.live is not None and not (inactive and record.definition is not None):
            return record.live
        assert record.definition is not None
        return record.definition

    def spec(self, key: str, *, inactive: bool = False) -> _S:
        """Return its document as a value."""
        return self.document().from_xml(self.xml(key, inactive=inactive))

    def record(self, key: str) -> ObjectRecord:
        """Return the record of an object, as it is after what happened to the host.

        Raises:
            NotFound: there is none.
        """
        record = self.home.store.object(self.family, key)
        if record is None:
            raise self._missing(f"no {self.title} with {self._key_words} {key}", key)
        return self._since_boot(record)

    def active(self, key: str, operation: str) -> ObjectRecord:
        """Return the record of an active object.

        Raises:
            OperationInvalid: it is not active.
        """
        record = self.record(key)
        if not record.active:
            raise OperationInvalid(
                f"{operation} {record.name!r}: the {self.title} is not active; start it",
                operation=operation,
            )
        return record

    def summary(self, record: ObjectRecord) -> ObjectSummary:
        """Return what a list prints of an object."""
        from uuid import UUID

        record = self._since_boot(record)
        return ObjectSummary(
            key=record.key,
            name=record.name,
            uuid=UUID(record.key) if self._has_uuids else None,
            active=record.active,
            persistent=record.definition is not None,
            autostart=record.autostart,
        )

    def _missing(self, message: str, key: str) -> NotFound:
        return NotFound(message, kind=KINDS.get(self.family, self.family), key=key)

    @property
    def _has_uuids(self) -> bool:
        return True

    @property
    def _key_words(self) -> str:
        return "UUID" if self._has_uuids else "name"

    def _since_boot(self, record: ObjectRecord) -> ObjectRecord:
        """Return a record without what a reboot of the host took with it."""
        if record.active and self.home.roots is not None and record.boot_id != boot_id():
            return attrs.evolve(record, live=None)
        return record

    # Changing

    def define(self, spec: _S) -> str:
        with self._named(spec, "define") as (key, record):
            kept = self.complete(self._with_key(spec.definition(), key))
            changed = self._fresh(key, kept) if record is None else record
            self.put(
                attrs.evolve(changed, name=self.name_of(kept, key), definition=kept.to_xml()),
                ObjectEventKind.DEFINED,
            )
        return key

    def create(self, spec: _S) -> str:
        with self._named(spec, "create") as (key, record):
            if record is not None and record.active:
                raise AlreadyExists(
                    f"create {record.name!r}: the {self.title} is active already; destroy it first"
                )
            live = self.begin(self.complete(self._with_key(spec.definition(), key)))
            changed = self._fresh(key, live) if record is None else record
            self.put(
                attrs.evolve(
                    changed, name=self.name_of(live, key), live=live.to_xml(), boot_id=boot_id()
                ),
                ObjectEventKind.STARTED,
            )
        return key

    def start(self, key: str) -> None:
        with self.held(key, "start") as record:
            known = self._known(record, key)
            if known.active:
                raise OperationInvalid(
                    f"start {known.name!r}: the {self.title} is active already", operation="start"
                )
            assert known.definition is not None
            live = self.begin(self.document().from_xml(known.definition))
            self.put(
                attrs.evolve(known, live=live.to_xml(), boot_id=boot_id()), ObjectEventKind.STARTED
            )

    def destroy(self, key: str) -> None:
        with self.held(key, "destroy") as record:
            known = self._known(record, key)
            if not known.active:
                raise OperationInvalid(
                    f"destroy {known.name!r}: the {self.title} is not active", operation="destroy"
                )
            self.end(known)
            if known.definition is None:
                self._remove(known, ObjectEventKind.STOPPED)
            else:
                self.put(attrs.evolve(known, live=None), ObjectEventKind.STOPPED)

    def undefine(self, key: str) -> None:
        with self.held(key, "undefine") as record:
            known = self._known(record, key)
            if known.definition is None:
                raise OperationInvalid(
                    f"undefine {known.name!r}: the {self.title} is transient; destroy it",
                    operation="undefine",
                )
            if not known.active:
                self._remove(known, ObjectEventKind.UNDEFINED)
            elif self.outlives_definition:
                self.put(
                    attrs.evolve(known, definition=None, autostart=False),
                    ObjectEventKind.UNDEFINED,
                )
            else:
                raise OperationInvalid(
                    f"undefine {known.name!r}: the {self.title} is still active; destroy it first",
                    operation="undefine",
                )

    def set_autostart(self, key: str, autostart: bool) -> None:
        with self.held(key, "autostart") as record:
            known = self._known(record, key)
            if known.definition is None:
                raise OperationInvalid(
                    f"autostart {known.name!r}: the {self.title} is transient; define it first",
                    operation="autostart",
                )
            if known.autostart != autostart:
                self.put(attrs.evolve(known, autostart=autostart))

    # For those derived from it

    @contextmanager
    def held(self, key: str, operation: str) -> Iterator[ObjectRecord | None]:
        """Lock an object and give its record, ``None`` if there is none yet.

        Raises:
            Busy: another operation held it for longer than the time allowed.
        """
        name = f"{self.family}-{key}" if self._has_uuids else f"{self.family}-{key.encode().hex()}"
        lock = self.home.locks.acquire(name, operation, LOCK_TIMEOUT, subject=key)
        gone = False
        try:
            record = self.home.store.object(self.family, key)
            try:
                yield None if record is None else self._since_boot(record)
            finally:
                gone = self.home.store.object(self.family, key) is None
        finally:
            lock.release(discard=gone)

    @contextmanager
    def _named(self, spec: _S, operation: str) -> Iterator[tuple[str, ObjectRecord | None]]:
        """Lock the object that a definition is about, and give its key and record.

        One at a time in a family, so that of many that define one name all mean one object.
        """
        lock = self.home.locks.acquire(self.family, operation, LOCK_TIMEOUT, subject=self.family)
        try:
            key = self._key_for(spec)
            with self.held(key, operation) as record:
                yield key, record
        finally:
            lock.release(discard=True)  # It is about this definition, not about any object.

    def put(self, record: ObjectRecord, *kinds: ObjectEventKind) -> None:
        """Keep a record and tell those who listen."""
        self.home.store.put_object(record, [_event(record, kind) for kind in kinds])
        if kinds:
            self.home.bells.ring()

    def _remove(self, record: ObjectRecord, *kinds: ObjectEventKind) -> None:
        events = [_event(record, kind) for kind in kinds]
        self.home.store.remove_object(self.family, record.key, events)
        self.home.bells.ring()

    def _known(self, record: ObjectRecord | None, key: str) -> ObjectRecord:
        return self.record(key) if record is None else record

    def _fresh(self, key: str, spec: _S) -> ObjectRecord:
        return ObjectRecord(self.family, key, self.name_of(spec, key))

    def _key_for(self, spec: _S) -> str:
        """Return the key of the object that a definition is about; a fresh one if it is new."""
        key = self.key_of(spec)
        if key is not None:
            return key
        from uuid import uuid4

        known = self.home.store.object_by_name(self.family, self.name_of(spec, ""))
        return str(uuid4()) if known is None else known.key

    def _with_key(self, spec: _S, key: str) -> _S:
        if not self._has_uuids:
            return spec
        from uuid import UUID

        changes: dict[str, Any] = {"uuid": UUID(key)}
        return attrs.evolve(spec, **changes)


def _event(record: ObjectRecord, kind: ObjectEventKind) -> NewObjectEvent:
    return NewObjectEvent(record.family, record.key, record.name, kind)
