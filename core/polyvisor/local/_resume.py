"""Taking up a migration by post-copy that was cut off: the phases once more, for the rest.

The destination has the domain all the time, whatever becomes of this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from polyvisor.driver import Begun, Finished, MigrationOptions, Prepared
from polyvisor.errors import MigrationError, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._cookie import Cookie
from polyvisor.local._departure import let_go
from polyvisor.local._jobs import final, sent
from polyvisor.local._rest import Rest
from polyvisor.local._switch import PostCopy
from polyvisor.local._switched import (
    ARRIVED,
    CUT_OFF,
    follow,
    how_far,
    left_behind,
    note_leaving,
    rest_of,
    switches_guests,
)
from polyvisor.state import NewEvent

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec

__all__ = ["ResumedArrival", "ResumedDeparture"]


class ResumedDeparture:
    """The source's side, with the methods of a departure.

    Attributes:
        begun: what begin gives.
    """

    def __init__(self, keeper: Keeper, uuid: UUID, options: MigrationOptions, job: Job) -> None:
        self._keeper = keeper
        self._job = job
        self._rest: Rest | None = None
        self._hypervisor = switches_guests(keeper.hypervisor)
        self._hold = keeper.hold(uuid, "migrate")
        try:
            self.begun = self._begin(options)
            self._posting = keeper.home.jobs.show(str(uuid), job)
        except BaseException:
            self._hold.release()
            raise

    def _begin(self, options: MigrationOptions) -> Begun:
        hold, record = self._hold, self._hold.known
        intent = record.intent
        leaving = intent is not None and intent["op"] == "migrate-out"
        far = how_far(hold) if record.active and leaving else None
        if far is PostCopy.LOST:
            raise hold.invalid(
                "all of its memory had been sent when the stream was cut off, and it is not sent "
                "again; unless all of it is there, destroy it on both sides"
            )
        if far not in (PostCopy.FLOWING, *CUT_OFF):
            raise hold.invalid("no migration of it by post-copy was cut off, which could go on")
        assert intent is not None
        self._migration = str(intent["id"])
        assert record.live is not None
        spec = attrs.evolve(record.live.spec(), id=None)
        if options.name is not None:
            spec = attrs.evolve(spec, name=options.name)
        versions = self._hypervisor.written_versions()
        hostname, name = os.uname().nodename, self._keeper.hypervisor.name
        cookie = Cookie(self._migration, versions=versions, hostname=hostname, hypervisor=name)
        wrapped = self._hypervisor.begin_cookie(
            cookie.to_bytes(),
            guest=hold.guest,
            spec=attrs.evolve(spec, uuid=hold.uuid),
            options=options,
            hostname=hostname,
        )
        return Begun(spec, wrapped)

    def perform(
        self, uri: str | None, cookie: bytes | None, options: MigrationOptions, job: Job
    ) -> bytes | None:
        """Take the stream up; it flows when this returns, or has come to its end."""
        hold = self._hold
        if uri is None:
            raise MigrationError(
                f"migrate {hold.known.name!r}: the destination does not say where it listens",
                phase="perform",
                side="source",
                owner="destination",
            )
        self._hypervisor.resume_rest(hold.guest, uri, options)
        note_leaving(hold, PostCopy.FLOWING)
        hold.tell()
        told = self._hypervisor.tell(
            "perform", Cookie(self._migration).to_bytes(), guest=hold.guest, options=options
        )
        self._rest = Rest(hold, job)
        return told

    def confirm(self, cookie: bytes | None, *, cancelled: bool) -> None:
        """Wait for the rest and let go of the domain; or leave it as it is."""
        hold = self._hold
        try:
            if cancelled or self._rest is None:
                self._note()
                return
            record = hold.known
            done = final("migration", sent(self._job, rest_of(hold, self._rest), None))
            let_go(hold, lambda: done)
            kind, figures = EventKind.JOB_COMPLETED, dict(done.figures)
            self._keeper.note(NewEvent(hold.uuid, record.name, kind, "migration", figures))
        finally:
            self._posting.close()
            hold.release()

    def leave_open(self) -> None:
        """Leave it as it is: the stream goes on by itself, or is cut off."""
        try:
            self._note()
        finally:
            self._posting.close()
            self._hold.release()

    def _note(self) -> None:
        if self._rest is not None:
            self._rest.leave()
        with suppress(PolyvisorError):
            if how_far(self._hold) in CUT_OFF:
                left_behind(self._hold)


class ResumedArrival:
    """The destination's side, with the methods of an arrival.

    Attributes:
        uuid: the domain's UUID.
        prepared: what prepare gives.
    """

    def __init__(
        self, keeper: Keeper, spec: DomainSpec, cookie: bytes | None, options: MigrationOptions
    ) -> None:
        hypervisor = switches_guests(keeper.hypervisor)
        hypervisor.unwrap_cookie(cookie, name=spec.name, uuid=spec.uuid)  # Refused if wrong.
        assert spec.uuid is not None
        self.uuid = spec.uuid
        self._hold = keeper.hold(spec.uuid, "migrate")
        try:
            record = self._hold.known
            if not record.active or ARRIVED not in record.runtime:
                raise self._hold.invalid("none of its memory is missing here")
            uri = hypervisor.receive_rest(self._hold.guest, options, cookie)
            told = hypervisor.tell("prepare", b"", guest=self._hold.guest, options=options)
            self.prepared = Prepared(uri, told)
        except BaseException:
            self._hold.release()
            raise

    def finish(self, cookie: bytes | None, *, cancelled: bool) -> Finished:
        """Go on; the domain is here in any case."""
        try:
            with suppress(PolyvisorError):
                follow(self._hold)
            return Finished(self.uuid)
        finally:
            self._hold.release()
