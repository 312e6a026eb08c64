"""Migration in libvirt's version 3: five phases that the client, or the source, drives.

A migration that its client abandons is given up on this side when the client leaves.
"""

from __future__ import annotations

import socket
import tempfile
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.connection import as_spec
from polyvisor.driver import MigrationOptions
from polyvisor.jobs import Job
from polyvisor.support import SupportStatus
from polyvisor_remote.server._families.arguments import check_flags, reference
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.server.numbers import Migrate
from polyvisor_remote.server.streams import Sink
from polyvisor_remote.wire import mapping

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.domain import Domain
    from polyvisor.driver import Migration, Prepared
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.server.streams import Stream

_KNOWN = int(~Migrate(0))
#: Parameters that may occur several times (``VIR_MIGRATE_PARAM_*``).
_REPEATED = ("migrate_disks", "compression")
#: Those that have the name of an option, by that name.
_PLAIN = {
    "name": "destination_name",
    "uri": "migrate_uri",
    "listen_address": "listen_address",
    "disks_uri": "disks_uri",
    "auto_converge_initial": "auto_converge.initial",
    "auto_converge_increment": "auto_converge.increment",
    "compression_level": "compression.mt.level",
    "compression_threads": "compression.mt.threads",
    "decompression_threads": "compression.mt.dthreads",
    "xbzrle_cache": "compression.xbzrle.cache",
    "parallel_connections": "parallel.connections",
    "tls_destination": "tls.destination",
}
#: What else there is a meaning for.
_OTHERS = (
    "destination_xml",
    "bandwidth",
    "bandwidth.postcopy",
    "migrate_disks",
    "compression",
    "disks_port",
    "graphics_uri",
)
#: What libvirt packs with if it is not said how.
_PACKED = ("xbzrle",)
_BANDWIDTH_UNIT = 1 << 20  # MiB/s
_UNSUPPORTED_ARG = 84


@attrs.define
class _Departure:
    """A migration from here that a client has begun."""

    job: Job
    options: MigrationOptions


def _part(session: Session, procedure: str) -> Migration:
    part = session.driver.migration
    if part is None:
        raise unsupported(procedure)
    return part


def _options(
    session: Session, flags: int, given: dict[str, Any], function: str, *, leaving: bool
) -> MigrationOptions:
    from polyvisor.migration import check

    check_flags(flags, _KNOWN, function)
    for name in given:
        if name not in _OTHERS and name not in _PLAIN.values():
            raise Failure(_UNSUPPORTED_ARG, f"{function}: the parameter {name} has no effect here")
    copy = None
    if flags & Migrate.NON_SHARED_INC:
        copy = "incremental"
    elif flags & Migrate.NON_SHARED_DISK:
        copy = "all"
    xml = given.get("destination_xml")
    disks = given.get("migrate_disks")
    packed = tuple(given.get("compression") or ())
    port = given.get("disks_port")
    plain: dict[str, Any] = {option: given.get(name) for option, name in _PLAIN.items()}
    if port and plain["disks_uri"] is None:
        plain["disks_uri"] = f"tcp://:{port}"
    options = MigrationOptions(
        live=bool(flags & Migrate.LIVE),
        offline=bool(flags & Migrate.OFFLINE),
        persistent=bool(flags & Migrate.PERSIST_DEST),
        undefine_source=bool(flags & Migrate.UNDEFINE_SOURCE),
        paused=bool(flags & Migrate.PAUSED),
        peer_to_peer=bool(flags & Migrate.PEER2PEER),
        tunnelled=bool(flags & Migrate.TUNNELLED),
        post_copy=bool(flags & Migrate.POSTCOPY),
        post_copy_resume=bool(flags & Migrate.POSTCOPY_RESUME),
        post_copy_bandwidth=_bytes(given.get("bandwidth.postcopy")),
        copy_storage=copy,
        synchronous_writes=bool(flags & Migrate.NON_SHARED_SYNCHRONOUS_WRITES),
        disks=None if not disks else tuple(disks),
        bandwidth=_bytes(given.get("bandwidth")),
        auto_converge=bool(flags & Migrate.AUTO_CONVERGE),
        compression=packed or (_PACKED if flags & Migrate.COMPRESSED else ()),
        parallel=bool(flags & Migrate.PARALLEL),
        tls=bool(flags & Migrate.TLS),
        abort_on_error=bool(flags & Migrate.ABORT_ON_ERROR),
        unsafe=bool(flags & Migrate.UNSAFE),
        spec=None if xml is None else as_spec(xml),
        **plain,
    )
    # A guest can arrive through a tunnel wherever one can arrive.
    past = () if leaving else ("tunnelled", "peer_to_peer")
    check(session.connection, options, leaving=leaving, past=past)
    return options


