"""The coordinator of a migration: five phases over two connections.

::

    source                                destination
    begin    definition, stream versions
                                          prepare   listens, picks a version
    perform  sends memory, stands still
                                          finish    takes the domain over, runs it
    confirm  lets go

``finish`` is the point at which ownership passes. A failure before it brings the
domain back on the source; a failure after it leaves it on the destination. What is
undone is done in the reverse order of the phases.

By post-copy perform ends when the guest is over there with part of its memory, and confirm
waits for the rest. From there on nothing is given up: cancelling comes too late.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import attrs

from polyvisor.driver import MigrationOptions
from polyvisor.errors import (
    Cancelled,
    ConnectError,
    InvalidArgument,
    MigrationError,
    NotFound,
    OperationInvalid,
    PluginError,
    PolyvisorError,
    Unsupported,
    Vetoed,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from uuid import UUID

    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.driver import Finished, Migration
    from polyvisor.jobs import Job, ProgressCallback
    from polyvisor.model import DomainSpec

__all__ = ["MigrationOptions", "check", "migrate"]


def migrate(
    domain: Domain,
    destination: Connection | str,
    options: MigrationOptions,
    progress: ProgressCallback | None = None,
) -> Domain:
    """Move ``domain`` to another host; see :meth:`polyvisor.domain.Domain.migrate`.

    Args:
        domain: the domain, on its source.
        destination: an open connection, or a target for :func:`polyvisor.open`.
        options: how; ``source`` and ``destination`` in it are filled in here.
        progress: called with :class:`~polyvisor.jobs.JobProgress`.

    Returns:
        The domain on the destination.
    """
    from polyvisor.connection import open as open_connection
    from polyvisor.domain import Domain
    from polyvisor.jobs import Job
    from polyvisor.states import DomainState

    source = domain.connection
    target = destination if isinstance(destination, str) else destination.uri
    if options.peer_to_peer or isinstance(destination, str):
        # The source drives: it opens the destination itself, with its own configuration.
        over_there = open_connection(target, config=source._config)
    else:
        over_there = destination
    try:
        if over_there.readonly:
            raise InvalidArgument(f"migrate: the connection to {over_there.uri} is read-only")
        check(source, options, leaving=True)
        check(over_there, options, leaving=False)
        if source.uri == over_there.uri:
            raise OperationInvalid(
                f"migrate: source and destination are the same host ({source.uri})",
                operation="migrate",
            )
        options = attrs.evolve(options, source=source.uri, destination=over_there.uri)
        # Not every destination can tell from the cookie what it is here.
        here = source._driver.domains.summary(domain.uuid)
        if options.persistent is None:
            options = attrs.evolve(options, persistent=here.persistent)
        if here.state is DomainState.PAUSED and not options.post_copy_resume:
            options = attrs.evolve(options, paused=True)
        with Job("migration", progress) as job, _aborting(job, options):
            uuid = _Run(source, over_there, domain.uuid, options, job).run()
    except BaseException:
        if over_there is not destination:
            over_there.close()
        raise
    if isinstance(destination, str):
        return Domain(over_there, uuid)
    if over_there is not destination:
        over_there.close()
    return Domain(destination, uuid)


#: Seconds that a destination has to settle who has a domain, after its connection broke.
SETTLING = 30.0
#: Seconds between two looks at the source while the destination waits for the rest.
_LOOKING = 0.5
#: Seconds in which a destination notices that it is cut off, if it does.
_NOTICING = 3.0
#: What an option other than its default needs on both sides.
_NEEDED = {
    "offline": "migration.offline",
    "peer_to_peer": "migration.peer-to-peer",
    "tunnelled": "migration.tunnelled",
    "post_copy": "migration.post-copy",
    "post_copy_resume": "migration.post-copy",
    "post_copy_bandwidth": "migration.post-copy",
    "copy_storage": "migration.storage",
    "disks": "migration.storage",
    "disks_uri": "migration.storage",
    "synchronous_writes": "migration.storage",
    "auto_converge": "migration.auto-converge",
    "compression": "migration.compression",
    "parallel": "migration.parallel",
    "tls": "migration.tls",
}
#: What it needs where the guest leaves from.
_NEEDED_HERE = {
    "bandwidth": "migration.limits",
    "downtime": "migration.limits",
    "abort_on_error": "migration.abort-on-error",
}
#: Options that do nothing without another one.
_PARTS = {
    "post_copy_resume": "post_copy",
    "post_copy_bandwidth": "post_copy",
    "disks": "copy_storage",
    "disks_uri": "copy_storage",
    "synchronous_writes": "copy_storage",
    "auto_converge_initial": "auto_converge",
    "auto_converge_increment": "auto_converge",
    "compression_level": "compression",
    "compression_threads": "compression",
    "decompression_threads": "compression",
    "xbzrle_cache": "compression",
    "parallel_connections": "parallel",
    "tls_destination": "tls",
}
#: The least and the most that a number may be.
_RANGES = {
    "bandwidth": (1, 1 << 62),
    "post_copy_bandwidth": (1, 1 << 62),
    "downtime": (0, 2000),
    "timeout": (0, 1 << 31),
    "auto_converge_initial": (1, 99),
    "auto_converge_increment": (1, 99),
    "compression_level": (0, 9),
    "compression_threads": (1, 255),
    "decompression_threads": (1, 255),
    "xbzrle_cache": (4096, 1 << 62),
    "parallel_connections": (1, 255),
}
_WORDS = {
    "copy_storage": ("all", "incremental"),
    "timeout_action": ("suspend", "post-copy", "abort"),
}


def check(
    connection: Connection,
    options: MigrationOptions,
    *,
    leaving: bool,
    past: Collection[str] = (),
) -> None:
    """Refuse options that make no sense or that one side rules out, before it is touched.

    Args:
        connection: that side.
        options: the options.
        leaving: the side is the source.
        past: options not to look at.

    Raises:
        InvalidArgument: they make no sense.
        Unsupported: the side cannot do what one of them asks for; names it.
    """
    _check_values(options)
    if connection._driver.migration is None:
        raise connection._unsupported("migration.live")
    support = connection.support
    moving = "migration.live" if options.live else "migration.stopped"
    if not options.offline and not support.usable(moving):
        raise connection._unsupported(moving)
    needed = _NEEDED | _NEEDED_HERE if leaving else _NEEDED
    for field in attrs.fields(MigrationOptions):
        feature = needed.get(field.name)
        if feature is None or field.name in past or support.usable(feature):
            continue
        if getattr(options, field.name) != field.default:
            raise _refused(connection, field.name, feature)
    suspends = options.timeout is not None and options.timeout_action == "suspend"
    if leaving and suspends and not support.usable("migration.timeout"):
        raise _refused(connection, "timeout", "migration.timeout")


def _check_values(options: MigrationOptions) -> None:
    for option, words in _WORDS.items():
        value = getattr(options, option)
        if value is not None and value not in words:
            raise InvalidArgument(f"migrate: {option} is {' or '.join(words)}, not {value!r}")
    for option, (least, most) in _RANGES.items():
        value = getattr(options, option)
        if value is not None and not least <= value <= most:
            raise InvalidArgument(f"migrate: {option} is from {least} to {most}, not {value!r}")
    for part, whole in _PARTS.items():
        if getattr(options, part) not in (None, False) and not getattr(options, whole):
            raise InvalidArgument(f"migrate: {part} does nothing without {whole}; give both")
    if options.timeout_action == "post-copy" and not options.post_copy:
        raise InvalidArgument(
            "migrate: timeout_action 'post-copy' does nothing without post_copy; give both"
        )


def _refused(side: Connection, option: str, feature: str) -> Unsupported:
    told = side._unsupported(feature)
    return Unsupported(
        f"migrate with {option}: {told.message}", feature=feature, plugin=told.plugin
    )


@contextmanager
def _aborting(job: Job, options: MigrationOptions) -> Iterator[None]:
    """Cancel the job when its time is up, if that is what is to be done then."""
    if options.timeout is None or options.timeout_action != "abort":
        yield
        return
    import threading

    words = f"it was not done after {options.timeout:g} s"
    timer = threading.Timer(options.timeout, job.cancel, (words,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Run:
    """One migration under way."""

    def __init__(
        self,
        source: Connection,
        destination: Connection,
        uuid: UUID,
        options: MigrationOptions,
        job: Job,
    ) -> None:
        self._source = source
        self._destination = destination
        self._uuid = uuid
        self._options = options
        self._job = job
        self._spec: DomainSpec | None = None

    def run(self) -> UUID:
        leaving = self._part(self._source)
        arriving = self._part(self._destination)
        options, job, uuid = self._options, self._job, self._uuid

        begun = leaving.begin(uuid, options, job)
        self._spec = begun.spec
        phase, side = "begin", "source"
        prepared = None
        try:
            # The domain is held from here on, so its hooks see a definition that stays.
            self._announce("begin", "source")
            job.check()
            phase, side = "prepare", "destination"
            self._announce(phase, side)
            prepared = arriving.prepare(begun.spec, begun.cookie, options)
            phase, side = "perform", "source"
            job.check()
            self._announce(phase, side)
            cookie = leaving.perform(uuid, prepared.uri, prepared.cookie, options, job)
            phase, side = "finish", "destination"
            job.check()
            self._announce(phase, side)
        except BaseException as error:
            untold = self._undo(leaving, arriving if prepared is not None else None)
            self._explain(error, phase, side, f"{self._as_before}{untold}")
            raise

        try:
            finished = self._finish(arriving, cookie)
        except ConnectError as error:
            finished_uuid = self._ask_afresh(error)
        except BaseException as error:
            if isinstance(error, MigrationError) and error.owner == "destination":
                # It has one half of the domain, and the source the other.
                with suppress(PolyvisorError):
                    leaving.confirm(uuid, None, options, cancelled=True)
                raise
            # It may have failed after it had taken the domain over: giving up tells.
            try:
                finished_uuid = arriving.finish(uuid, None, options, cancelled=True).uuid
            except ConnectError as broken:
                finished_uuid = self._ask_afresh(broken)
            if finished_uuid is None:
                leaving.confirm(uuid, None, options, cancelled=True)
                self._explain(error, phase, side, self._as_before)
                raise
        else:
            finished_uuid = finished.uuid
            cookie = finished.cookie
        if finished_uuid is None:
            leaving.confirm(uuid, None, options, cancelled=True)
            raise MigrationError(
                f"migrate {self._name!r}: the destination {self._destination.uri} gave the "
                f"domain up in finish; it is on the source as before",
                phase="finish",
                side="destination",
                owner="source",
                domain=self._name,
                operation="migrate",
            )

        try:
            leaving.confirm(uuid, cookie, options, cancelled=False)
        except PolyvisorError as error:
            if isinstance(error, MigrationError) and error.owner == "destination":
                raise
            raise MigrationError(
                f"migrate {self._name!r}: it runs on {self._destination.uri}, but the source "
                f"could not let go of it: {error.message}; the source tries again at its "
                f"next operation on the domain",
                phase="confirm",
                side="source",
                owner="destination",
                domain=self._name,
                operation="migrate",
            ) from error
        return finished_uuid

    def _finish(self, arriving: Migration, cookie: bytes | None) -> Finished:
        """Have the destination take the domain over and, by post-copy, wait until it has all.

        It may not notice that nothing comes any more; the source is told so, or does.
        """
        if not self._options.post_copy:
            return arriving.finish(self._uuid, cookie, self._options, cancelled=False)
        from concurrent.futures import Future
        from concurrent.futures import TimeoutError as NotYet
        from threading import Thread

        told: Future[Finished] = Future()

        def finish() -> None:
            try:
                told.set_result(arriving.finish(self._uuid, cookie, self._options, cancelled=False))
            except BaseException as error:  # noqa: BLE001 - raised by the one who waits
                told.set_exception(error)

        # One that waits for good ends with its connection.
        Thread(target=finish, name="polyvisor-finish", daemon=True).start()
        while True:
            with suppress(NotYet):
                return told.result(_LOOKING)
            if self._cut_off() and not told.done():
                with suppress(NotYet):  # It may be about to say more.
                    return told.result(_NOTICING)
                raise MigrationError(
                    f"migrate {self._name!r}: {self._destination.uri} has the domain, but the "
                    f"stream was cut off before all of its memory had arrived, which it has not "
                    f"noticed; its guest may stand still there until the migration is taken up "
                    f"again with post_copy_resume",
                    phase="finish",
                    side="source",
                    owner="destination",
                    domain=self._name,
                    operation="migrate",
                )

    def _cut_off(self) -> bool:
        """Say whether the source tells that what is left of the domain does not flow."""
        from polyvisor.states import StateReason

        with suppress(PolyvisorError):
            told = self._source._driver.domains.status(self._uuid)
            return told.reason is StateReason.POSTCOPY_FAILED
        return False

    @property
    def _name(self) -> str:
        return self._spec.name if self._spec is not None else str(self._uuid)

    def _part(self, connection: Connection) -> Migration:
        return connection._need(connection._driver.migration, "migration.live")

    def _announce(self, phase: str, side: str) -> None:
        connection = self._source if side == "source" else self._destination
        hooks = connection._hooks
        if hooks is not None and self._spec is not None:
            facts = {"source": self._options.source, "destination": self._options.destination}
            hooks.migration_phase(phase, side, connection.uri, self._spec, facts)

    def _undo(self, leaving: Migration, arriving: Migration | None) -> str:
        """Give up on the destination first, so that the source may run the domain again.

        Returns:
            What to say of a destination that could not be told: it gives up by itself.
        """
        untold = ""
        try:
            if arriving is not None:
                arriving.finish(self._uuid, None, self._options, cancelled=True)
        except ConnectError as error:
            untold = (
                f", and {self._destination.uri}, which could not be told ({error.message}), "
                f"gives it up once somebody looks there"
            )
        finally:
            leaving.confirm(self._uuid, None, self._options, cancelled=True)
        return untold

    def _explain(self, error: BaseException, phase: str, side: str, outcome: str) -> None:
        """Turn a failed phase into a :class:`MigrationError`; pass on what says more itself.

        That is cancelling, a hook's refusal and a hook that failed: none is a phase that went
        wrong.
        """
        if isinstance(error, (Cancelled, Unsupported, MigrationError, Vetoed, PluginError)):
            return
        if not isinstance(error, Exception):
            return
        connection = self._source if side == "source" else self._destination
        words = error.message if isinstance(error, PolyvisorError) else repr(error)
        raise MigrationError(
            f"migrate {self._name!r}: {phase} failed on the {side} {connection.uri}: {words}; "
            f"{outcome}",
            phase=phase,
            side=side,
            owner="destination" if self._options.post_copy_resume else "source",
            domain=self._name,
            operation="migrate",
        ) from error

    @property
    def _as_before(self) -> str:
        if self._options.post_copy_resume:
            return "the domain is on the destination, and the rest of its memory is not"
        return "the domain is on the source as before"

    def _ask_afresh(self, error: ConnectError) -> UUID | None:
        """The connection broke in finish: find out over a new one who has the domain."""
        from polyvisor.connection import open as open_connection

        try:
            with open_connection(self._destination.uri) as again:
                deadline = time.monotonic() + SETTLING
                while True:
                    has_it = self._has_it(again)
                    if has_it is not None:
                        return self._uuid if has_it else None
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.1)
            why = f"it has not settled after {SETTLING:g} s who has the domain"
        except PolyvisorError as trouble:
            why = f"it cannot be made again ({trouble.message})"
        with suppress(PolyvisorError):  # There is an error to be told already.
            self._part(self._source).leave_open(self._uuid)
        raise MigrationError(
            f"migrate {self._name!r}: the connection to {self._destination.uri} broke in "
            f"finish ({error.message}) and {why}; the domain stands still on the source until "
            f"that is settled: look over there, then resume it here, or destroy it here",
            phase="finish",
            side="destination",
            domain=self._name,
            operation="migrate",
        ) from error

    def _has_it(self, destination: Connection) -> bool | None:
        """Say whether a destination has the domain, ``None`` as long as it has not settled it.

        One whose guest only waits for its memory gives it up when it finds that the connection
        broke; who takes it for the owner would lose the domain.
        """
        from polyvisor.states import StateReason

        try:
            status = destination._driver.domains.status(self._uuid)
        except NotFound:
            return False
        if self._options.offline:
            return True
        if not status.state.active:
            return False
        return None if status.reason is StateReason.MIGRATING else True
