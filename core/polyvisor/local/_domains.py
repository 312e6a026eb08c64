"""Defining, finding, running and stopping domains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Domains
from polyvisor.errors import (
    AlreadyExists,
    Busy,
    NotFound,
    OperationInvalid,
    PolyvisorError,
    StorageError,
    Timeout,
)
from polyvisor.events import EventKind
from polyvisor.local._keeper import missing, same_state
from polyvisor.states import DomainState, DomainSummary, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import DomainOptions, UndefineOptions
    from polyvisor.jobs import JobProgress
    from polyvisor.jobstats import JobStatistics
    from polyvisor.local._discovery import Survey
    from polyvisor.local._events import LocalEvents
    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.state import Document, Record
    from polyvisor.states import DomainInfo, DomainStatus

    _Told = tuple[DomainSummary, dict[str, Any]]

__all__ = ["LocalDomains", "forget_definition"]


class LocalDomains(Domains):
    """The domains of one host."""

    def __init__(self, keeper: Keeper, events: Callable[[], LocalEvents | None]) -> None:
        self._keeper = keeper
        self._events = events
        self._store = keeper.home.store
        self._hypervisor = keeper.hypervisor
        # The last list of records, and what was made of it.
        self._summaries: tuple[Sequence[Record], Sequence[DomainSummary]] = ((), ())
        self._states: tuple[Sequence[Record], Sequence[_Told]] = ((), ())
        # Domains that are destroyed when the connection closes.
        self._to_destroy: set[UUID] = set()

    # Finding

    def list(self, *, active: bool = True, inactive: bool = True) -> Sequence[UUID]:
        survey = self._keeper.survey()
        if not active:
            return self._store.uuids(active=False)
        running = self._looked_at(self._store.records(inactive=False), survey)
        if inactive:
            return self._store.uuids()
        return [record.uuid for record in running if record.active]

    def summaries(self, *, active: bool = True, inactive: bool = True) -> Sequence[DomainSummary]:
        records, known = self._fresh(active, inactive), self._summaries
        if known[0] is not records:
            known = self._summaries = (records, tuple([one.summary for one in records]))
        return known[1]

    def _fresh(self, active: bool, inactive: bool) -> Sequence[Record]:
        """Return the records of the wanted kinds after a look at all guests at once."""
        keeper = self._keeper
        records: Sequence[Record] = self._store.records(active=active, inactive=inactive)
        survey = keeper.survey(records if active else None)
        if survey is not None and survey.changed:
            records = self._store.records(active=active, inactive=inactive)
        fresh = self._looked_at(records, survey)
        if fresh is records or (active and inactive):
            return fresh
        return [one for one in fresh if (active if one.active else inactive)]

    def _looked_at(self, records: Sequence[Record], survey: Survey | None) -> Sequence[Record]:
        keeper = self._keeper
        if survey is None:
            return keeper.fresh_ones(records)
        looked_at = [keeper.fresh(record, survey=survey) for record in records]
        return [record for record in looked_at if record is not None]

    def summary(self, uuid: UUID) -> DomainSummary:
        return self._keeper.look(uuid).summary

    def by_name(self, name: str) -> UUID:
        record = self._keeper.current(lambda: self._store.by_name(name))
        if record is None:
            raise NotFound(f"no domain called {name!r}", key=name)
        return record.uuid

    def by_id(self, number: int) -> UUID:
        record = self._keeper.current(lambda: self._store.by_id(number))
        if record is None or not record.active:
            raise NotFound(f"no active domain with the number {number}", key=str(number))
        return record.uuid

    def exists(self, uuid: UUID) -> bool:
        return self._keeper.current(lambda: self._store.get(uuid), only=uuid) is not None

    # Asking

    def name(self, uuid: UUID) -> str:
        return self._keeper.look(uuid).name

    def status(self, uuid: UUID) -> DomainStatus:
        from polyvisor.states import DomainStatus

        record = self._keeper.look(uuid, deep=True)
        return DomainStatus(record.state, record.reason)

    def info(self, uuid: UUID) -> DomainInfo:
        from polyvisor.states import DomainInfo

        record = self._keeper.look(uuid, deep=True)
        document = record.live or record.definition
        assert document is not None
        spec = document.spec()
        memory, cpu_time = self._figures(record, spec)
        kind = spec.os.type
        return DomainInfo(
            record.uuid,
            record.name,
            record.id,
            record.state,
            record.reason,
            record.persistent,
            record.autostart,
            record.managed_save is not None,
            record.title,
            os_type=(kind.name if kind is not None else None) or "hvm",
            vcpus=spec.vcpus,
            cpu_time=cpu_time,
            max_memory=spec.memory,
            memory=memory,
        )

    def _figures(self, record: Record, spec: DomainSpec) -> tuple[int, float | None]:
        """Return memory and CPU time; as defined while something else has the guest."""
        if record.active and record.intent is None:
            with suppress(PolyvisorError):  # It may have gone just now.
                return self._hypervisor.memory_and_cpu_time(self._keeper.guest(record))
        return _given(spec), None

    def spec(self, uuid: UUID, *, inactive: bool = False) -> DomainSpec:
        record = self._keeper.look(uuid)
        document = _document(record, inactive)
        spec = document.spec()
        if inactive and document is record.live:
            spec = attrs.evolve(spec, id=None)
        return spec

    def xml(self, uuid: UUID, *, inactive: bool = False) -> str:
        record = self._keeper.look(uuid)
        document = _document(record, inactive)
        if inactive and document is record.live:
            return attrs.evolve(document.spec(), id=None).to_xml()
        return document.text()

    def stats(
        self, uuid: UUID, *, groups: Collection[str] | None = None, backing: bool = False
    ) -> dict[str, Any]:
        for _, figures in self._stats([self._keeper.look(uuid)], groups, backing):
            return figures
        raise missing(uuid)

    def all_stats(
        self,
        *,
        active: bool = True,
        inactive: bool = True,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[tuple[DomainSummary, dict[str, Any]]]:
        if groups is not None and set(groups) <= {"state"}:
            from polyvisor.local._stats import states

            records, known = self._fresh(active, inactive), self._states
            if known[0] is not records:
                told = tuple([(one.summary, states(one)) for one in records])
                known = self._states = (records, told)
            return known[1]
        self._keeper.survey()
        records = self._store.records(active=active, inactive=inactive)
        return [
            (record.summary, figures)
            for record, figures in self._stats(records, groups, backing)
            if (active if record.id is not None else inactive)
        ]

    def _stats(
        self, records: Sequence[Record], groups: Collection[str] | None, backing: bool
    ) -> Iterator[tuple[Record, dict[str, Any]]]:
        """Yield records with their figures, after one look at all that are active."""
        from polyvisor.local._stats import stats

        keeper = self._keeper
        asked, guests = keeper.asked(records)
        ask = self._hypervisor.figures
        looks = ask(guests, groups=groups, backing=backing) if guests else ()
        told = dict(zip(asked, looks, strict=True))
        for record in records:
            figures = told.get(record)
            if figures is None or not same_state(figures.seen, record):
                # What does not answer is not asked again, only looked at.
                now = keeper.fresh(record, deep=figures is not None)
                if now is None:
                    continue
                record = now
            if figures is not None and record.id is not None:
                yield record, stats(record, figures.memory, figures.cpu_time, figures.more)
            else:
                yield record, stats(record, _given(_document(record, False).spec()), None)

    def measure_dirty_rate(self, uuid: UUID, seconds: int, mode: str) -> None:
        with self._keeper.hold(uuid, "measure dirty rate") as hold:
            hold.need_active()
            self._hypervisor.measure_dirty_rate(hold.guest, seconds, mode)

    # Definitions

    def define(self, spec: DomainSpec) -> UUID:
        from polyvisor.local._launch import completed
        from polyvisor.state import Document, Record

        spec = completed(self._keeper, spec, "define")
        uuid = spec.uuid
        assert uuid is not None
        with self._keeper.hold(uuid, "define", may_be_missing=True) as hold:
            old = hold.record
            document = Document(spec)
            if old is None:
                hold.put(
                    Record(uuid, spec.name, definition=document, title=spec.title),
                    [(EventKind.DEFINED, "added")],
                    durable=True,
                )
            else:
                _same_name(old, spec, "define")
                detail = "updated" if old.persistent else "added"
                hold.change(
                    (EventKind.DEFINED, detail),
                    definition=document,
                    title=spec.title,
                    durable=True,
                )
        return uuid

    def undefine(self, uuid: UUID, options: UndefineOptions) -> None:
        from polyvisor.local._belongings import doomed_tpm, kept_variables, remove_all
        from polyvisor.local._points import checkpoint_family

        with self._keeper.hold(uuid, "undefine") as hold:
            record = hold.known
            if not record.persistent:
                raise hold.invalid("it is transient, there is no definition to forget")
            if record.managed_save is not None and not options.managed_save:
                raise hold.invalid(
                    "it has a managed save image; remove that too (managed_save), or start it "
                    "and shut it down first"
                )
            if not record.active:
                count = len(self._store.snapshots(uuid))
                if count and not options.snapshots:
                    raise hold.invalid(f"it has {count} snapshot(s); remove them too (snapshots)")
                count = len(self._store.objects(checkpoint_family(uuid)))
                if count and not options.checkpoints:
                    raise hold.invalid(
                        f"it has {count} checkpoint(s); remove them too (checkpoints)"
                    )
            assert record.definition is not None
            nvram = kept_variables(self._hypervisor, record.definition)
            if nvram is not None and options.nvram is None:
                raise hold.invalid(
                    f"its firmware keeps variables in {nvram}; say whether to remove that too, or "
                    f"to keep it (nvram)"
                )
            doomed = [nvram] if nvram is not None and options.nvram else []
            if record.active:
                hold.change(
                    (EventKind.UNDEFINED, "removed"), definition=None, autostart=False, durable=True
                )
                remove_all(doomed)
            else:
                doomed += doomed_tpm(self._hypervisor, record.definition, options.tpm)
                hold.change(intent={"op": "undefine", "doomed": doomed}, durable=True)
                forget_definition(hold)

    def set_autostart(self, uuid: UUID, autostart: bool) -> None:
        with self._keeper.hold(uuid, "set autostart") as hold:
            if not hold.known.persistent:
                raise hold.invalid("it is transient, so it cannot be started with the host")
            if hold.known.autostart != autostart:
                hold.change(autostart=autostart, durable=True)

    def rename(self, uuid: UUID, name: str) -> None:
        from polyvisor.local._conduct import rename

        rename(self._keeper, uuid, name)

    def set_lifecycle_action(
        self, uuid: UUID, event: str, action: str, *, live: bool, config: bool
    ) -> None:
        from polyvisor.local._conduct import set_lifecycle_action

        set_lifecycle_action(self._keeper, uuid, event, action, live=live, config=config)

    # Life

    def create(self, spec: DomainSpec, options: DomainOptions) -> UUID:
        from polyvisor.local._launch import boot, completed

        spec = completed(self._keeper, spec, "create", kept=False)
        uuid = spec.uuid
        assert uuid is not None
        with self._keeper.hold(uuid, "create", may_be_missing=True) as hold:
            if hold.record is not None:
                _same_name(hold.record, spec, "create")
                if hold.record.active:
                    raise AlreadyExists(
                        f"create {spec.name!r}: a domain with this UUID is active already",
                        domain=spec.name,
                        operation="create",
                    )
            elif (other := self._store.by_name(spec.name)) is not None:
                raise AlreadyExists(
                    f"create {spec.name!r}: the name belongs to the domain with UUID {other.uuid}",
                    domain=spec.name,
                    operation="create",
                )
            boot(hold, spec, options)
            if options.autodestroy:
                self._to_destroy.add(uuid)
        return uuid

    def start(self, uuid: UUID, options: DomainOptions) -> None:
        from polyvisor.local._launch import boot

        with self._keeper.hold(uuid, "start") as hold:
            record = hold.need_inactive()
            _need_no_intent(hold)
            if record.managed_save is not None and not options.force_boot:
                self._start_saved(hold, record.managed_save, options)
            else:
                assert record.definition is not None
                boot(hold, record.definition.spec(), options)
                if record.managed_save is not None:
                    from polyvisor.state._files import remove_file

                    hold.change(managed_save=None, durable=True)
                    remove_file(record.managed_save)
            if options.autodestroy:
                self._to_destroy.add(uuid)

    def _start_saved(self, hold: Hold, path: str, options: DomainOptions) -> None:
        from polyvisor.driver import SaveOptions
        from polyvisor.errors import SaveImageError
        from polyvisor.jobs import Job
        from polyvisor.local._save import restore

        try:
            with Job("restore") as job:
                choice = SaveOptions(
                    paused=True if options.paused else None, bypass_cache=options.bypass_cache
                )
                restore(self._keeper, path, choice, job, managed=hold)
        except (SaveImageError, StorageError) as error:
            raise type(error)(
                f"{error.message}; to boot afresh and drop the managed save image, start with "
                f"force_boot",
                path=error.path,
            ) from error

    def shutdown(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        with self._running(uuid, "shutdown") as hold:
            if modes:
                self._hypervisor.ask_by(hold.guest, "shutdown", modes)
            else:
                self._hypervisor.shutdown(hold.guest)

    def reboot(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        with self._running(uuid, "reboot") as hold:
            if modes:
                self._hypervisor.ask_by(hold.guest, "reboot", modes)
            else:
                self._hypervisor.reboot(hold.guest)
            pending = self._hypervisor.reboot_pending(hold.guest)
        events = self._events() if pending else None
        if events is not None:
            from polyvisor.local._rebooting import see_through

            see_through(events, uuid)

    def reboot_pending(self, uuid: UUID) -> bool:
        record = self._keeper.look(uuid)
        return record.active and self._hypervisor.reboot_pending(self._keeper.guest(record))

    def reset(self, uuid: UUID) -> None:
        with self._running(uuid, "reset") as hold:
            self._hypervisor.reset(hold.guest)
            if not self._hypervisor.tells_resets:
                hold.change((EventKind.REBOOT, ""))

    def suspend(self, uuid: UUID) -> None:
        from polyvisor.local._standing import stop_on_its_way, suspend

        if not stop_on_its_way(self._keeper, uuid):
            with self._running(uuid, "suspend") as hold:
                suspend(hold)

    def resume(self, uuid: UUID) -> None:
        from polyvisor.local._standing import resume

        with self._running(uuid, "resume") as hold:
            resume(hold)

    def _running(self, uuid: UUID, operation: str) -> Hold:
        hold = self._keeper.hold(uuid, operation)
        try:
            hold.need_active()
            _need_no_intent(hold)
        except BaseException:
            hold.release()
            raise
        return hold

    def destroy(self, uuid: UUID) -> None:
        keeper = self._keeper
        keeper.need(uuid)
        lock = keeper.home.locks.try_acquire(str(uuid), "destroy")
        if lock is None:
            keeper.home.jobs.cancel(str(uuid), "the domain is destroyed")
        else:
            lock.release()
        with keeper.hold(uuid, "destroy", whatever_state=True) as hold:
            record = hold.need_active()
            self._hypervisor.destroy(hold.guest)
            hold.end(StateReason.DESTROYED, (EventKind.STOPPED, "destroyed"), durable=False)
            self._to_destroy.discard(uuid)
            if record.intent is not None and record.intent["op"] == "save":
                from polyvisor.state._files import remove_part

                with suppress(Busy, OSError):
                    remove_part(record.intent["path"])

    def destroy_own(self) -> None:
        """Destroy what was started to last as long as the connection."""
        while self._to_destroy:
            with suppress(NotFound, OperationInvalid):
                self.destroy(self._to_destroy.pop())

    # Waiting

    def wait(self, uuid: UUID, *, timeout: float | None = None) -> DomainStatus:
        from time import monotonic

        from polyvisor.states import DomainStatus

        deadline = None if timeout is None else monotonic() + timeout
        record = self._keeper.need(uuid)
        while True:
            now = self._keeper.fresh(record)
            if now is None:
                return DomainStatus(DomainState.SHUTOFF, self._last_reason(uuid))
            if not now.active:
                return DomainStatus(now.state, now.reason)
            left = None if deadline is None else max(0.0, deadline - monotonic())
            if not self._hypervisor.wait_gone(self._keeper.guest(now), left):
                raise Timeout(
                    f"wait {now.name!r}: it is still {now.state} after {timeout:g} s",
                    domain=now.name,
                    operation="wait",
                )
            # Whoever ended the guest may still hold the domain to record it.
            with self._keeper.hold(uuid, "wait", may_be_missing=True, whatever_state=True) as hold:
                if hold.record is None:
                    return DomainStatus(DomainState.SHUTOFF, self._last_reason(uuid))
                record = hold.record

    def _last_reason(self, uuid: UUID) -> StateReason:
        """Return why a transient domain stopped, which only the journal still knows."""
        first = max(0, self._store.last_sequence() - 100)
        from polyvisor.events import ObjectEvent

        with suppress(PolyvisorError):
            for event in reversed(self._store.events_after(first)):
                if isinstance(event, ObjectEvent):
                    continue
                if event.domain.uuid == uuid and event.kind is EventKind.STOPPED:
                    from polyvisor.local._recovery import STOPPED_DETAILS

                    for reason, detail in STOPPED_DETAILS.items():
                        if detail == event.detail:
                            return reason
        return StateReason.UNKNOWN

    # Jobs

    def job(self, uuid: UUID) -> JobProgress | None:
        record = self._keeper.need(uuid)
        told = self._keeper.home.jobs.progress(str(uuid))
        if told is None and "backup_xml" in record.runtime:
            from polyvisor.local._backups import backup_job

            return backup_job(self._keeper, record)
        return told

    def job_statistics(
        self, uuid: UUID, *, completed: bool = False, keep: bool = False
    ) -> JobStatistics | None:
        if not completed:
            return super().job_statistics(uuid)
        from polyvisor.local._jobs import take_statistics

        return take_statistics(self._keeper, uuid, keep=keep)

    def abort_job(self, uuid: UUID) -> None:
        record = self._keeper.need(uuid)
        if self._keeper.home.jobs.cancel(str(uuid), "aborted on request"):
            return
        if "backup_xml" in record.runtime:
            from polyvisor.local._backups import abort_backup

            if abort_backup(self._keeper, record):
                return
        if record.intent is not None and record.intent["op"] == "migrate-out":
            from polyvisor.local._departure import take_for_ours

            with self._keeper.hold(uuid, "abort job", whatever_state=True) as hold:
                if take_for_ours(hold):
                    return
        raise OperationInvalid(
            f"abort job: no job is running on {record.name!r}",
            domain=record.name,
            operation="abort job",
        )


def forget_definition(hold: Hold) -> None:
    """Carry out the intent ``undefine``: the domain is inactive and goes with its files."""
    from polyvisor.local._belongings import remove_all
    from polyvisor.state._files import remove_file

    path, intent = hold.known.managed_save, hold.known.intent
    if path is not None:
        remove_file(path)
    assert intent is not None
    remove_all(intent.get("doomed", ()))
    hold.remove((EventKind.UNDEFINED, "removed"), durable=True)


def _given(spec: DomainSpec) -> int:
    """Return the bytes of memory that a definition gives now."""
    return spec.current_memory if spec.current_memory is not None else spec.memory


def _document(record: Record, inactive: bool) -> Document:
    document = record.definition if inactive or record.live is None else record.live
    if document is None:
        document = record.live
    assert document is not None
    return document


def _same_name(record: Record, spec: DomainSpec, operation: str) -> None:
    if record.name != spec.name:
        raise AlreadyExists(
            f"{operation} {spec.name!r}: its UUID {record.uuid} belongs to the domain "
            f"{record.name!r}",
            domain=spec.name,
            operation=operation,
        )


def _need_no_intent(hold: Hold) -> None:
    if hold.known.intent is not None:
        from polyvisor.local._departure import unsettled

        raise unsettled(hold)