def _bytes(mebibytes: int | None) -> int | None:
    return mebibytes * _BANDWIDTH_UNIT if mebibytes else None


def departures(session: Session) -> dict[UUID, _Departure]:
    """Return what is on its way from here for a client, by the domain's UUID."""
    found: dict[UUID, _Departure] = session.kept.setdefault("departures", {})
    return found


def _arrivals(session: Session) -> dict[str, tuple[UUID, MigrationOptions]]:
    found: dict[str, tuple[UUID, MigrationOptions]] = session.kept.setdefault("arrivals", {})
    return found


@serves("domain_migrate_begin3_params", slow=True)
def begin(session: Session, arguments: Any) -> tuple[bytes, str]:
    """Source: say what the domain is, and hold it."""
    part = _part(session, "domain_migrate_begin3_params")
    given = mapping(arguments.params, repeated=_REPEATED)
    options = _options(
        session, arguments.flags, given, "virDomainMigrateBegin3Params", leaving=True
    )
    uuid = session.uuid(arguments.dom)
    job = Job("migration")
    begun = part.begin(uuid, options, job)
    mine = departures(session)
    mine[uuid] = _Departure(job, options)

    def give_up() -> None:
        if mine.pop(uuid, None) is not None:
            job.cancel("the client that drove the migration is gone")
            part.confirm(uuid, None, options, cancelled=True)

    session.at_end(give_up)
    return begun.cookie or b"", begun.spec.to_xml()


@serves("domain_migrate_prepare3_params", slow=True)
def prepare(session: Session, arguments: Any) -> tuple[bytes, str | None]:
    """Destination: make ready to receive."""
    prepared, options = _prepare(session, arguments, "domain_migrate_prepare3_params", None)
    # The client wants an address even where none is needed.
    return prepared.cookie or b"", prepared.uri or options.uri or "none:"


@serves("domain_migrate_prepare_tunnel3_params", slow=True, streams=True)
def prepare_tunnel(session: Session, arguments: Any, stream: Stream) -> tuple[bytes]:
    """Destination: make ready to receive what comes with the stream that follows."""
    procedure = "domain_migrate_prepare_tunnel3_params"
    support = session.driver.support()
    if support["migration.tunnelled"].status is SupportStatus.UNSUPPORTED:
        raise unsupported(procedure)
    with tempfile.TemporaryDirectory(prefix="polyvisord-") as folder:
        # Ours alone: nobody but us can come in by it, and it is gone when we have.
        uri = f"unix:{folder}/stream"
        prepared, _ = _prepare(session, arguments, procedure, uri)
        stream.sink = _Tunnel(f"{folder}/stream")
    return (prepared.cookie or b"",)


