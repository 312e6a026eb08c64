"""The source's side of a migration."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import attrs

from polyvisor.driver import Begun, MigrationOptions, Outcome
from polyvisor.errors import (
    HypervisorError,
    MigrationError,
    OperationInvalid,
    PolyvisorError,
)
from polyvisor.events import EventKind
from polyvisor.local._cookie import Cookie
from polyvisor.local._jobs import MOMENTS, confirmed, final, now, sent, travelling
from polyvisor.local._keeper import LIVELY
from polyvisor.local._points import checkpoint_family
from polyvisor.local._switch import PostCopy
from polyvisor.local._switched import is_switched, note_leaving, rest_of, settle_leaving
from polyvisor.local._travel import MigratesGuests
from polyvisor.state import NewEvent
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from polyvisor.jobs import Job, JobProgress
    from polyvisor.jobstats import JobStatistics
    from polyvisor.local._hold import Happened, Hold
    from polyvisor.local._hypervisor import LocalHypervisor
    from polyvisor.local._keeper import Keeper
    from polyvisor.local._rest import Rest
    from polyvisor.model import DomainSpec

__all__ = [
    "Departure",
    "ask",
    "let_go",
    "migrates_guests",
    "settle_departure",
    "take_for_ours",
    "unsettled",
]


#: What a running domain says that has come by a migration.
_TAKEN = frozenset({StateReason.MIGRATED, StateReason.POSTCOPY, StateReason.POSTCOPY_FAILED})


class Departure:
    """A domain on its way out, held from begin to confirm.

    Attributes:
        begun: what begin gives.
    """

    def __init__(self, keeper: Keeper, uuid: UUID, options: MigrationOptions, job: Job) -> None:
        self._keeper = keeper
        self._migration = str(uuid4())
        self._figures: dict[str, int] | None = None
        self._job = job
        self._passes = 0
        self._secured = False
        self._rest: Rest | None = None
        self._hold = keeper.hold(uuid, "migrate")
        try:
            self.begun = self._begin(options)
            self._posting = keeper.home.jobs.show(str(uuid), job)
        except BaseException:
            intent = self._hold.known.intent
            if intent is not None and intent.get("id") == self._migration:
                self._hold.change(intent=None)
            self._hold.release()
            raise

    def _begin(self, options: MigrationOptions) -> Begun:
        hold = self._hold
        record = hold.known
        if record.intent is not None:
            raise unsettled(hold)
        if options.offline:
            record = hold.need_inactive()
        else:
            record = hold.need_active()
            if record.state not in LIVELY and record.state is not DomainState.PAUSED:
                raise hold.invalid(f"it is {record.state}")
        if options.undefine_source and record.persistent:
            self._check_nothing_is_left()
        document = record.live or record.definition
        assert document is not None
        spec = _as_over_there(attrs.evolve(document.spec(), id=None), options)
        definition = None
        if record.definition is not None:
            if record.live is None:
                definition = spec.to_xml()
            elif options.name is None:
                definition = record.definition.text()
            else:
                definition = attrs.evolve(record.definition.spec(), name=options.name).to_xml()
        self._definition = definition
        running = record.state in LIVELY
        hold.change(
            intent={
                "op": "migrate-out",
                "id": self._migration,
                "peer": options.destination,
                "phase": "begun",
                "running": running,
                "reason": str(record.reason),
                "undefine": options.undefine_source,
                "post_copy": options.post_copy,
            }
        )
        cookie = Cookie(
            self._migration,
            versions=migrates_guests(self._keeper.hypervisor).written_versions(),
            hostname=os.uname().nodename,
            running=running,
            definition=definition,
            hypervisor=self._keeper.hypervisor.name,
        )
        wrapped = migrates_guests(self._keeper.hypervisor).begin_cookie(
            cookie.to_bytes(),
            guest=hold.guest if record.active else None,
            spec=attrs.evolve(spec, uuid=hold.uuid),
            options=options,
            hostname=cookie.hostname,
        )
        return Begun(spec, wrapped)

    def _check_nothing_is_left(self) -> None:
        """Refuse to take away a domain with what only this host has."""
        hold = self._hold
        if hold.known.managed_save is not None:
            raise hold.invalid(
                "it has a managed save image, which would be lost with its definition; start it "
                "and migrate it live, or remove the image"
            )
        if self._keeper.home.store.snapshots(hold.uuid):
            raise hold.invalid(
                "it has snapshots, which would be lost with its definition; delete them, or keep "
                "the definition here"
            )
        if self._keeper.home.store.objects(checkpoint_family(hold.uuid)):
            raise hold.invalid(
                "it has checkpoints, which would be lost with its definition; delete them, or "
                "keep the definition here"
            )

    def perform(
        self, uri: str | None, cookie: bytes | None, options: MigrationOptions, job: Job
    ) -> bytes | None:
        """Send the guest; it stands still here when this returns."""
        hold = self._hold
        # From here on the destination is asked who has the domain. That is on the disk before the
        # destination may take it; it is written there while the stream begins, so that nothing has
        # to be flushed while the guest stands still.
        self._phase("performing", durable=False)
        hypervisor = migrates_guests(self._keeper.hypervisor)
        if options.offline:
            self._secure()
            facts = Cookie(self._migration).to_bytes()
            return hypervisor.tell("perform", facts, guest=None, options=options)
        if uri is None:
            raise MigrationError(
                f"migrate {hold.known.name!r}: the destination does not say where it listens",
                phase="perform",
                side="source",
                owner="source",
            )
        told = Cookie.from_bytes(hypervisor.told(cookie)[0], "perform", "source")
        # A destination that says nothing has taken what begin told it.
        version = told.version if told is not None else None
        version = version if version is not None else hypervisor.written_versions()[0]
        stops_itself = self._keeper.hypervisor.streams_stop_guests
        stopped = None
        if hold.known.state not in LIVELY:
            stopped = 0
        elif not options.live:
            stopped = now()
        if not options.live and hold.known.state in LIVELY and not stops_itself:
            self._keeper.hypervisor.suspend(hold.guest)
            self._standing_still()
        job.listen(lambda _: self._secure())
        if options.post_copy:
            job.listen(self._heard)
        figures = hypervisor.send_with(hold.guest, uri, version, options, job, cookie)
        self._secure()
        if self._switched:
            note_leaving(hold, PostCopy.FLOWING)
        else:
            self._sent()
        hold.tell()
        self._figures = hold.guest.statistics = sent(job, figures, stopped)
        answer = hypervisor.tell(
            "perform",
            Cookie(self._migration, version=version, statistics=self._figures).to_bytes(),
            guest=hold.guest,
            options=options,
            definition=self._definition,
        )
        if self._switched:
            from polyvisor.local._rest import Rest

            self._rest = Rest(hold, job)
        return answer

    def _heard(self, progress: JobProgress) -> None:
        """Write down that the guest is about to be switched, before it is; tell of passes.

        Who is to switch it after so many passes over memory waits for these.
        """
        if progress.phase == "post-copy" and not self._switched:
            self._phase("post-copy")
        hold = self._hold
        while self._passes < progress.iteration:
            self._passes += 1
            told, kind = {"iteration": self._passes}, EventKind.MIGRATION_ITERATION
            self._keeper.note(NewEvent(hold.uuid, hold.known.name, kind, "", told))

    @property
    def _switched(self) -> bool:
        intent = self._hold.known.intent
        return intent is not None and intent["phase"] == "post-copy"

    def _standing_still(self, **more: Any) -> None:
        self._hold.change(
            (EventKind.SUSPENDED, "migrated"),
            state=DomainState.PAUSED,
            reason=StateReason.MIGRATING,
            **more,
        )

    def _phase(self, phase: str, *, durable: bool = True) -> None:
        self._hold.change(intent=self._at(phase), durable=durable)

    def _secure(self) -> None:
        """Have what is recorded of the migration on the disk."""
        if not self._secured:
            self._hold.change(durable=True)
            self._secured = True

    def _sent(self) -> None:
        if self._hold.known.state in LIVELY:
            self._standing_still(intent=self._at("sent"))
        else:
            self._hold.change(intent=self._at("sent"))

    def _at(self, phase: str) -> dict[str, Any]:
        intent = self._hold.known.intent
        assert intent is not None
        return {**intent, "phase": phase}

    def confirm(self, cookie: bytes | None, *, cancelled: bool) -> None:
        """Let go of the domain, or take it back.

        Args:
            cookie: finish's.
            cancelled: take it back.
        """
        hold = self._hold
        try:
            if not cancelled:
                if self._rest is not None:
                    self._wait_for(self._rest)
                record = hold.known
                done = let_go(hold, lambda: self._statistics(cookie))
                if done is not None:
                    kind, figures = EventKind.JOB_COMPLETED, dict(done.figures)
                    self._keeper.note(NewEvent(hold.uuid, record.name, kind, "migration", figures))
            else:
                if self._rest is not None:
                    self._rest.leave()
                self._take_back()
        finally:
            self._posting.close()
            hold.release()

    def _wait_for(self, sending: Rest) -> None:
        """Wait until all memory is over there; the moments of the switch stay as they were."""
        before = self._figures or {}
        rest = sent(self._job, rest_of(self._hold, sending), None)
        self._figures = {**rest, **{name: before[name] for name in MOMENTS if name in before}}

    def _statistics(self, cookie: bytes | None) -> JobStatistics | None:
        """Return how it went, with what the destination says of that; ``None`` if nothing was sent.

        Nothing that it says may keep us from letting go of what it has.
        """
        if self._figures is None:
            return None
        told = None
        with suppress(PolyvisorError):
            hypervisor = migrates_guests(self._keeper.hypervisor)
            read = Cookie.from_bytes(hypervisor.told(cookie)[0], "confirm", "source")
            found = read.statistics if read is not None else hypervisor.told_statistics(cookie)
            told = travelling(found)
        return final("migration", confirmed(self._figures, told))

    def leave_open(self) -> None:
        """Let go with the question open who has the domain, if the destination may have it."""
        hold = self._hold
        try:
            if self._rest is not None:
                self._rest.leave()
            intent = hold.known.intent
            assert intent is not None
            if intent["phase"] in ("sent", "post-copy"):
                settle_departure(hold)
            else:
                take_back(hold)
        finally:
            self._posting.close()
            hold.release()

    def _take_back(self) -> None:
        hold = self._hold
        intent = hold.known.intent
        assert intent is not None
        if self._switched:
            # Nobody but the hypervisors knows whether the word was given before it failed.
            settle_departure(hold)
            record = hold.record
            if record is not None and record.active and record.intent is None:
                return
            if record is None or record.intent is None:
                raise _taken_over(intent)
            if record.intent.get("owner") != "destination":
                raise unsettled(hold)
            peer = intent["peer"] or "its destination"
            raise _not_ours(_in_two_halves(record.intent, peer, record.reason))
        if intent["phase"] == "sent":
            # The destination has all it needs. Whoever says "cancelled" may have lost its
            # connection in the very moment of the commit: better ask.
            answer = ask(hold)
            if answer is Outcome.FINISHED:
                let_go(hold)
                raise _taken_over(intent)
            if answer is Outcome.UNKNOWN:
                hold.change(intent={**intent, "unsettled": "it is still at work on it"})
                raise unsettled(hold)
        take_back(hold)


def _taken_over(intent: dict[str, Any]) -> MigrationError:
    return _not_ours(
        f"the destination {intent['peer']} had taken the domain over already; it is there"
    )


def _not_ours(why: str) -> MigrationError:
    return MigrationError(
        f"migrate: {why}",
        phase="confirm",
        side="source",
        owner="destination",
    )


def _as_over_there(spec: DomainSpec, options: MigrationOptions) -> DomainSpec:
    """Return the definition that the destination is to run."""
    from polyvisor.local._launch import check_compatible

    if options.spec is not None:
        changed = options.spec
        if changed.uuid is None:
            changed = attrs.evolve(changed, uuid=spec.uuid)
        check_compatible(spec, attrs.evolve(changed, name=spec.name), "migrate")
        spec = attrs.evolve(changed, id=None)
    return spec if options.name is None else attrs.evolve(spec, name=options.name)


def let_go(
    hold: Hold, figures: Callable[[], JobStatistics | None] = lambda: None
) -> JobStatistics | None:
    """End the guest here: the domain is the destination's.

    Args:
        hold: the domain.
        figures: says how its migration went, while the guest ends.

    Returns:
        What that said.
    """
    record = hold.known
    intent = record.intent
    assert intent is not None
    happened: list[Happened] = []
    if record.active:
        migrates_guests(hold.keeper.hypervisor).about_to_leave(hold.guest)
    done = figures()
    if record.active:
        hold.keeper.hypervisor.destroy(hold.guest)
        happened.append((EventKind.STOPPED, "migrated"))
    forget = bool(intent["undefine"]) and record.persistent
    if forget:
        happened.append((EventKind.UNDEFINED, "removed"))
    # That the destination has it, it has on its disk: should this not get to ours, it is asked.
    if record.active or forget:
        kept: dict[str, Any] = {} if done is None else {"job": done.to_json()}
        hold.end(StateReason.MIGRATED, *happened, forget=forget, **kept)
    else:
        hold.change(intent=None)
    return done


def take_back(hold: Hold) -> None:
    """Go on with the guest here as before the migration."""
    record = hold.known
    intent = record.intent
    assert intent is not None
    if not record.active:
        hold.change(intent=None, durable=True)
        return
    hypervisor = hold.keeper.hypervisor
    if intent["phase"] in ("sent", "post-copy"):
        migrates_guests(hypervisor).take_back(hold.guest)
    if record.state in LIVELY:  # It was never stopped, or the hypervisor let it run on.
        hold.change(intent=None)
    elif intent["running"]:
        hypervisor.resume(hold.guest)
        hold.change(
            (EventKind.RESUMED, "migrated"),
            state=DomainState.RUNNING,
            reason=StateReason.MIGRATION_CANCELED,
            intent=None,
        )
    else:
        hold.change(state=DomainState.PAUSED, reason=StateReason(intent["reason"]), intent=None)


def settle_departure(hold: Hold) -> None:
    """Find out what became of a domain whose migration was left by a killed process."""
    from polyvisor.local._recovery import end_gone, look

    record = hold.known
    intent = record.intent
    assert intent is not None
    if intent["phase"] == "begun":
        hold.change(intent=None)  # Nothing was sent, so the destination cannot have it.
        return
    if intent.get("post_copy") and record.active and settle_leaving(hold):
        return
    intent = hold.known.intent
    assert intent is not None
    answer = ask(hold)
    if answer is Outcome.FINISHED:
        let_go(hold)
        return
    seen = look(hold) if record.active else None
    gone = seen is not None and seen.state is DomainState.SHUTOFF
    if answer is Outcome.ABORTED:
        if seen is not None and gone:
            end_gone(hold, seen.reason)
        else:
            # Sending may still go on, whatever the record says.
            changes: dict[str, Any] = {"intent": {**intent, "phase": "sent"}}
            if record.active:
                changes["state"] = DomainState.PAUSED
            hold.change(**changes)
            take_back(hold)
        return
    why = "it cannot be reached" if answer is None else "it is still at work on it"
    if record.active and not gone and "unsettled" not in intent:
        migrates_guests(hold.keeper.hypervisor).take_back(hold.guest)
        hold.change(state=DomainState.PAUSED, reason=StateReason.MIGRATING)
    hold.change(intent={**intent, "unsettled": why}, durable=True)


def ask(hold: Hold) -> Outcome | None:
    """Ask the destination what became of a migration; ``None`` if it cannot be asked.

    One that keeps no outcomes, such as libvirt, has the domain from prepare on until it gives it
    up: if it has none, it has aborted, and if it runs it and says why, it has finished.
    """
    from polyvisor.connection import open as open_connection

    intent = hold.known.intent
    if intent is None or intent["peer"] is None or hold.keeper.home.roots is None:
        return None
    with suppress(PolyvisorError), open_connection(intent["peer"]) as peer:
        if peer.driver.migration is not None:
            answer = peer.driver.migration.outcome(intent["id"])
            if answer is not Outcome.UNKNOWN:
                return answer
            domains = peer.driver.domains
            if not domains.exists(hold.uuid):
                return Outcome.ABORTED
            status = domains.status(hold.uuid)
            taken = status.state in LIVELY and status.reason in _TAKEN
            return Outcome.FINISHED if taken else answer
    return None


def unsettled(hold: Hold) -> OperationInvalid:
    """Return the error for a domain of which it is not known whether it is still ours."""
    record = hold.known
    intent = record.intent
    assert intent is not None
    if intent["op"] != "migrate-out":
        return hold.invalid(
            f"an earlier operation ({intent['op']}) was interrupted and could not be put right; "
            f"destroy it first"
        )
    peer = intent["peer"] or "its destination"
    if intent["phase"] == "post-copy":
        return hold.invalid(_in_two_halves(intent, peer, record.reason))
    here = "destroy it here" if record.active else "undefine it here"
    return hold.invalid(
        f"its migration to {peer} was interrupted, and {peer} does not say who has the domain: "
        f"{intent.get('unsettled', 'it is still going on')}; look over there: if it is there, "
        f"{here}; if it is not, abort its job here and go on"
    )


def _in_two_halves(intent: dict[str, Any], peer: str, reason: StateReason) -> str:
    if intent.get("owner") != "destination":
        return (
            f"it was switched to {peer} by post-copy, and {peer} does not say that it has it: "
            f"{intent.get('unsettled', 'it is still going on')}; look over there, and destroy it "
            f"here only if it has all of its memory there or is lost"
        )
    if reason is StateReason.POSTCOPY_FAILED:
        return (
            f"{peer} has the domain, and the rest of its memory is here: migrate it again with "
            f"post_copy_resume, or destroy it here if it is lost over there"
        )
    return f"{peer} has the domain, and the rest of its memory is being sent there by post-copy"


def take_for_ours(hold: Hold) -> bool:
    """Settle, on a person's word, that the destination does not have the domain.

    Returns:
        Whether there was something to settle.
    """
    record = hold.record
    if record is None or record.intent is None:
        return True  # Taking hold of it has settled it.
    if record.intent["op"] != "migrate-out":
        return False
    if record.intent["phase"] == "post-copy" and is_switched(hold):
        raise unsettled(hold)
    changes: dict[str, Any] = {"intent": None}
    if record.active:
        changes.update(state=DomainState.PAUSED, reason=StateReason.USER)
    hold.change(durable=True, **changes)
    return True


def migrates_guests(hypervisor: LocalHypervisor) -> MigratesGuests:
    """Return the hypervisor as one that migrates guests."""
    if not isinstance(hypervisor, MigratesGuests):
        raise HypervisorError(f"{hypervisor.name} cannot migrate guests")
    return cast("MigratesGuests", hypervisor)
