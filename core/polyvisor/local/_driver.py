"""The driver that plugins derive theirs from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.driver import Driver
from polyvisor.local._domains import LocalDomains
from polyvisor.local._events import LocalEvents
from polyvisor.local._hypervisor import MigratesGuests, SavesGuests
from polyvisor.local._keeper import Keeper
from polyvisor.local._migration import LocalMigration
from polyvisor.local._save import LocalSave
from polyvisor.local._snapshots import LocalSnapshots

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import OpenContext
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest, LocalHypervisor
    from polyvisor.state import Home

__all__ = ["LocalDriver"]


class LocalDriver(Driver):
    """A driver over a :class:`LocalHypervisor`; a plugin adds ``open``, ``host``, ``support``.

    The parts ``save``, ``snapshots`` and ``migration`` are there if the hypervisor derives
    from :class:`SavesGuests` and :class:`MigratesGuests`.

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

    def __init__(
        self, uri: str, hypervisor: LocalHypervisor, home: Home, context: OpenContext
    ) -> None:
        self.uri = uri
        self.hypervisor = hypervisor
        self.home = home
        self._keeper = Keeper(uri, hypervisor, home, context)
        self._domains = LocalDomains(self._keeper)
        self._events = LocalEvents(self._keeper)
        self._migration: LocalMigration | None = None
        self.domains = self._domains
        self.events = self._events
        if isinstance(hypervisor, SavesGuests):
            self.save = LocalSave(self._keeper)
            self.snapshots = LocalSnapshots(self._keeper)
        if isinstance(hypervisor, MigratesGuests):
            self.migration = self._migration = LocalMigration(self._keeper)

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

    def close(self) -> None:
        """Stop listening, give up open migrations, destroy what was to last as long as this."""
        self._events.close()
        if self._migration is not None:
            self._migration.close()
        self._domains.destroy_own()
        self.home.close()
