"""A store in one SQLite database, shared by any number of processes.

Write-ahead logging lets readers go on while somebody writes
(https://sqlite.org/wal.html). With ``synchronous=NORMAL`` a commit survives the death
of any process; only those marked durable wait for the disk.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import AlreadyExists, StorageError
from polyvisor.state._document import Document
from polyvisor.state._records import Record
from polyvisor.state._schema import FACTS, INSERT, UPDATE, VERSION, upgrade
from polyvisor.state._store import KEPT_EVENTS, Store
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.driver import Outcome
    from polyvisor.events import AnyEvent, Event, ObjectEvent
    from polyvisor.state._history import NewEvent, NewObjectEvent, Snapshot
    from polyvisor.state._objects import ObjectRecord

__all__ = ["SqliteStore"]

#: Seconds to wait for another process's transaction; each takes well below a millisecond.
BUSY_TIMEOUT = 30.0

_EVENTS_AT_ONCE = 500
# Records that are remembered with their documents, so that they are not read again.
_KNOWN_MOST = 4096
_TRIM_EVERY = 256


class _Connection(sqlite3.Connection):
    """A connection that keeps the lists it read until somebody changes the database.

    Attributes:
        version: what told, when they were read, that nothing had changed: by others
            (``PRAGMA data_version``), by us (``total_changes``).
        lists: by which of active and inactive domains are in each.
    """

    version = (-1, -1)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lists: dict[tuple[bool, bool], list[Record]] = {}


class SqliteStore(Store):
    """Opens the database when it is first needed.

    Args:
        path: the database; its folder exists.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[_Connection] = []
        self._abandoned: list[_Connection] = []
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        # By their stamps: every version of a record has one of its own, whoever wrote it.
        self._known: dict[int, Record] = {}

    # Connections

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """Lend a connection; each is used by one thread at a time."""
        try:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                with self._mutex:
                    self._idle.append(connection)
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot use the database {self._path}: {error}", path=self._path
            ) from error

    def _take(self) -> _Connection:
        with self._mutex:
            if self._pid != os.getpid():
                # SQLite's connections must not be used, nor closed, in a forked child
                # (https://sqlite.org/howtocorrupt.html, section 2.6).
                self._abandoned += self._idle
                self._idle = []
                self._pid = os.getpid()
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _open(self) -> _Connection:
        connection = _Connection(
            self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                self._set_up(connection)
            connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Switching to the write-ahead log does not wait for others, so they are kept out.
        guard = os.open(f"{self._path}.setup", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode=WAL")
            upgrade(connection, self._path)
        finally:
            os.close(guard)

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            if durable:
                connection.execute("PRAGMA synchronous=FULL")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                if durable:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    connection.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        with self._mutex:
            if self._pid == os.getpid():
                for connection in self._idle:
                    connection.close()
            self._idle = []

    # Domains

    def _record(self, row: tuple[Any, ...]) -> Record:
        stamp: int = row[15]
        known = self._known.get(stamp)
        if known is not None:
            return known
        uuid, defined, live = row[0], row[2], row[3]
        record = Record(
            UUID(uuid),
            row[1],
            Document(load=lambda: self._document("definition", uuid)) if defined else None,
            Document(load=lambda: self._document("live", uuid)) if live else None,
            row[4],
            DomainState(row[5]),
            StateReason(row[6]),
            bool(row[7]),
            row[8],
            row[9],
            _facts(row[10]) or {},
            row[11],
            row[12],
            _facts(row[13]),
            row[14],
            row[16],
        )
        self._remember(stamp, record)
        return record

    def _remember(self, stamp: int, record: Record) -> None:
        if len(self._known) >= _KNOWN_MOST:
            self._known = {}
        self._known[stamp] = record

    def _document(self, column: str, uuid: str) -> str:
        from polyvisor.errors import NotFound

        with self._connection() as connection:
            row = connection.execute(
                f"SELECT {column} FROM domains WHERE uuid = ?",  # our own names
                (uuid,),
            ).fetchone()
        if row is None or row[0] is None:
            raise NotFound(f"the domain with UUID {uuid} has just gone", key=uuid)
        return str(row[0])

    def _one(self, condition: str, key: str | int) -> Record | None:
        with self._connection() as connection:
            row = connection.execute(
                f"SELECT {FACTS} FROM domains WHERE {condition} = ?",
                (key,),
            ).fetchone()
        return None if row is None else self._record(row)

    def get(self, uuid: UUID) -> Record | None:
        return self._one("uuid", str(uuid))

    def by_name(self, name: str) -> Record | None:
        return self._one("name", name)

    def by_id(self, number: int) -> Record | None:
        # SQLite's integers have 64 bits.
        return self._one("id", number) if 0 < number < 1 << 63 else None

    def uuids(self, *, active: bool = True, inactive: bool = True) -> list[UUID]:
        return [record.uuid for record in self.records(active=active, inactive=inactive)]

    def records(self, *, active: bool = True, inactive: bool = True) -> list[Record]:
        with self._connection() as connection:
            # Read before the list is: a change in between lets the next one read it again.
            (others,) = connection.execute("PRAGMA data_version").fetchone()
            version = (others, connection.total_changes)
            if version != connection.version:
                connection.lists, connection.version = {}, version
            found = connection.lists.get((active, inactive))
            if found is None:
                found = self._read(connection, _kinds(active, inactive))
                connection.lists[active, inactive] = found
            return found

    def _read(self, connection: sqlite3.Connection, kinds: str) -> list[Record]:
        known = self._known
        stamps = connection.execute(f"SELECT stamp FROM domains {kinds} ORDER BY name")
        with suppress(KeyError):
            return [known[stamp] for (stamp,) in stamps.fetchall()]
        rows = connection.execute(f"SELECT {FACTS} FROM domains {kinds} ORDER BY name")
        return [self._record(row) for row in rows.fetchall()]

    def put(
        self,
        record: Record,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
    ) -> list[Event]:
        stamp = int.from_bytes(os.urandom(8), signed=True)
        row = (
            str(record.uuid),
            record.name,
            record.definition.text() if record.definition is not None else None,
            record.live.text() if record.live is not None else None,
            record.id,
            str(record.state),
            str(record.reason),
            record.autostart,
            record.title,
            record.managed_save,
            _text(record.runtime),
            record.run_dir,
            record.boot_id,
            _text(record.intent) if record.intent is not None else None,
            record.owner,
            stamp,
            record.job,
        )
        with self._writing(durable=durable) as connection:
            self._put(connection, row)
            if outcome is not None:
                self._put_outcome(connection, outcome[0], row[0], outcome[1])
            return self._append(connection, events)

    @staticmethod
    def _put(connection: sqlite3.Connection, row: tuple[Any, ...]) -> None:
        uuid, name, number = row[0], row[1], row[4]
        # What is indexed changes seldom, and is not written anew then.
        if connection.execute(UPDATE, (*row[2:4], *row[5:], uuid, name, number)).rowcount:
            return
        namesake = connection.execute(
            "SELECT uuid FROM domains WHERE name = ? AND uuid != ?", (name, uuid)
        ).fetchone()
        if namesake is not None:
            raise AlreadyExists(
                f"the name {name!r} belongs to the domain with UUID {namesake[0]}", domain=name
            )
        connection.execute("DELETE FROM domains WHERE uuid = ?", (uuid,))
        connection.execute(INSERT, row)

    def remove(
        self,
        uuid: UUID,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome] | None = None,
    ) -> list[Event]:
        with self._writing(durable=durable) as connection:
            connection.execute("DELETE FROM domains WHERE uuid = ?", (str(uuid),))
            connection.execute("DELETE FROM snapshots WHERE uuid = ?", (str(uuid),))
            if outcome is not None:
                self._put_outcome(connection, outcome[0], str(uuid), outcome[1])
            return self._append(connection, events)

    def next_id(self) -> int:
        with self._writing() as connection:
            connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'id'")
            row = connection.execute("SELECT value FROM counters WHERE name = 'id'").fetchone()
            return int(row[0])

    # Events

    def append(self, events: Sequence[NewEvent]) -> list[Event]:
        with self._writing() as connection:
            return self._append(connection, events)

    def _append(self, connection: sqlite3.Connection, events: Sequence[NewEvent]) -> list[Event]:
        if not events:
            return []
        from datetime import UTC, datetime

        from polyvisor.events import DomainRef, Event

        numbered = []
        for event in events:
            now = time.time()
            data = _text(event.data) if event.data else None
            sequence = _journal(
                connection, (now, str(event.uuid), event.name, str(event.kind), event.detail, data)
            )
            numbered.append(
                Event(
                    sequence,
                    DomainRef(event.uuid, event.name),
                    event.kind,
                    event.detail,
                    datetime.fromtimestamp(now, UTC),
                    event.data,
                )
            )
        return numbered

    def events_after(self, sequence: int) -> list[AnyEvent]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT sequence, time, uuid, name, kind, detail, data FROM events "
                "WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, _EVENTS_AT_ONCE),
            ).fetchall()
        # Numbers have no gaps: they are given and committed one writer after another.
        if rows and rows[0][0] != sequence + 1:
            from polyvisor.state._memory import lagged

            raise lagged(sequence, rows[0][0])
        return [_event(row) for row in rows]

    def last_sequence(self) -> int:
        with self._connection() as connection:
            row = connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
            ).fetchone()
        return int(row[0]) if row is not None else 0

    # Snapshots

    def snapshots(self, uuid: UUID) -> list[Snapshot]:
        from datetime import UTC, datetime

        from polyvisor.state._history import Snapshot

        with self._connection() as connection:
            rows = connection.execute(
                "SELECT name, parent, created, state, description, current, xml, path "
                "FROM snapshots WHERE uuid = ? ORDER BY created, rowid",
                (str(uuid),),
            ).fetchall()
        return [
            Snapshot(
                uuid,
                name,
                parent,
                datetime.fromtimestamp(created, UTC),
                DomainState(state),
                description,
                bool(current),
                xml,
                path,
            )
            for name, parent, created, state, description, current, xml, path in rows
        ]

    def put_snapshots(
        self, uuid: UUID, put: Sequence[Snapshot], removed: Sequence[str] = ()
    ) -> None:
        with self._writing(durable=True) as connection:
            connection.executemany(
                "DELETE FROM snapshots WHERE uuid = ? AND name = ?",
                [(str(uuid), name) for name in removed],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        str(uuid),
                        one.name,
                        one.parent,
                        one.created.timestamp(),
                        str(one.state),
                        one.description,
                        one.current,
                        one.xml,
                        one.path,
                    )
                    for one in put
                ],
            )

    # Other objects of the host

    def objects(self, family: str) -> list[ObjectRecord]:
        return self._objects("family = ? ORDER BY name", (family,))

    def object(self, family: str, key: str) -> ObjectRecord | None:
        found = self._objects("family = ? AND key = ?", (family, key))
        return found[0] if found else None

    def object_by_name(self, family: str, name: str) -> ObjectRecord | None:
        found = self._objects("family = ? AND name = ?", (family, name))
        return found[0] if found else None

    def _objects(self, condition: str, values: tuple[str, ...]) -> list[ObjectRecord]:
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT family, key, name, definition, live, autostart, boot_id, data "
                f"FROM objects WHERE {condition}",
                values,
            ).fetchall()
        from polyvisor.state._objects import ObjectRecord

        return [
            ObjectRecord(of, key, name, definition, live, bool(autostart), boot, _facts(data) or {})
            for of, key, name, definition, live, autostart, boot, data in rows
        ]

    def put_object(
        self, record: ObjectRecord, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        with self._writing(durable=True) as connection:
            namesake = connection.execute(
                "SELECT key FROM objects WHERE family = ? AND name = ? AND key != ?",
                (record.family, record.name, record.key),
            ).fetchone()
            if namesake is not None:
                from polyvisor.state._memory import name_taken

                raise name_taken(record, namesake[0])
            connection.execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.family,
                    record.key,
                    record.name,
                    record.definition,
                    record.live,
                    record.autostart,
                    record.boot_id,
                    _text(record.data),
                ),
            )
            return self._append_of_objects(connection, events)

    def remove_object(
        self, family: str, key: str, events: Sequence[NewObjectEvent] = ()
    ) -> list[ObjectEvent]:
        with self._writing(durable=True) as connection:
            connection.execute("DELETE FROM objects WHERE family = ? AND key = ?", (family, key))
            return self._append_of_objects(connection, events)

    def _append_of_objects(
        self, connection: sqlite3.Connection, events: Sequence[NewObjectEvent]
    ) -> list[ObjectEvent]:
        from datetime import UTC, datetime

        from polyvisor.events import ObjectEvent

        numbered = []
        for event in events:
            now = time.time()
            kind = f"{event.family}.{event.kind}"
            sequence = _journal(connection, (now, event.key, event.name, kind, "", None))
            when = datetime.fromtimestamp(now, UTC)
            numbered.append(
                ObjectEvent(sequence, event.family, event.key, event.name, event.kind, when)
            )
        return numbered

    # Migrations

    def _put_outcome(
        self, connection: sqlite3.Connection, migration: str, uuid: str, outcome: Outcome | None
    ) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO migrations VALUES (?, ?, ?, ?)",
            (migration, uuid, str(outcome) if outcome is not None else None, time.time()),
        )

    def outcome(self, migration: str) -> tuple[UUID | None, Outcome | None] | None:
        from polyvisor.driver import Outcome

        with self._connection() as connection:
            row = connection.execute(
                "SELECT uuid, outcome FROM migrations WHERE id = ?", (migration,)
            ).fetchone()
        if row is None:
            return None
        uuid = UUID(row[0]) if row[0] is not None else None
        return uuid, Outcome(row[1]) if row[1] is not None else None

    def set_outcome(
        self, migration: str, outcome: Outcome | None, *, uuid: UUID | None = None
    ) -> bool:
        # One that is open and one that was never heard of come to the same after a loss of power.
        with self._writing(durable=outcome is not None) as connection:
            opened = connection.execute(
                "INSERT OR IGNORE INTO migrations VALUES (?, ?, NULL, ?)",
                (migration, str(uuid) if uuid is not None else None, time.time()),
            )
            if outcome is None:
                return opened.rowcount == 1
            settled = connection.execute(
                "UPDATE migrations SET outcome = ? WHERE id = ? AND outcome IS NULL",
                (str(outcome), migration),
            )
            return settled.rowcount == 1


