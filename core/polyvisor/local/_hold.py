"""A domain that is locked: what may be done with it, and how it is recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import attrs

from polyvisor.errors import OperationInvalid, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._belongings import doomed_tpm, remove_all
from polyvisor.local._keeper import LIVELY
from polyvisor.local._points import checkpoint_family
from polyvisor.state import Document, NewEvent, Record, boot_id, remove_tree
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from polyvisor.driver import Outcome
    from polyvisor.events import Event
    from polyvisor.jobs import Job
    from polyvisor.local._hypervisor import Closeable, Guest
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.state import Lock

__all__ = ["Hold"]

#: Added to the number of a guest that its hypervisor has not numbered yet.
PROVISIONAL = 1 << 20

#: An event to be kept with a change: its kind and detail.
Happened = tuple[EventKind, str] | tuple[EventKind, str, dict[str, Any]]


class Hold:
    """One domain, locked against every other operation from any process.

    Made by :meth:`Keeper.hold` or, in a plugin, by ``LocalDriver.hold``; a context manager
    that lets go at the end.

    Attributes:
        keeper: what it belongs to.
        uuid: the domain's UUID.
        operation: what it is held for.
        record: the domain's record; ``None`` if it does not exist.
    """

    def __init__(self, keeper: Keeper, uuid: UUID, operation: str, lock: Lock) -> None:
        self.keeper = keeper
        self.uuid = uuid
        self.operation = operation
        self.record: Record | None = keeper.home.store.get(uuid)
        self._lock = lock
        self._guest: Guest | None = None
        self._kept: dict[str, Closeable] = {}
        self._untold: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the domain, then tell hooks what happened. A second call does nothing."""
        try:
            self._keep_runtime()
        finally:
            if self._guest is not None:
                self._guest.kept = None
            while self._kept:
                self._kept.popitem()[1].close()
            self._lock.release(discard=self.record is None)
        self.tell()

    def tell(self) -> None:
        """Tell hooks what happened so far."""
        events, self._untold = self._untold, []
        self.keeper.tell(events)

    # What it is

    @property
    def known(self) -> Record:
        """The record of a domain that exists."""
        assert self.record is not None
        return self.record

    @property
    def guest(self) -> Guest:
        """What the hypervisor is handed for it while it is active."""
        if self._guest is None:
            self._guest = self.keeper.guest(self.known)
            self._guest.kept = self._kept
        return self._guest

    def need_active(self) -> Record:
        """Return the record of an active domain.

        Raises:
            OperationInvalid: it is not active.
        """
        record = self.known
        if not record.active:
            raise self.invalid("it is not running")
        return record

    def need_inactive(self) -> Record:
        """Return the record of an inactive domain.

        Raises:
            OperationInvalid: it is active.
        """
        record = self.known
        if record.active:
            raise self.invalid(f"it is already active ({record.state})")
        return record

    def invalid(self, why: str) -> OperationInvalid:
        """Return the error for an operation that its state does not allow."""
        name = self.record.name if self.record is not None else str(self.uuid)
        return OperationInvalid(
            f"{self.operation} {name!r}: {why}", domain=name, operation=self.operation
        )

    # Changing it

    def change(
        self,
        *happened: Happened,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
        **changes: Any,
    ) -> Record:
        """Record a change and what happened.

        Args:
            happened: events, in order.
            durable: as for :meth:`Store.put`.
            outcome: as for :meth:`Store.put`.
            changes: new values of the record's fields; the guest's runtime facts are
                taken along.
        """
        if self._guest is not None:
            changes.setdefault("runtime", dict(self._guest.runtime))
            if self._guest.id != self.known.id and "id" not in changes:
                changes.update(self._renumbered(self._guest))
            became, self._guest.became = self._guest.became, None
            if became is not None:
                live = Document(attrs.evolve(became, id=changes.get("id", self.known.id)))
                self._guest.load_spec = live.spec
                changes["live"] = live
        return self.put(
            attrs.evolve(self.known, **changes), happened, durable=durable, outcome=outcome
        )

    def _renumbered(self, guest: Guest) -> dict[str, Any]:
        """Return the changes that a number of the hypervisor's own means."""
        live = self.known.live
        assert live is not None
        assert guest.id is not None
        other = self.keeper.home.store.by_id(guest.id)
        if other is not None and other.uuid != self.uuid:
            # Numbers are given anew only when their guests are gone.
            self.keeper.fresh(other, deep=True)
        return {"id": guest.id, "live": Document(attrs.evolve(live.spec(), id=guest.id))}

    def put(
        self,
        record: Record,
        happened: Sequence[Happened] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
        before: str | None = None,
    ) -> Record:
        """Record what the domain is from now on.

        Args:
            record: what it is.
            happened: events, in order.
            durable: as for :meth:`Store.put`.
            outcome: as for :meth:`Store.put`.
            before: the name by which the first event tells of it, if it had another.
        """
        events = [NewEvent(self.uuid, record.name, *one) for one in happened]
        if before is not None:
            events[0] = attrs.evolve(events[0], name=before)
        self._untold += self.keeper.put(record, events, durable=durable, outcome=outcome)
        self.record = record
        guest = self._guest
        if guest is not None:
            if guest.id == record.id:
                guest.state, guest.reason = record.state, record.reason
            else:
                self._guest = None
        return record

    def finished(self, job: Job) -> None:
        """Keep the figures of a job that has come to its end, for whoever asks for them."""
        from polyvisor.local._jobs import completed

        self.change(job=completed(job))

    def remove(
        self, *happened: Happened, durable: bool = False, outcome: tuple[str, Outcome] | None = None
    ) -> None:
        """Forget the domain, with its snapshots and checkpoints."""
        record, home = self.known, self.keeper.home
        home.jobs.forget(str(self.uuid))
        if home.roots is not None:
            remove_tree(f"{home.roots.state}/snapshots/{self.uuid}")
        elif home.store.snapshots(self.uuid):
            remove_tree(f"{home.folder('snapshots')}/{self.uuid}")
        for point in home.store.objects(checkpoint_family(self.uuid)):
            home.store.remove_object(point.family, point.key)
        events = [NewEvent(self.uuid, record.name, *one) for one in happened]
        self._untold += self.keeper.remove(self.uuid, events, durable=durable, outcome=outcome)
        self.record = None
        self._guest = None

    def keep(self) -> None:
        """Record what the hypervisor has changed of the guest, if it has."""
        guest, record = self._guest, self.record
        if guest is None or record is None:
            return
        if guest.became is not None or (guest.id, guest.runtime) != (record.id, record.runtime):
            self.change()

    def _keep_runtime(self) -> None:
        guest, record = self._guest, self.record
        if guest is not None and record is not None and guest.runtime != record.runtime:
            with suppress(PolyvisorError):  # What we were called for has succeeded or failed.
                self.put(attrs.evolve(record, runtime=dict(guest.runtime)))

    # Its guest's beginning and end

    def begin(
        self,
        spec: DomainSpec,
        intent: dict[str, Any],
        *,
        definition: Document | None,
        reason: StateReason = StateReason.STARTING_UP,
        outcome: tuple[str, Outcome | None] | None = None,
        owner: str | None = None,
    ) -> Guest:
        """Record that a guest is about to be made, and make its folder.

        Whoever comes after a process that was killed from here on finds the intent, and
        has the hypervisor clear away what there is.
        """
        home = self.keeper.home
        number = home.store.next_id()
        while os.path.lexists(home.run_dir(number) or ""):
            number = home.store.next_id()  # An earlier host of this name left a folder.
        run_dir = number
        if self.keeper.hypervisor.numbers_guests:
            number += PROVISIONAL
        old = self.record
        assert spec.uuid == self.uuid
        self._guest = None
        self.put(
            Record(
                uuid=self.uuid,
                name=spec.name,
                definition=definition,
                live=Document(attrs.evolve(spec, id=number)),
                id=number,
                state=DomainState.PAUSED,
                reason=reason,
                autostart=old.autostart if old is not None else False,
                title=old.title if old is not None and definition is not None else spec.title,
                managed_save=old.managed_save if old is not None else None,
                run_dir=home.run_dir(run_dir),
                boot_id=boot_id(),
                intent=intent,
                owner=owner,
                job=old.job if old is not None else None,
            ),
            outcome=outcome,
        )
        home.make_run_dir(run_dir)
        home.log_dir()
        return self.guest

    def end(
        self,
        reason: StateReason,
        *happened: Happened,
        durable: bool = False,
        outcome: tuple[str, Outcome] | None = None,
        forget: bool = False,
        **changes: Any,
    ) -> None:
        """Record that the guest is gone: the domain is shut off, or gone too if transient.

        Args:
            reason: why it is shut off.
            happened: events, in order.
            durable: as for :meth:`Store.put`.
            outcome: as for :meth:`Store.put`.
            forget: forget the domain though it is persistent.
            changes: further new values of the record's fields.
        """
        record = self.known
        if record.run_dir is not None:
            remove_tree(record.run_dir)
        self._guest = None
        if forget or not record.persistent:
            if not forget and reason is not StateReason.MIGRATED and record.live is not None:
                remove_all(doomed_tpm(self.keeper.hypervisor, record.live))
            self.remove(*happened, durable=durable, outcome=outcome)
        else:
            record = attrs.evolve(off(record, reason), **changes)
            self.put(record, happened, durable=durable, outcome=outcome)

    @contextmanager
    def standing(self, path: str, *, live: bool = False) -> Iterator[None]:
        """Have a guest stand still while its core is written; then it goes on as it was.

        It does not if the domain has ended meanwhile. If this process is killed, whoever next
        looks lets it go on, and takes away what there is of the file.

        Args:
            path: where the core is to be.
            live: it runs on, and stands still only if that is how its core is written.
        """
        before = self.need_active()
        running = before.state in LIVELY
        intent = {
            "op": "save",
            "path": path,
            "running": running,
            "reason": str(before.reason),
            "managed": False,
        }
        stands: dict[str, Any] = {"state": DomainState.PAUSED, "reason": StateReason.DUMPING}
        self.change(intent=intent, **(stands if running and not live else {}))
        try:
            if running and not live:
                self.keeper.hypervisor.suspend(self.guest)
            yield
        except BaseException:
            with suppress(PolyvisorError):  # It stays recorded, to be tried anew.
                self._as_before(before)
            raise
        self._as_before(before)

    def _as_before(self, before: Record) -> None:
        if self.record is not None and self.record.active:
            if before.state in LIVELY:
                self.keeper.hypervisor.resume(self.guest)
            self.change(state=before.state, reason=before.reason, intent=None)

    def undo(self, before: Record | None) -> None:
        """After a failed attempt to run a guest: clear it away, the domain is as before."""
        self.keeper.hypervisor.destroy(self.guest)
        record = self.known
        if record.run_dir is not None:
            remove_tree(record.run_dir)
        self._guest = None
        if before is None or not before.persistent:
            self.remove()
        else:
            self.put(off(before, StateReason.FAILED))

    def settle(self) -> None:
        """Put right what a killed process left, and notice what the guest did of itself."""
        if self.record is not None and (self.record.active or self.record.intent is not None):
            from polyvisor.local._recovery import settle

            settle(self)


def off(record: Record, reason: StateReason) -> Record:
    """Return the record of a domain as it is without a guest."""
    return attrs.evolve(
        record,
        live=None,
        id=None,
        state=DomainState.SHUTOFF,
        reason=reason,
        runtime={},
        run_dir=None,
        boot_id=None,
        intent=None,
        owner=None,
    )
