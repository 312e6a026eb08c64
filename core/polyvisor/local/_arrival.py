"""The destination's side of a migration."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs

from polyvisor.driver import Finished, MigrationOptions, Outcome, Prepared
from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    MigrationError,
    OperationInvalid,
    PolyvisorError,
)
from polyvisor.events import EventKind
from polyvisor.jobs import Job
from polyvisor.local._cookie import Cookie, agree, need_same
from polyvisor.local._jobs import arrived, final, now, travelling
from polyvisor.local._switch import PostCopy
from polyvisor.local._switched import ARRIVED, follow, how_far, is_switched
from polyvisor.state import Document, Record
from polyvisor.states import StateReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from polyvisor.local._hold import Happened, Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.state import Posting

__all__ = ["Arrival", "give_up", "settle_arrival"]

#: Seconds for the rest of the stream once the source says that all was sent.
REST_TIMEOUT = 60.0


class Arrival:
    """A domain on its way in, held from prepare to finish.

    Attributes:
        uuid: its UUID.
        prepared: what prepare gives.
    """

    def __init__(
        self, keeper: Keeper, spec: DomainSpec, cookie: bytes | None, options: MigrationOptions
    ) -> None:
        from polyvisor.local._departure import migrates_guests
        from polyvisor.local._launch import announced, check_compatible, completed

        self._keeper = keeper
        self._options = options
        self._hypervisor = migrates_guests(keeper.hypervisor)
        facts, versions = self._hypervisor.unwrap_cookie(cookie, name=spec.name, uuid=spec.uuid)
        self._cookie = Cookie.from_bytes(facts, "prepare", "destination")
        self._migration = self._cookie.migration if self._cookie is not None else str(uuid4())
        if versions is None:
            versions = self._cookie.versions if self._cookie is not None else ()
        if not options.offline:
            need_same(self._cookie, keeper.hypervisor.name, spec.name)
        version = agree(versions, self._hypervisor.stream_versions, spec.name)
        self._spec = completed(keeper, spec, "migrate", kept=options.offline)
        assert self._spec.uuid is not None
        self.uuid = self._spec.uuid
        self._job = Job("migration in")
        self._figures: dict[str, int] | None = None
        self._posting: Posting | None = None
        self._refuse_ourselves()
        self._hold = keeper.hold(self.uuid, "migrate", may_be_missing=True)
        try:
            self._check_free()
            if not keeper.home.store.set_outcome(self._migration, None, uuid=self.uuid):
                raise self._failed("prepare", "this migration was given up already; begin again")
            if options.offline:
                uri = None
            else:
                changed = announced(keeper, self._spec)
                if changed is not self._spec:
                    check_compatible(self._spec, changed, "migrate")
                    self._spec = changed
                missing = self._hypervisor.missing_images(self._spec, options, cookie)
                if not missing:
                    keeper.hypervisor.check_start(self._spec)
                uri = self._receive(version, cookie, missing)
            self._show()
        except BaseException:
            self._hide()
            with suppress(PolyvisorError):
                give_up(self._hold)
                keeper.home.store.set_outcome(self._migration, Outcome.ABORTED)
            self._hold.release()
            raise
        try:
            told = self._told("prepare", version=version, hostname=os.uname().nodename)
        except BaseException:
            self.finish(None, cancelled=True)
            raise
        self.prepared = Prepared(uri, told)

    def _told(self, phase: str, **facts: Any) -> bytes | None:
        """Return what to tell the source, with facts of ours unless it is another's driver.

        libvirt's for Xen, peer to peer, takes an answer that it does not expect for an error.
        """
        ours = Cookie(self._migration, **facts).to_bytes() if self._cookie is not None else b""
        guest = None if self._options.offline else self._hold.guest
        return self._hypervisor.tell(phase, ours, guest=guest, options=self._options)

    def _refuse_ourselves(self) -> None:
        """Refuse a guest that comes from this host: its source has the domain until the end."""
        record = self._keeper.home.store.get(self.uuid)
        intent = record.intent if record is not None else None
        if intent is not None and intent.get("id") == self._migration:
            raise OperationInvalid(
                f"attempt to migrate guest to the same host: {self._spec.name!r} is on its way "
                f"from here",
                domain=self._spec.name,
                operation="migrate",
            )

    def _check_free(self) -> None:
        """Refuse if a domain is in the way."""
        name = self._spec.name
        record = self._hold.record
        if record is not None and record.active:
            why = f"a domain with its UUID is active here ({record.state})"
        elif record is not None and record.name != name:
            why = f"its UUID belongs to the domain {record.name!r} here"
        elif record is not None and record.managed_save is not None:
            why = "the domain of that name and UUID here has a managed save image; remove that"
        else:
            namesake = self._keeper.home.store.by_name(name)
            if namesake is None or namesake.uuid == self.uuid:
                return
            why = f"the name belongs to the domain with UUID {namesake.uuid} here"
        raise AlreadyExists(
            f"migrate {name!r} to {self._keeper.uri}: {why}", domain=name, operation="migrate"
        )

    def _receive(
        self, version: int, cookie: bytes | None, missing: Mapping[str, Callable[[], None]]
    ) -> str:
        before = self._hold.record
        intent: dict[str, Any] = {"op": "migrate-in", "id": self._migration}
        if self._options.post_copy:
            # What takes the domain over if we die after the switch.
            given = self._given
            if given is None and self._options.persistent:
                given = self._spec.to_xml()
            intent["taken"] = {
                "run": self._to_run,
                "definition": None if self._options.persistent is False else given,
            }
        guest = self._hold.begin(
            self._spec,
            intent,
            definition=before.definition if before is not None else None,
            reason=StateReason.MIGRATING,
        )
        if missing:
            self._make(missing)
            self._keeper.hypervisor.check_start(self._spec)
        options = self._options
        if options.uri is None and options.tunnelled and guest.run_dir is not None:
            # The source is in this process, and nobody else is to come in.
            options = attrs.evolve(options, uri=f"unix:{guest.run_dir}/migration")
        guest.meanwhile = self._begun
        try:
            guest.runtime, uri = self._hypervisor.receive_with(
                guest, self._spec, version, options, cookie
            )
        finally:
            guest.meanwhile = None
        self._hold.keep()
        return uri

    def _begun(self) -> None:
        self._hold.keep()
        self._show()

    def _show(self) -> None:
        if self._posting is None:
            self._posting = self._keeper.home.jobs.show(str(self.uuid), self._job)

    def _hide(self) -> None:
        if self._posting is not None:
            self._posting.close()

    def _make(self, missing: Mapping[str, Callable[[], None]]) -> None:
        """Make images for disks that come along, so that whoever gives up here removes them."""
        made: list[str] = []
        for path, make in missing.items():
            self._note_made([*made, path])
            try:
                make()
            except BaseException:
                self._note_made(made)
                raise
            made.append(path)

    def _note_made(self, made: list[str]) -> None:
        intent = self._hold.known.intent
        assert intent is not None
        self._hold.change(intent={**intent, "made": made}, durable=True)

    def finish(self, cookie: bytes | None, *, cancelled: bool) -> Finished:
        """Take the domain over, or give it up.

        Args:
            cookie: perform's.
            cancelled: give it up.
        """
        hold, received = self._hold, now()
        try:
            if cancelled:
                return Finished(self.uuid if self._give_up() else None)
            try:
                self._job.check()
                # Read while the rest of the stream is: the guest stands still.
                definition = self._hypervisor.told(cookie)[1]
                if not self._options.offline:
                    self._hypervisor.received(hold.guest, REST_TIMEOUT)
                self._commit(definition)
            except BaseException as error:
                if self._give_up() and isinstance(error, Exception):
                    return Finished(self.uuid)
                if isinstance(error, PolyvisorError) and not isinstance(error, Cancelled):
                    raise self._failed("finish", error.message) from error
                raise
            # The domain is ours now, whatever happens to it: nobody may be told otherwise.
            if not self._options.offline:
                with suppress(PolyvisorError):
                    self._hypervisor.heed(hold.guest, cookie)
                with suppress(PolyvisorError):  # Recorded, and tried anew at the next look.
                    self._run(cookie, received)
                    if ARRIVED in hold.guest.runtime:
                        follow(hold)  # What came before it was ours was not listened to.
            with suppress(PolyvisorError):
                return Finished(self.uuid, self._told("finish", statistics=self._figures))
            return Finished(self.uuid)
        finally:
            self._hide()
            self._job.close()
            hold.release()

    def _job_done(self, cookie: bytes | None, received: int) -> str | None:
        """Return what is to be kept of how it went: what the source says, and what only we know."""
        read = Cookie.from_bytes(self._hypervisor.told(cookie)[0], "finish", "destination")
        found = read.statistics if read is not None else self._hypervisor.told_statistics(cookie)
        told = travelling(found)
        if told is None:
            return None
        self._hold.guest.statistics = self._figures = arrived(told, received)
        return final("migration in", self._figures).to_json()

    def _commit(self, persistent_xml: str | None) -> None:
        """Record, durably and at once, that the domain is ours.

        Args:
            persistent_xml: the definition to keep, as another's driver says it.
        """
        hold, options = self._hold, self._options
        definition = hold.record.definition if hold.record is not None else None
        given = self._given if self._given is not None else persistent_xml
        persistent = options.persistent if options.persistent is not None else given is not None
        happened: list[Happened] = []
        if persistent or options.offline:
            happened.append((EventKind.DEFINED, "added" if definition is None else "updated"))
            definition = Document(text=given) if given is not None else Document(self._spec)
        outcome = (self._migration, Outcome.FINISHED)
        if options.offline:
            old = hold.record
            record = old if old is not None else Record(self.uuid, self._spec.name)
            hold.put(
                attrs.evolve(record, definition=definition, title=self._spec.title),
                happened,
                durable=True,
                outcome=outcome,
            )
            return
        reason = StateReason.MIGRATED
        if options.post_copy and is_switched(hold):
            hold.guest.runtime[ARRIVED], reason = True, StateReason.POSTCOPY
        intent = {
            "op": "run",
            "run": self._to_run,
            "reason": str(reason),
            "image": None,
        }
        changes: dict[str, Any] = {"definition": definition, "intent": intent}
        hold.change(
            (EventKind.STARTED, "migrated"), *happened, durable=True, outcome=outcome, **changes
        )

    @property
    def _given(self) -> str | None:
        """The definition that is to be kept, if our own cookie says it."""
        return self._cookie.definition if self._cookie is not None else None

    @property
    def _to_run(self) -> bool:
        running = self._cookie.running if self._cookie is not None else True
        return running and not self._options.paused

    def _run(self, cookie: bytes | None, received: int) -> None:
        from polyvisor.local._launch import let_run

        def job() -> dict[str, Any]:
            done = None
            with suppress(PolyvisorError):  # The guest runs, whatever is said of its way here.
                done = self._job_done(cookie, received)
            return {} if done is None else {"job": done}

        let_run(self._hold, job)

    def _give_up(self) -> bool:
        """Give the domain up; return whether it cannot be, since its guest is here already."""
        if self._options.post_copy and not self._options.offline and take_over(self._hold):
            return True
        give_up(self._hold)
        self._keeper.home.store.set_outcome(self._migration, Outcome.ABORTED)
        return False

    def _failed(self, phase: str, why: str) -> MigrationError:
        return MigrationError(
            f"migrate {self._spec.name!r}: {phase} failed on the destination "
            f"{self._keeper.uri}: {why}; the domain is on the source as before",
            phase=phase,
            side="destination",
            owner="source",
            domain=self._spec.name,
            operation="migrate",
        )


def give_up(hold: Hold) -> None:
    """Clear an arrival away: the domain stays the source's."""
    record = hold.record
    if record is None or record.intent is None or record.intent["op"] != "migrate-in":
        return
    hold.keeper.hypervisor.destroy(hold.guest)
    for path in record.intent.get("made", ()):
        with suppress(OSError):
            os.unlink(path)
    hold.end(StateReason.FAILED, durable=True, outcome=(record.intent["id"], Outcome.ABORTED))