def _text(facts: dict[str, Any]) -> str:
    if not facts:
        return "{}"
    from json import dumps

    return dumps(facts)


def _facts(text: str | None) -> dict[str, Any] | None:
    """Return what :func:`_text` wrote; most records have none, and JSON is slow to import."""
    if text is None:
        return None
    if text == "{}":
        return {}
    from json import loads

    return dict(loads(text))


def _journal(connection: sqlite3.Connection, row: tuple[Any, ...]) -> int:
    """Put a row into the journal and return its number; drop what is too old."""
    sequence = connection.execute(
        "INSERT INTO events (time, uuid, name, kind, detail, data) VALUES (?, ?, ?, ?, ?, ?)", row
    ).lastrowid
    assert sequence is not None
    if sequence % _TRIM_EVERY == 0:
        connection.execute("DELETE FROM events WHERE sequence <= ?", (sequence - KEPT_EVENTS,))
    return sequence


def _event(row: tuple[Any, ...]) -> AnyEvent:
    """Return a row of the journal; those of objects name their family before the kind."""
    from datetime import UTC, datetime

    from polyvisor.events import DomainRef, Event, EventKind, ObjectEvent, ObjectEventKind

    number, when, key, name, kind, detail, data = row
    time_of = datetime.fromtimestamp(when, UTC)
    family, dot, what = kind.partition(".")
    if dot:
        return ObjectEvent(number, family, key, name, ObjectEventKind(what), time_of)
    domain = DomainRef(UUID(key), name)
    return Event(number, domain, EventKind(kind), detail, time_of, _facts(data) or {})


def _kinds(active: bool, inactive: bool) -> str:
    if active and inactive:
        return ""
    if active:
        return "WHERE id IS NOT NULL"
    return "WHERE id IS NULL" if inactive else "WHERE 0"
