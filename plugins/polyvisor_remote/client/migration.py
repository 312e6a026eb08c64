"""Migration over the wire: libvirt's version 3, driven from here or by the source's server.

Each phase is a call to the server of its side, with the cookies handed on as they are. Peer
to peer the source's server does all of it in perform, and the other phases only look.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Begun, Finished, Migration, Outcome, Prepared
from polyvisor.errors import ConnectError, NotFound, OperationInvalid, PolyvisorError, Unsupported
from polyvisor.uri import ConnectionUri
from polyvisor_remote.client.jobs import watched
from polyvisor_remote.server.numbers import Feature, Migrate
from polyvisor_remote.wire import TypedParam, params
from polyvisor_remote.wire.params import INT

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import MigrationLimits, MigrationOptions, Steering
    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec
    from polyvisor_remote.client.driver import RemoteDriver
    from polyvisor_remote.client.tunnel import Tunnel

__all__ = ["RemoteMigration"]

_BANDWIDTH_UNIT = 1 << 20  # MiB/s
#: ``VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY``.
_AFTER_THE_SWITCH = 1
#: What stands for no limit (``QEMU_DOMAIN_MIG_BANDWIDTH_MAX``), in MiB per second.
_NO_LIMIT = ((1 << 63) - 1) >> 20
#: ``VIR_DOMAIN_ABORT_JOB_POSTCOPY``.
_ABORT_POSTCOPY = 1
#: Parameters that are ints (``VIR_MIGRATE_PARAM_*``), by the option that each stands for.
_NUMBERS = {
    "auto_converge_initial": "auto_converge.initial",
    "auto_converge_increment": "auto_converge.increment",
    "compression_level": "compression.mt.level",
    "compression_threads": "compression.mt.threads",
    "decompression_threads": "compression.mt.dthreads",
    "parallel_connections": "parallel.connections",
}

#: What brings a migration to its end, by ``timeout_action``; whoever drives it aborts it.
_WHEN_TIME_IS_UP: dict[str, tuple[Any, ...]] = {
    "suspend": ("domain_suspend",),
    "post-copy": ("domain_migrate_start_post_copy", 0),
}


class RemoteMigration(Migration):
    """Either side of a migration, on a server.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self._domains = driver.domains
        #: Names of the domains that are on their way here, which finish goes by.
        self._arriving: dict[UUID, str] = {}
        #: What carries the streams of those that come inside the connection.
        self._tunnels: dict[UUID, Tunnel] = {}

    @cached_property
    def _protection(self) -> int:
        """The flag that has a source hold the domain from begin to confirm, if it can."""
        asked = ("connect_supports_feature", int(Feature.CHANGE_PROTECTION))
        return int(Migrate.CHANGE_PROTECTION) if self._driver.link.call(*asked).supported else 0

    def begin(self, uuid: UUID, options: MigrationOptions, job: Job) -> Begun:
        """Source: ask what the domain is, and have it held."""
        from polyvisor.model import DomainSpec

        if _by_the_source(options):
            return Begun(DomainSpec.from_xml(self._domains.xml(uuid)))
        if options.tunnelled:
            raise Unsupported(
                "migrate: the way from one server to another is theirs, and so is the tunnel; "
                "migrate peer to peer",
                feature="migration.tunnelled",
            )
        flags = _flags(options) | self._protection
        answer = self._domains.call(uuid, "domain_migrate_begin3_params", _params(options), flags)
        return Begun(DomainSpec.from_xml(answer.xml), answer.cookie_out or None)

    def prepare(
        self, spec: DomainSpec, cookie: bytes | None, options: MigrationOptions
    ) -> Prepared:
        """Destination: have it made ready to receive."""
        if _by_the_source(options):
            return Prepared(None)
        name = options.name or spec.name
        asked = (
            _params(options, name=name, xml=spec.to_xml()),
            cookie or b"",
            _flags(options),
        )
        assert spec.uuid is not None
        if options.tunnelled:
            from polyvisor_remote.client.tunnel import Tunnel

            answer, stream = self._driver.link.begin(
                "domain_migrate_prepare_tunnel3_params", *asked
            )
            self._arriving[spec.uuid] = name
            self._tunnels[spec.uuid] = tunnel = Tunnel(stream)
            return Prepared(tunnel.uri, answer.cookie_out or None)
        answer = self._driver.link.call("domain_migrate_prepare3_params", *asked)
        self._arriving[spec.uuid] = name
        # libvirt does not say again where it was told to listen.
        return Prepared(answer.uri_out or options.uri, answer.cookie_out or None)

    def perform(
        self,
        uuid: UUID,
        uri: str | None,
        cookie: bytes | None,
        options: MigrationOptions,
        job: Job,
    ) -> bytes | None:
        """Source: have everything sent; peer to peer, have all of it done."""
        if options.downtime is not None:
            milliseconds = round(options.downtime * 1000)
            self._domains.call(uuid, "domain_migrate_set_max_downtime", milliseconds, 0)
        if options.offline and not _by_the_source(options):
            return None  # There is nothing to send.
        there = options.destination if _by_the_source(options) else None
        with self._limited(uuid, options):
            answer = watched(
                self._driver,
                uuid,
                job,
                lambda: self._domains.call(
                    uuid,
                    "domain_migrate_perform3_params",
                    there,
                    _params(options, uri=uri),
                    cookie or b"",
                    _flags(options) | self._protection,
                ),
            )
        return answer.cookie_out or None

    @contextmanager
    def _limited(self, uuid: UUID, options: MigrationOptions) -> Iterator[None]:
        """Have it come to its end when its time is up, by what is to be done then."""
        call = _WHEN_TIME_IS_UP.get(options.timeout_action)
        if options.timeout is None or call is None:
            yield
            return

        def end() -> None:
            with suppress(PolyvisorError):  # It may be over.
                self._domains.call(uuid, *call)

        timer = threading.Timer(options.timeout, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def steer(self, uuid: UUID, steering: Steering) -> None:
        """Have what is under way changed."""
        call = self._domains.call
        for speed, flags in (
            (steering.bandwidth, 0),
            (steering.post_copy_bandwidth, _AFTER_THE_SWITCH),
        ):
            if speed is not None:
                call(uuid, "domain_migrate_set_max_speed", _mebibytes(speed), flags)
        if steering.downtime is not None:
            call(uuid, "domain_migrate_set_max_downtime", round(steering.downtime * 1000), 0)
        if steering.post_copy:
            call(uuid, "domain_migrate_start_post_copy", 0)
        if steering.post_copy_pause:
            call(uuid, "domain_abort_job_flags", _ABORT_POSTCOPY)

    def limits(self, uuid: UUID) -> MigrationLimits:
        """Ask for the limits; what the server does not tell stays open."""
        from polyvisor.driver import MigrationLimits

        dom = self._domains.reference(uuid)
        speed, later, downtime, cache = self._driver.link.call_all(
            [
                ("domain_migrate_get_max_speed", dom, 0),
                ("domain_migrate_get_max_speed", dom, _AFTER_THE_SWITCH),
                ("domain_migrate_get_max_downtime", dom, 0),
                ("domain_migrate_get_compression_cache", dom, 0),
            ]
        )
        if isinstance(speed, PolyvisorError):
            raise self._domains.named(speed, uuid, "domain_migrate_get_max_speed")
        after = 0 if isinstance(later, PolyvisorError) else later.bandwidth
        still = None if isinstance(downtime, PolyvisorError) else downtime.downtime / 1000
        kept = None if isinstance(cache, PolyvisorError) else cache.cacheSize
        within = speed.bandwidth < _NO_LIMIT
        return MigrationLimits(
            speed.bandwidth << 20 if within else None, after << 20 or None, still, kept
        )

    def set_limits(self, uuid: UUID, limits: MigrationLimits) -> None:
        """Have limits set."""
        from polyvisor.driver import Steering

        if limits.xbzrle_cache is not None:
            self._domains.call(uuid, "domain_migrate_set_compression_cache", limits.xbzrle_cache, 0)
        speeds = limits.bandwidth, limits.post_copy_bandwidth
        self.steer(uuid, Steering(*speeds, limits.downtime))

    def finish(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> Finished:
        """Destination: have it taken over, or given up."""
        if _by_the_source(options):
            return Finished(self._looked(uuid, options))
        name = self._arriving.get(uuid)
        if name is None:
            return Finished(self._looked(uuid, options))
        tunnel = self._tunnels.pop(uuid, None)
        if tunnel is not None:
            tunnel.close(cancelled=cancelled)
        try:
            answer = self._driver.link.call(
                "domain_migrate_finish3_params",
                _params(options, name=name),
                cookie or b"",
                _flags(options),
                int(cancelled),
            )
        except ConnectError:
            raise
        except PolyvisorError:
            if not cancelled:
                raise
            # That there is no domain now is an error in the protocol.
            self._arriving.pop(uuid, None)
            return Finished(None)
        self._arriving.pop(uuid, None)
        return Finished(self._domains.noted(answer.dom), answer.cookie_out or None)

    def _looked(self, uuid: UUID, options: MigrationOptions) -> UUID | None:
        """Return the domain if it is here and, unless it came to be kept only, runs."""
        try:
            active = self._domains.status(uuid).state.active
        except NotFound:
            return None
        return uuid if active or options.offline else None

    def confirm(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> None:
        """Source: have it let go of, or run on."""
        if _by_the_source(options):
            return
        flags = _flags(options) | self._protection
        asked = (_params(options), cookie or b"", flags, int(cancelled))
        try:
            self._domains.call(uuid, "domain_migrate_confirm3_params", *asked)
        except OperationInvalid:
            # A server that holds nothing between the phases has nothing to let run on.
            if not cancelled:
                raise

    def outcome(self, migration: str) -> Outcome:
        """Say that the protocol has no such question."""
        return Outcome.UNKNOWN


def _by_the_source(options: MigrationOptions) -> bool:
    """Say whether the source's server drives: if it was asked to and both sides are servers."""
    return options.peer_to_peer and all(
        uri is not None and ConnectionUri.parse(uri).transport is not None
        for uri in (options.source, options.destination)
    )


def _flags(options: MigrationOptions) -> int:
    chosen = (
        (options.live and not options.offline, Migrate.LIVE),
        (_by_the_source(options), Migrate.PEER2PEER),
        (options.tunnelled, Migrate.TUNNELLED),
        (bool(options.persistent) or options.offline, Migrate.PERSIST_DEST),
        (options.undefine_source, Migrate.UNDEFINE_SOURCE),
        (options.paused, Migrate.PAUSED),
        (options.copy_storage == "all", Migrate.NON_SHARED_DISK),
        (options.copy_storage == "incremental", Migrate.NON_SHARED_INC),
        (options.synchronous_writes, Migrate.NON_SHARED_SYNCHRONOUS_WRITES),
        (options.offline, Migrate.OFFLINE),
        (options.post_copy, Migrate.POSTCOPY),
        (options.post_copy_resume, Migrate.POSTCOPY_RESUME),
        (options.auto_converge, Migrate.AUTO_CONVERGE),
        (bool(options.compression), Migrate.COMPRESSED),
        (options.parallel, Migrate.PARALLEL),
        (options.tls, Migrate.TLS),
        (options.abort_on_error, Migrate.ABORT_ON_ERROR),
        (options.unsafe, Migrate.UNSAFE),
    )
    return sum(int(flag) for asked, flag in chosen if asked)


def _params(
    options: MigrationOptions,
    *,
    name: str | None = None,
    xml: str | None = None,
    uri: str | None = None,
) -> list[Any]:
    """Return what is said beyond flags (``VIR_MIGRATE_PARAM_*``)."""
    if xml is None and options.spec is not None:
        xml = options.spec.to_xml()
    found: list[TypedParam] = params(
        {
            "destination_name": name or options.name,
            "destination_xml": xml,
            "migrate_uri": uri or options.uri,
            "bandwidth": _mebibytes(options.bandwidth),
            "bandwidth.postcopy": _mebibytes(options.post_copy_bandwidth),
            "compression.xbzrle.cache": options.xbzrle_cache,
            "disks_uri": options.disks_uri,
            "listen_address": options.listen_address,
            "tls.destination": options.tls_destination,
        }
    )
    for option, called in _NUMBERS.items():
        found += params({called: getattr(options, option)}, {called: INT})
    for called, values in (
        ("migrate_disks", options.disks or ()),
        ("compression", options.compression),
    ):
        for value in values:
            found += params({called: value})
    return found


def _mebibytes(speed: int | None) -> int | None:
    """Return bytes per second as the protocol has them; no limit is not 0."""
    return None if speed is None else max(1, speed // _BANDWIDTH_UNIT)
