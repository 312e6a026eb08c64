"""Where drivers without a store of their own keep their domains.

Public for plugin authors; most of them meet it only as
``Home.on_disk(Roots.of("myplugin", "session"))``, handed to
:class:`polyvisor.local.LocalDriver`.

A :class:`Home` bundles what belongs to one "host":

- :class:`Roots`: its folders,
- :class:`Store`: definitions, runtime facts, snapshots, events and the outcomes of
  migrations, in SQLite or in memory,
- :class:`Locks`: one lock for each domain, gone with its holder,
- :class:`Bells`: wake-ups for those who wait for events,
- :class:`JobBoard`: progress and cancelling of jobs across processes.

:class:`AtomicFile` replaces a file so that it is always whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.state._bells import Bell, Bells
    from polyvisor.state._document import Document
    from polyvisor.state._files import AtomicFile, FileIdentity, remove_tree
    from polyvisor.state._history import NewEvent, NewObjectEvent, Snapshot
    from polyvisor.state._home import Home, boot_id
    from polyvisor.state._jobs import JobBoard
    from polyvisor.state._locks import Claim, Lock, Locks
    from polyvisor.state._objects import ObjectRecord
    from polyvisor.state._records import Record
    from polyvisor.state._roots import Roots
    from polyvisor.state._store import Store

__all__ = [
    "AtomicFile",
    "Bell",
    "Bells",
    "Claim",
    "Document",
    "FileIdentity",
    "Home",
    "JobBoard",
    "Lock",
    "Locks",
    "NewEvent",
    "NewObjectEvent",
    "ObjectRecord",
    "Record",
    "Roots",
    "Snapshot",
    "Store",
    "boot_id",
    "remove_tree",
]

# Where each public name lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "AtomicFile": "_files",
        "Bell": "_bells",
        "Bells": "_bells",
        "Claim": "_locks",
        "Document": "_document",
        "FileIdentity": "_files",
        "Home": "_home",
        "JobBoard": "_jobs",
        "Lock": "_locks",
        "Locks": "_locks",
        "NewEvent": "_history",
        "NewObjectEvent": "_history",
        "ObjectRecord": "_objects",
        "Record": "_records",
        "Roots": "_roots",
        "Snapshot": "_history",
        "Store": "_store",
        "boot_id": "_home",
        "remove_tree": "_files",
    },
)
