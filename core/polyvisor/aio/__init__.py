"""The same API for asyncio: same names, awaited; events as asynchronous iterators.

::

    import polyvisor.aio

    async with polyvisor.aio.open("qemu:///system") as host:
        domain = await host.domains["guest"]
        await domain.save("/tmp/guest.img")

What each method does, takes and raises is said at the blocking handle of the same name
(:mod:`polyvisor.domain`, :mod:`polyvisor.connection` and the others). Values, specs and errors
are the very same classes.

- A method is a coroutine. A property that has to ask the hypervisor is awaited
  (``await domain.state``), one that only leads on is not (``domain.snapshots``). A property
  that can be set has a method beside it (``set_autostart``).
- A collection is gone through with ``async for``; ``await host.domains["guest"]`` gives one.
  ``contains`` and ``count`` stand for ``in`` and ``len``.
- ``progress`` is called in the event loop.
- Operations run in threads: short ones in a pool, each save or migration and each wait in one
  of its own, so that none keeps another from being asked or cancelled.
- A task that is cancelled leaves no operation half done. One that has a job (all that take
  ``progress``) is cancelled by it, another is waited for; then the task ends.
- A connection belongs to the event loop in which it was opened.
- :mod:`polyvisor.aio.saveimage` and :mod:`polyvisor.aio.native` have the functions on files.
"""

from __future__ import annotations

from polyvisor.aio._connection import Connection, DomainCollection
from polyvisor.aio._domain import Domain, DomainSnapshots
from polyvisor.aio._families import Collection, Defined, Handle, Started
from polyvisor.aio._handles import (
    DomainAgent,
    DomainBackup,
    DomainCheckpoints,
    DomainDebug,
    DomainDisks,
    DomainTuning,
)
from polyvisor.aio._networks import (
    HostInterface,
    InterfaceCollection,
    Network,
    NetworkCollection,
    NwFilter,
    NwFilterCollection,
)
from polyvisor.aio._node_devices import NodeDevice, NodeDeviceCollection
from polyvisor.aio._open import Opening, open  # noqa: A004 - the verb that the field uses
from polyvisor.aio._secrets import Secret, SecretCollection
from polyvisor.aio._storage import StoragePool, StoragePoolCollection, StorageVolume
from polyvisor.aio._stream import EventStream

__all__ = [
    "Collection",
    "Connection",
    "Defined",
    "Domain",
    "DomainAgent",
    "DomainBackup",
    "DomainCheckpoints",
    "DomainCollection",
    "DomainDebug",
    "DomainDisks",
    "DomainSnapshots",
    "DomainTuning",
    "EventStream",
    "Handle",
    "HostInterface",
    "InterfaceCollection",
    "Network",
    "NetworkCollection",
    "NodeDevice",
    "NodeDeviceCollection",
    "NwFilter",
    "NwFilterCollection",
    "Opening",
    "Secret",
    "SecretCollection",
    "Started",
    "StoragePool",
    "StoragePoolCollection",
    "StorageVolume",
    "open",
]