class _Tunnel(Sink):
    """Hands what a client sends on to who listens at a socket.

    Args:
        path: the socket.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def data(self, piece: bytes) -> None:
        try:
            self._socket.sendall(piece)
        except OSError as error:
            raise Failure(9, f"the guest is taken in no longer: {error.strerror}") from error

    def hole(self, length: int) -> None:
        raise Failure(9, "a migration has no holes")

    def finish(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        self._socket.close()


def _prepare(
    session: Session, arguments: Any, procedure: str, listen: str | None
) -> tuple[Prepared, MigrationOptions]:
    part = _part(session, procedure)
    function = "virDomainMigratePrepare3Params"
    given = mapping(arguments.params, repeated=_REPEATED)
    xml = given.pop("destination_xml", None)
    if xml is None:
        raise Failure(8, f"{function}: no definition was sent")
    spec = as_spec(xml)
    options = _options(session, arguments.flags, given, function, leaving=False)
    if listen is not None:
        options = attrs.evolve(options, uri=listen)
    prepared = part.prepare(spec, arguments.cookie_in or None, options)
    uuid = spec.uuid
    assert uuid is not None
    name = options.name or spec.name
    arrivals = _arrivals(session)
    arrivals[name] = (uuid, options)

    def give_up() -> None:
        if arrivals.pop(name, None) is not None:
            part.finish(uuid, None, options, cancelled=True)

    session.at_end(give_up)
    return prepared, options


@serves("domain_migrate_perform3_params", slow=True)
def perform(session: Session, arguments: Any) -> tuple[bytes]:
    """Source: send everything; or, peer to peer, drive the migration."""
    part = _part(session, "domain_migrate_perform3_params")
    given = mapping(arguments.params, repeated=_REPEATED)
    uuid = session.uuid(arguments.dom)
    if arguments.dconnuri is not None:
        options = _options(
            session, arguments.flags, given, "virDomainMigratePerform3Params", leaving=True
        )
        _drive(session, uuid, arguments.dconnuri, options)
        return (b"",)
    departure = departures(session).get(uuid)
    if departure is None:
        raise Failure(55, "perform without begin: this client has begun no such migration")
    uri = given.get("migrate_uri")
    cookie = part.perform(
        uuid,
        None if uri == "none:" else uri,
        arguments.cookie_in or None,
        departure.options,
        departure.job,
    )
    return (cookie or b"",)


def _drive(session: Session, uuid: UUID, destination: str, options: MigrationOptions) -> None:
    """Migrate to a connection that the daemon itself opens."""
    connection = session.connection
    domain: Domain = connection.domains[uuid]
    means = attrs.asdict(options, recurse=False)
    for told in ("source", "destination"):
        del means[told]
    moved = domain.migrate(destination, **{**means, "peer_to_peer": True})
    moved.connection.close()


@serves("domain_migrate_finish3_params", slow=True)
def finish(session: Session, arguments: Any) -> tuple[Any, bytes]:
    """Destination: take the domain over and run it, or give it up."""
    part = _part(session, "domain_migrate_finish3_params")
    given = mapping(arguments.params, repeated=_REPEATED)
    name = given.get("destination_name")
    arrivals = _arrivals(session)
    if name is None or name not in arrivals:
        raise Failure(55, f"finish without prepare: this client prepared no migration of '{name}'")
    uuid, options = arrivals.pop(name)
    cancelled = bool(arguments.cancelled)
    finished = part.finish(uuid, arguments.cookie_in or None, options, cancelled=cancelled)
    if finished.uuid is None:
        raise Failure(9, f"the migration of '{name}' was given up; the source has the domain")
    return reference(session, finished.uuid), finished.cookie or b""


@serves("domain_migrate_confirm3_params", slow=True)
def confirm(session: Session, arguments: Any) -> None:
    """Source: let go of the domain, or run it on as before."""
    part = _part(session, "domain_migrate_confirm3_params")
    uuid = session.uuid(arguments.dom)
    departure = departures(session).pop(uuid, None)
    if departure is None:
        raise Failure(55, "confirm without begin: this client has begun no such migration")
    part.confirm(
        uuid,
        arguments.cookie_in or None,
        departure.options,
        cancelled=bool(arguments.cancelled),
    )
    departure.job.close()
