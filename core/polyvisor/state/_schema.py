"""The tables of the database, and how an older database becomes a present one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.errors import ConnectError

if TYPE_CHECKING:
    import sqlite3

__all__ = ["FACTS", "INSERT", "MIGRATIONS", "UPDATE", "VERSION", "upgrade"]

_COLUMNS = (
    "uuid", "name", "definition", "live", "id", "state", "reason", "autostart", "title",
    "managed_save", "runtime", "run_dir", "boot_id", "intent", "owner", "stamp", "job",
)  # fmt: skip
#: Columns of a domain as they are read; its two documents are fetched when somebody asks for them.
FACTS = ", ".join(
    f"{name} IS NOT NULL" if name in ("definition", "live") else name for name in _COLUMNS
)
#: Takes all columns in their order.
INSERT = f"INSERT INTO domains VALUES ({', '.join('?' * len(_COLUMNS))})"
_INDEXED = ("uuid", "name", "id")
#: Takes all columns that are not indexed, then those that are; changes nothing if one of these is
#: another one.
UPDATE = (
    f"UPDATE domains SET {', '.join(f'{one} = ?' for one in _COLUMNS if one not in _INDEXED)} "
    f"WHERE uuid = ? AND name = ? AND id IS ?"
)

#: Step ``n`` (from 0) takes a database of schema version ``n`` to ``n + 1``. A step that
#: was released is never changed.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE domains (
        uuid TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        definition TEXT,
        live TEXT,
        id INTEGER UNIQUE,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        autostart INTEGER NOT NULL,
        title TEXT,
        managed_save TEXT,
        runtime TEXT NOT NULL,
        run_dir TEXT,
        boot_id TEXT,
        intent TEXT,
        owner TEXT
    ) WITHOUT ROWID;
    CREATE TABLE snapshots (
        uuid TEXT NOT NULL,
        name TEXT NOT NULL,
        parent TEXT,
        created REAL NOT NULL,
        state TEXT NOT NULL,
        description TEXT,
        current INTEGER NOT NULL,
        xml TEXT NOT NULL,
        path TEXT,
        PRIMARY KEY (uuid, name)
    );
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        uuid TEXT NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        data TEXT
    );
    CREATE TABLE migrations (
        id TEXT PRIMARY KEY,
        uuid TEXT,
        outcome TEXT,
        time REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO counters VALUES ('id', 0);
    """,
    """
    CREATE TABLE objects (
        family TEXT NOT NULL,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        definition TEXT,
        live TEXT,
        autostart INTEGER NOT NULL,
        boot_id TEXT,
        data TEXT NOT NULL,
        PRIMARY KEY (family, key),
        UNIQUE (family, name)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE domains ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0;
    UPDATE domains SET stamp = random();
    """,
    """
    ALTER TABLE domains ADD COLUMN job TEXT;
    """,
)

#: The schema version that this code reads and writes.
VERSION = len(MIGRATIONS)


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Bring a database to the present version; called by one process at a time.

    Raises:
        ConnectError: a later polyvisor made it.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise ConnectError(
            f"cannot use {path}: its schema is version {found}, this polyvisor knows versions "
            f"up to {VERSION}; use the polyvisor that wrote it, or a later one"
        )
    for version in range(found, VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        )
