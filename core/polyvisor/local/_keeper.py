"""What the parts of a local driver share: records, guests, locks, events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from polyvisor.errors import ConfigError, NotFound, PolyvisorError
from polyvisor.local._hypervisor import FindsGuests, Guest
from polyvisor.state import boot_id
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Hooks, OpenContext, Outcome
    from polyvisor.events import Event
    from polyvisor.local._discovery import Survey
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import LocalHypervisor, Observation
    from polyvisor.state import Home, NewEvent, Record

__all__ = ["Keeper"]

#: Seconds to wait for a domain's lock; libvirt waits as long for a job
#: (``VIR_DOMAIN_JOB`` in ``src/hypervisor/domain_job.c``: 30 s).
LOCK_TIMEOUT = 30.0


class _Roll:
    """A list of records as the store gave it, and who of it is to be looked at.

    Attributes:
        records: the list; as long as nothing changes, the store gives this one.
        asked: those with a guest that can be looked at now.
        others_rest: whether there is nothing to be looked at in the others.
        guests: those of ``asked``.
        unchanged: looks at them that changed nothing; a hypervisor may give the same again.
    """

    __slots__ = ("asked", "guests", "others_rest", "records", "unchanged")

    def __init__(
        self, records: Sequence[Record], asked: Sequence[Record], others_rest: bool
    ) -> None:
        self.records = records
        self.asked = asked
        self.others_rest = others_rest
        self.guests: Sequence[Guest] | None = None
        self.unchanged: object = None


class Keeper:
    """Keeps one host's domains for one connection.

    Attributes:
        uri: the connection's canonical URI.
        hypervisor: runs the guests.
        home: where everything is kept.
        hooks: told of starts and events.
        lock_timeout: seconds to wait for a domain that another operation holds.
    """

    def __init__(
        self, uri: str, hypervisor: LocalHypervisor, home: Home, context: OpenContext
    ) -> None:
        self.uri = uri
        self.hypervisor = hypervisor
        self.home = home
        self.hooks: Hooks = context.hooks
        self.lock_timeout: float = _seconds(context, "lock_timeout", LOCK_TIMEOUT)
        self._store = home.store
        self._boot_id = boot_id()
        # Of records that stay the same object, the guest does too.
        self._guests: dict[UUID, tuple[Record, Guest]] | None = (
            {} if home.store.stable_records else None
        )
        self._roll = _Roll((), (), True)
        # Numbers of the latest events that hooks were told of when they were caused.
        self._told: deque[int] = deque(maxlen=1024)

    # Looking

    def need(self, uuid: UUID) -> Record:
        """Return a domain's record as it stands.

        Raises:
            NotFound: there is none.
        """
        record = self._store.get(uuid)
        if record is None and self._survey(only=uuid):
            record = self._store.get(uuid)
        if record is None:
            raise missing(uuid)
        return record

    def current(
        self,
        find: Callable[[], Record | None],
        *,
        deep: bool = False,
        only: UUID | None = None,
    ) -> Record | None:
        """Return the record that ``find`` reads from the store, after a look at its guest.

        Where the domain has no guest that we know of, the hypervisor may know one that
        somebody else started.
        """
        record = find()
        if record is not None and (record.id is not None or record.intent is not None):
            record = self.fresh(record, deep=deep)
        if (record is None or record.id is None) and self._survey(only=only):
            record = find()
        return record

    def survey(
        self, records: Iterable[Record] | None = None, *, only: UUID | None = None
    ) -> Survey | None:
        """See :func:`polyvisor.local._discovery.survey`."""
        if not isinstance(self.hypervisor, FindsGuests):
            return None
        from polyvisor.local._discovery import survey

        return survey(self, records, only=only)

    def _survey(self, *, only: UUID | None) -> bool:
        found = self.survey(only=only)
        return found is not None and found.changed

    def look(self, uuid: UUID, *, deep: bool = False) -> Record:
        """Return a domain's record after a look at its guest.

        Raises:
            NotFound: there is none, or there was one that is gone with its guest.
        """
        record = self.current(lambda: self._store.get(uuid), deep=deep, only=uuid)
        if record is None:
            raise missing(uuid)
        return record

    def fresh(
        self,
        record: Record,
        *,
        deep: bool = False,
        survey: Survey | None = None,
    ) -> Record | None:
        """Return the record of an active domain after a look at its guest.

        Waits for nobody: while an operation is under way, the record is as it is.

        Args:
            record: what was just read.
            deep: ask the hypervisor, not only whether the guest lives.
            survey: what was just seen of all guests.

        Returns:
            The record as it is now; ``None`` if the domain went with its guest.
        """
        if record.id is None and record.intent is None:
            return record
        deep = deep and not self.hypervisor.looks_deep
        if not deep and record.intent is None and not self._must_end(record):
            found = survey.guests.get(record.id or 0) if survey is not None else None
            if found is not None and found.uuid == record.uuid:
                seen = found.seen
            else:
                seen = self.hypervisor.observe(self.guest(record), deep=False)
            if same_state(seen, record):
                return record
        lock = self.home.locks.try_acquire(str(record.uuid), "look")
        if lock is None:
            return record
        from polyvisor.local._hold import Hold

        with Hold(self, record.uuid, "look", lock) as hold:
            with suppress(PolyvisorError):  # Told to the next one who changes something.
                hold.settle()
            return hold.record

    def fresh_ones(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return records as they are after one look at all guests; see :meth:`fresh`.

        Those that went with their guests are left out.
        """
        roll = self._called(records)
        if not roll.asked and roll.others_rest:
            return records
        asked, guests = roll.asked, self._guests_of(roll)
        looks = self.hypervisor.observe_all(guests)
        if looks is roll.unchanged:
            return records
        changed = {
            record
            for record, seen in zip(asked, looks, strict=True)
            if seen.state is not record.state and not same_state(seen, record)
        }
        if not changed and roll.others_rest:
            roll.unchanged = looks
            return records
        known = set(asked) - changed
        found = (
            one if one in known or (one.id is None and one.intent is None) else self.fresh(one)
            for one in records
        )
        return [one for one in found if one is not None]

    def asked(self, records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Guest]]:
        """Return those of records whose guests can be looked at now, and these guests."""
        roll = self._called(records)
        return roll.asked, self._guests_of(roll)

    def _called(self, records: Sequence[Record]) -> _Roll:
        """Return who of a list is to be looked at; what was said of the same list stands."""
        roll = self._roll
        if roll.records is records:
            return roll
        asked = [
            one
            for one in records
            if one.id is not None and one.intent is None and not self._must_end(one)
        ]
        rest = sum(one.id is not None or one.intent is not None for one in records) == len(asked)
        roll = _Roll(records, asked, rest)
        if all(one.owner is None for one in asked):
            self._roll = roll
        return roll

    def _guests_of(self, roll: _Roll) -> Sequence[Guest]:
        if roll.guests is None:
            roll.guests = [self.guest(one) for one in roll.asked]
        return roll.guests

    def _must_end(self, record: Record) -> bool:
        return record.boot_id != self._boot_id or (
            record.owner is not None and not owner_lives(record.owner)
        )

    def must_end(self, record: Record) -> bool:
        """Say whether the guest cannot or must not be there any more, whatever it looks like."""
        return record.active and self._must_end(record)

    def guest(self, record: Record) -> Guest:
        """Return what the hypervisor is handed for an active domain."""
        known = self._guests.get(record.uuid) if self._guests is not None else None
        if known is not None and known[0] is record:
            return known[1]
        live = record.live
        assert live is not None
        guest = Guest(
            uuid=record.uuid,
            name=record.name,
            id=record.id,
            run_dir=record.run_dir,
            log_dir=self.home.roots.log if self.home.roots is not None else None,
            state=record.state,
            reason=record.reason,
            runtime=dict(record.runtime),
            load_spec=live.spec,
        )
        if self._guests is not None:
            self._guests[record.uuid] = record, guest
        return guest

    def guests(self) -> list[Guest]:
        """Return the guests that are active now."""
        return [
            self.guest(record)
            for record in self._store.records(inactive=False)
            if record.intent is None
        ]

    # Holding

    def hold(
        self,
        uuid: UUID,
        operation: str,
        *,
        may_be_missing: bool = False,
        whatever_state: bool = False,
    ) -> Hold:
        """Lock a domain, put right what a killed process left, and return it.

        Args:
            uuid: the domain.
            operation: what for; others are told so meanwhile.
            may_be_missing: it need not exist yet.
            whatever_state: go on even if something cannot be put right.

        Raises:
            NotFound: it does not exist.
            Busy: another operation held it for longer than the time allowed.
        """
        from polyvisor.local._hold import Hold

        record = self._store.get(uuid)
        if isinstance(self.hypervisor, FindsGuests):
            # Its guest may be gone, and there may be another that somebody else started.
            record = self.current(lambda: self._store.get(uuid), only=uuid)
        if record is None and not may_be_missing:
            raise missing(uuid)
        lock = self.home.locks.acquire(
            str(uuid),
            operation,
            self.lock_timeout,
            subject=record.name if record is not None else str(uuid),
        )
        hold = Hold(self, uuid, operation, lock)
        try:
            with suppress(PolyvisorError) if whatever_state else nullcontext():
                hold.settle()
            if hold.record is None and not may_be_missing:
                raise missing(uuid)
        except BaseException:
            hold.release()
            raise
        return hold

    # Changing

    def put(
        self,
        record: Record,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome | None] | None = None,
    ) -> list[Event]:
        """Keep a record and wake those who listen; see :meth:`Store.put`."""
        numbered = self._store.put(record, events, durable=durable, outcome=outcome)
        if self._guests is not None and record.id is None:
            self._guests.pop(record.uuid, None)
        if numbered:
            self.home.bells.ring()
        return numbered

    def remove(
        self,
        uuid: UUID,
        events: Sequence[NewEvent] = (),
        *,
        durable: bool = False,
        outcome: tuple[str, Outcome] | None = None,
    ) -> list[Event]:
        """Forget a record and wake those who listen; see :meth:`Store.remove`."""
        numbered = self._store.remove(uuid, events, durable=durable, outcome=outcome)
        if self._guests is not None:
            self._guests.pop(uuid, None)
        if numbered:
            self.home.bells.ring()
        return numbered

    def note(self, event: NewEvent) -> None:
        """Keep an event that changes no record, and tell everybody."""
        numbered = self._store.append([event])
        self.home.bells.ring()
        self.tell(numbered)

    def tell(self, events: Sequence[Event]) -> None:
        """Tell hooks of events that we caused."""
        for event in events:
            self._told.append(event.sequence)
            self.hooks.event(self.uri, event)

    def overhear(self, event: Event) -> None:
        """Tell hooks of an event that we heard of, unless we caused it."""
        if event.sequence not in self._told:
            self.tell([event])


#: States between which nothing happens that anybody is told of.
LIVELY = frozenset({DomainState.RUNNING, DomainState.BLOCKED})


def same_state(seen: Observation, record: Record) -> bool:
    """Say whether a look shows what the record says, as far as anybody is told."""
    return seen.state is record.state or (seen.state in LIVELY and record.state in LIVELY)


def missing(uuid: UUID) -> NotFound:
    """Return the error for a domain that is not there."""
    return NotFound(f"no domain with UUID {uuid}", key=str(uuid))


def _seconds(context: OpenContext, key: str, default: float) -> float:
    value = context.settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigError(f"{key} must be a number of seconds, 0 or more, not {value!r}", key=key)
    return float(value)


def this_process() -> str:
    """Return what tells this process from any other, also from a later one of its number."""
    from os import getpid

    pid = getpid()
    return f"{pid}:{_start_time(pid)}"


def owner_lives(owner: str) -> bool:
    """Say whether the process that :func:`this_process` named still lives."""
    pid, _, started = owner.partition(":")
    return _start_time(int(pid)) == started


def _start_time(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # proc(5): the 22nd field; the second may hold blanks, but ends at the last ")".
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""