def settle_arrival(hold: Hold) -> None:
    """Settle an arrival that nobody works on: it is given up.

    Not so if the guest is here already, by post-copy, or if it may be any moment: as long as
    that stream flows, the source has not given up either.
    """
    record = hold.record
    if record is not None and record.active and "taken" in (record.intent or {}):
        far = how_far(hold)
        if far is PostCopy.AHEAD or take_over(hold):
            return
    give_up(hold)


def take_over(hold: Hold) -> bool:
    """Take over and run a guest that was switched to us before anybody could commit.

    Returns:
        Whether there is one.
    """
    from polyvisor.local._launch import let_run

    record = hold.record
    if record is None or record.intent is None or record.intent["op"] != "migrate-in":
        return False
    if not record.active or not is_switched(hold):
        return False
    intent, definition = record.intent, record.definition
    taken = intent["taken"]
    happened: list[Happened] = [(EventKind.STARTED, "migrated")]
    if taken["definition"] is not None:
        happened.append((EventKind.DEFINED, "added" if definition is None else "updated"))
        definition = Document(text=taken["definition"])
    hold.guest.runtime[ARRIVED] = True
    hold.change(
        *happened,
        durable=True,
        outcome=(intent["id"], Outcome.FINISHED),
        definition=definition,
        intent={
            "op": "run",
            "run": taken["run"],
            "reason": str(StateReason.POSTCOPY),
            "image": None,
        },
    )
    with suppress(PolyvisorError):  # Recorded, and tried anew at the next look.
        let_run(hold)
    return True
