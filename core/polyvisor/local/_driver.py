"""The driver that plugins derive theirs from."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from polyvisor.driver import Driver
from polyvisor.local._domains import LocalDomains
from polyvisor.local._keeper import Keeper
from polyvisor.local._travel import MigratesGuests, SavesGuests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from polyvisor.driver import (
        Annotations,
        Backups,
        Checkpoints,
        Devices,
        Domains,
        Events,
        Migration,
        OpenContext,
        Resources,
        Save,
        Snapshots,
        Tuning,
    )
    from polyvisor.events import AnyEvent
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest, LocalHypervisor
    from polyvisor.state import Home

__all__ = ["LocalDriver"]


class _Part:
    """A part of the driver that is made, and its module imported, when it is first used.

    Args:
        make: makes the part.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, driver: Any, owner: type) -> Any:
        if driver is None:
            return None  # as of a driver without the part
        with driver._making:
            if self._name not in vars(driver):
                part = vars(driver)[self._name] = self._make(driver)
                driver._made.append(part)
        return vars(driver)[self._name]


def _save(driver: LocalDriver) -> Save | None:
    if not isinstance(driver.hypervisor, SavesGuests):
        return None
    from polyvisor.local._save import LocalSave

    return LocalSave(driver._keeper)


def _snapshots(driver: LocalDriver) -> Snapshots | None:
    if not isinstance(driver.hypervisor, SavesGuests):
        return None
    from polyvisor.local._snapshots import LocalSnapshots

    return LocalSnapshots(driver._keeper)


def _migration(driver: LocalDriver) -> Migration | None:
    if not isinstance(driver.hypervisor, MigratesGuests):
        return None
    from polyvisor.local._migration import LocalMigration

    return LocalMigration(driver._keeper)


def _checkpoints(driver: LocalDriver) -> Checkpoints | None:
    from polyvisor.local._hypervisor import TracksDisks

    if not isinstance(driver.hypervisor, TracksDisks):
        return None
    from polyvisor.local._checkpoints import LocalCheckpoints

    return LocalCheckpoints(driver._keeper)


def _backups(driver: LocalDriver) -> Backups | None:
    from polyvisor.local._disk_backups import BacksUpDisks

    if not isinstance(driver.hypervisor, BacksUpDisks):
        return None
    from polyvisor.local._backups import LocalBackups

    return LocalBackups(driver._keeper)


def _events(driver: LocalDriver) -> Events | None:
    from polyvisor.local._events import LocalEvents

    return LocalEvents(driver._keeper)


def _devices(driver: LocalDriver) -> Devices | None:
    from polyvisor.local._devices import LocalDevices

    return LocalDevices(driver._keeper)


def _resources(driver: LocalDriver) -> Resources | None:
    from polyvisor.local._resources import LocalResources

    return LocalResources(driver._keeper)


def _annotations(driver: LocalDriver) -> Annotations | None:
    from polyvisor.local._annotations import LocalAnnotations

    return LocalAnnotations(driver._keeper)


def _tuning(driver: LocalDriver) -> Tuning | None:
    from polyvisor.local._tuning import LocalTuning

    return LocalTuning(driver._keeper, lambda: driver.host().cpus)


class LocalDriver(Driver):
    """A driver over a :class:`LocalHypervisor`; a plugin adds ``open``, ``host``, ``support``.

    The parts ``save``, ``snapshots`` and ``migration`` are there if the hypervisor derives
    from :class:`SavesGuests` and :class:`MigratesGuests`. ``devices`` and ``resources`` change
    definitions of any, and running guests of one that derives from :class:`ChangesGuests`;
    so does ``tuning`` with :class:`TunesGuests`. ``checkpoints`` is there if it derives
    from :class:`TracksDisks`, and ``backups`` with :class:`BacksUpDisks`.

    Args:
        uri: the canonical URI, by which any process of this user comes to the same host;
            :meth:`polyvisor.state.Roots.canonical` makes it.
        hypervisor: runs the guests.
        home: where definitions and everything else is kept; drivers that are to be the
            same host within a process may share one in memory.
        context: what :meth:`Driver.open` was given. Of its settings, ``lock_timeout``
            is for this class: seconds to wait for a domain that is busy, default 30.

    Attributes:
        hypervisor: runs the guests.
        home: where everything is kept.
    """

    save: Save | None = cast("Save", _Part(_save))
    snapshots: Snapshots | None = cast("Snapshots", _Part(_snapshots))
    migration: Migration | None = cast("Migration", _Part(_migration))
    checkpoints: Checkpoints | None = cast("Checkpoints", _Part(_checkpoints))
    backups: Backups | None = cast("Backups", _Part(_backups))
    events: Events | None = cast("Events", _Part(_events))
    devices: Devices | None = cast("Devices", _Part(_devices))
    resources: Resources | None = cast("Resources", _Part(_resources))
    tuning: Tuning | None = cast("Tuning", _Part(_tuning))
    annotations: Annotations | None = cast("Annotations", _Part(_annotations))

    def __init__(
        self, uri: str, hypervisor: LocalHypervisor, home: Home, context: OpenContext
    ) -> None:
        self.uri = uri
        self.hypervisor = hypervisor
        self.home = home
        self._keeper = Keeper(uri, hypervisor, home, context)
        # A reference to ourselves would keep us, and what is open here, until cycles are collected.
        this = ref(self)
        self._domains = LocalDomains(self._keeper, lambda: getattr(this(), "events", None))
        self.domains: Domains = self._domains
        self._made: list[Any] = []
        self._making = RLock()

    def first_of_boot(self) -> bool:
        """Say whether nobody has asked this of these domains since the host was booted."""
        return self.home.first_of_boot()

    def hold(self, uuid: UUID, operation: str) -> Hold:
        """Lock a domain for an operation of the plugin's own; use it in a ``with`` block.

        Raises:
            NotFound: it does not exist.
            Busy: another operation held it for longer than the time allowed.
        """
        return self._keeper.hold(uuid, operation)

    def guest(self, uuid: UUID) -> Guest:
        """Return the guest of an active domain, to look at.

        Raises:
            NotFound: it does not exist.
            OperationInvalid: it is not active.
        """
        record = self._keeper.look(uuid)
        if not record.active:
            from polyvisor.errors import OperationInvalid

            raise OperationInvalid(f"{record.name!r} is not running", domain=record.name)
        return self._keeper.guest(record)

    def monitored(self, *, timeout: float | None = None) -> Iterator[AnyEvent]:
        """Return what hypervisors' own monitors tell of domains from now on.

        Those are the events of the kind ``guest`` with the detail :data:`MONITOR` that the
        plugin's ``watch`` reports; nobody else is told of them. The iterator has a method
        ``end``, as :meth:`polyvisor.driver.Events.stream` says.
        """
        from polyvisor.local._events import LocalEvents

        events = self.events
        assert isinstance(events, LocalEvents)
        return events.monitored(timeout=timeout)

    def close(self) -> None:
        """Stop listening, give up open migrations, destroy what was to last as long as this."""
        for part in self._made:
            if hasattr(part, "close"):
                part.close()
        self._domains.destroy_own()
        self.home.close()
        self.hypervisor.close()
