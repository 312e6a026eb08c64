"""Both sides of a migration, and what they tell one another.

Who owns the domain is written down before it is acted on. On the source the intent
``migrate-out`` stands in the record from begin to confirm, on the destination
``migrate-in`` from prepare to finish. The destination's commit in finish is the one
point at which ownership passes; before it, a destination that nobody works on gives up,
after it, a source that nobody works on lets go.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.driver import (
    Begun,
    Finished,
    Migration,
    MigrationLimits,
    MigrationOptions,
    Outcome,
    Prepared,
    Steering,
)
from polyvisor.errors import MigrationError, OperationInvalid, PolyvisorError
from polyvisor.jobs import Job

if TYPE_CHECKING:
    from polyvisor.local._arrival import Arrival
    from polyvisor.local._departure import Departure
    from polyvisor.local._keeper import Keeper
    from polyvisor.local._resume import ResumedArrival, ResumedDeparture
    from polyvisor.model import DomainSpec

__all__ = ["LocalMigration"]


class LocalMigration(Migration):
    """Migrations from and to one host; the domain is held between the phases."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._departures: dict[UUID, Departure | ResumedDeparture] = {}
        self._arrivals: dict[UUID, Arrival | ResumedArrival] = {}
        # Which domains arrived here last: asking again gives the same answer.
        self._arrived: set[UUID] = set()
        self._waiting: set[Job] = set()

    # Source

    def begin(self, uuid: UUID, options: MigrationOptions, job: Job) -> Begun:
        departure: Departure | ResumedDeparture
        if options.post_copy_resume:
            from polyvisor.local._resume import ResumedDeparture

            departure = ResumedDeparture(self._keeper, uuid, options, job)
        else:
            from polyvisor.local._departure import Departure

            departure = Departure(self._keeper, uuid, self._limited(uuid, options), job)
        self._departures[uuid] = departure
        return departure.begun

    def perform(
        self,
        uuid: UUID,
        uri: str | None,
        cookie: bytes | None,
        options: MigrationOptions,
        job: Job,
    ) -> bytes | None:
        departure = self._departures.get(uuid)
        if departure is None:
            raise OperationInvalid(
                f"migrate {self._keeper.need(uuid).name!r}: perform without begin; begin again",
                operation="migrate",
            )
        return departure.perform(uri, cookie, self._limited(uuid, options), job)

    def confirm(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> None:
        departure = self._departures.pop(uuid, None)
        if departure is not None:
            departure.confirm(cookie, cancelled=cancelled)
            return
        # The one who began is gone; settling finds out what became of it.
        with self._keeper.hold(uuid, "migrate", may_be_missing=True) as hold:
            if hold.record is not None and hold.record.intent is not None:
                from polyvisor.local._departure import unsettled

                raise unsettled(hold)

    def leave_open(self, uuid: UUID) -> None:
        departure = self._departures.pop(uuid, None)
        if departure is not None:
            departure.leave_open()

    def steer(self, uuid: UUID, steering: Steering) -> None:
        record = self._keeper.need(uuid)
        if record.intent is None or record.intent["op"] != "migrate-out":
            raise _not_leaving(record.name)
        if steering.post_copy and not record.intent.get("post_copy"):
            raise OperationInvalid(
                f"steer the migration of {record.name!r}: it was begun without post_copy, so it "
                f"cannot be switched",
                domain=record.name,
                operation="steer migration",
            )
        wishes = {name: value for name, value in attrs.asdict(steering).items() if value}
        if not self._keeper.home.jobs.wish(str(uuid), wishes):
            raise _not_leaving(record.name)

    def limits(self, uuid: UUID) -> MigrationLimits:
        from polyvisor.local._departure import migrates_guests

        usual = migrates_guests(self._keeper.hypervisor).usual_limits()
        return attrs.evolve(usual, **self._kept_limits(uuid))

    def set_limits(self, uuid: UUID, limits: MigrationLimits) -> None:
        given = {name: value for name, value in attrs.asdict(limits).items() if value is not None}
        intent = self._keeper.need(uuid).intent
        if intent is not None and intent["op"] == "migrate-out":
            given.pop("xbzrle_cache", None)
            self.steer(uuid, Steering(**given))
            return
        with self._keeper.hold(uuid, "set limits of migrations") as hold:
            hold.need_active()
            runtime = hold.guest.runtime
            runtime["limits"] = {**runtime.get("limits", {}), **given}

    def _kept_limits(self, uuid: UUID) -> dict[str, Any]:
        record = self._keeper.look(uuid)
        if not record.active:
            raise OperationInvalid(
                f"limits of migrations of {record.name!r}: it is not running", domain=record.name
            )
        kept: dict[str, Any] = record.runtime.get("limits", {})
        return kept

    def _limited(self, uuid: UUID, options: MigrationOptions) -> MigrationOptions:
        """Return options with the domain's own limits where they state none."""
        if options.offline:
            return options
        record = self._keeper.home.store.get(uuid)
        kept = {} if record is None else record.runtime.get("limits", {})
        wanted: dict[str, Any] = {
            name: value
            for name, value in kept.items()
            if getattr(options, name) is None
            and (name != "post_copy_bandwidth" or options.post_copy)
            and (name != "xbzrle_cache" or "xbzrle" in options.compression)
        }
        return attrs.evolve(options, **wanted) if wanted else options

    # Destination

    def prepare(
        self, spec: DomainSpec, cookie: bytes | None, options: MigrationOptions
    ) -> Prepared:
        arrival: Arrival | ResumedArrival
        if options.post_copy_resume:
            from polyvisor.local._resume import ResumedArrival

            arrival = ResumedArrival(self._keeper, spec, cookie, options)
        else:
            from polyvisor.local._arrival import Arrival

            arrival = Arrival(self._keeper, spec, cookie, options)
        self._arrived.discard(arrival.uuid)
        self._arrivals[arrival.uuid] = arrival
        return arrival.prepared

    def finish(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> Finished:
        arrival = self._arrivals.pop(uuid, None)
        if arrival is not None:
            finished = arrival.finish(cookie, cancelled=cancelled)
            if finished.uuid is not None:
                self._arrived.add(uuid)
                if options.post_copy and not cancelled:
                    # Whoever drives it, virsh for one, knows by this whether it has migrated.
                    self._wait_for_rest(uuid)
            return finished
        if uuid in self._arrived:
            return Finished(uuid)
        # Whoever prepared is gone; taking hold of the domain gives its arrival up.
        with self._keeper.hold(uuid, "migrate", may_be_missing=True) as hold:
            if hold.record is not None and "post_copy" in hold.record.runtime:
                return Finished(uuid)  # Unless its guest is here by post-copy.
        if cancelled:
            return Finished(None)
        raise MigrationError(
            f"finish the migration of {uuid}: nothing was prepared for it here, or it was given "
            f"up; the source has the domain",
            phase="finish",
            side="destination",
            owner="source",
        )

    def _wait_for_rest(self, uuid: UUID) -> None:
        from polyvisor.local._switched import wait_for_rest

        with Job("migration in") as job:
            self._waiting.add(job)
            try:
                wait_for_rest(self._keeper, uuid, job)
            finally:
                self._waiting.discard(job)

    def outcome(self, migration: str) -> Outcome:
        store = self._keeper.home.store
        found = store.outcome(migration)
        if found is None:
            if self._keeper.home.roots is None:
                # Another host in memory, maybe of another process, may know more.
                return Outcome.UNKNOWN
            # Never heard of, so not finished; from now on it cannot be either.
            store.set_outcome(migration, Outcome.ABORTED)
        elif found[1] is None:
            self._give_up(migration, found[0])
        found = store.outcome(migration)
        return Outcome.UNKNOWN if found is None or found[1] is None else found[1]

    def _give_up(self, migration: str, uuid: UUID | None) -> None:
        """Abort a migration that is open, unless somebody works on it."""
        from polyvisor.local._hold import Hold

        if uuid is None:
            return
        keeper = self._keeper
        lock = keeper.home.locks.try_acquire(str(uuid), "migrate")
        if lock is not None:
            with Hold(keeper, uuid, "migrate", lock) as hold:
                hold.settle()
                intent = hold.record.intent if hold.record is not None else None
                if intent is None or intent.get("id") != migration:
                    keeper.home.store.set_outcome(migration, Outcome.ABORTED)

    def close(self) -> None:
        """Give up what is open on either side."""
        for job in list(self._waiting):
            job.cancel("the connection is closed")
        while self._arrivals:
            _, arrival = self._arrivals.popitem()
            with suppress(PolyvisorError):
                arrival.finish(None, cancelled=True)
        while self._departures:
            _, departure = self._departures.popitem()
            with suppress(PolyvisorError):
                departure.leave_open()


def _not_leaving(name: str) -> OperationInvalid:
    return OperationInvalid(
        f"steer the migration of {name!r}: it is not being migrated from here",
        domain=name,
        operation="steer migration",
    )
