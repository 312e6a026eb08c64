"""The migration part: five phases, each side doing its own.

The phases and their cookies are libvirt's version 3 protocol
(https://libvirt.org/migration.html): begin (source) → prepare (destination) →
perform (source) → finish (destination) → confirm (source).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import Unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec

__all__ = [
    "Begun",
    "Finished",
    "Migration",
    "MigrationLimits",
    "MigrationOptions",
    "Outcome",
    "Prepared",
    "Steering",
]


@attrs.frozen
class MigrationOptions:
    """How to migrate; the same value is handed to every phase on both sides.

    Attributes:
        live: keep the guest running meanwhile.
        offline: move only the definition of a domain that does not run.
        persistent: define the domain on the destination.
        undefine_source: forget its definition on the source.
        paused: leave the guest paused on the destination.
        peer_to_peer: let the source drive.
        tunnelled: carry the stream inside the connection.
        post_copy: allow switching before all memory is there; the switch itself is
            :meth:`Migration.steer`'s, or ``timeout_action``'s.
        post_copy_resume: go on with a migration that broke off after the switch.
        post_copy_bandwidth: bytes per second at most after the switch, or ``None``.
        copy_storage: ``"all"`` or ``"incremental"`` to copy disks too.
        disks: targets of the disks to copy, such as ``"vda"``; ``None`` for all that the
            guest can write to and does not share.
        disks_uri: where the destination is to listen for them (``tcp://HOST:PORT``,
            ``unix:PATH``), or ``None``.
        synchronous_writes: let the guest wait for each of its writes until it is on both
            disks, so that copying comes to an end however fast the guest writes.
        bandwidth: bytes per second at most, or ``None``.
        downtime: seconds the guest may stand still, or ``None`` for the default.
        timeout: seconds after which a live migration is brought to its end, or ``None``.
        timeout_action: how: ``"suspend"`` stops the guest, so that what is left is soon
            sent; ``"post-copy"`` switches; ``"abort"`` cancels.
        auto_converge: slow down a guest that writes faster than can be sent.
        auto_converge_initial: percent of its time that it is held up by at first.
        auto_converge_increment: percent by which that grows with each pass.
        compression: methods of packing the stream, such as ``"xbzrle"`` (what changed of a
            page) and ``"mt"`` (deflate, in threads); with ``parallel`` ``"zlib"`` or ``"zstd"``.
        compression_level: how hard to try with ``"mt"``, 0 to 9, or ``None``.
        compression_threads: threads that pack, or ``None``.
        decompression_threads: threads that unpack, or ``None``.
        xbzrle_cache: bytes of memory kept to compare with, or ``None``.
        parallel: send over several connections at once.
        parallel_connections: how many, or ``None`` for the default.
        tls: encrypt the stream, with the certificates that the drivers are set up with.
        tls_destination: the name in the destination's certificate, if it is not the one
            under which the source reaches it.
        abort_on_error: give up if the guest's disks fail meanwhile.
        unsafe: skip what the driver checks of the safety of shared disks.
        listen_address: address that the destination listens on, if it is not the one that
            it names to the source.
        name: name on the destination, or ``None`` to keep it.
        spec: definition for the destination, or ``None``; must be ABI-compatible.
        uri: where the destination is to listen for the stream, or ``None``.
        destination: URI of the destination's connection as the source can open it.
        source: URI of the source's connection as the destination can open it.
    """

    live: bool = True
    offline: bool = False
    persistent: bool | None = None
    undefine_source: bool = False
    paused: bool = False
    peer_to_peer: bool = False
    tunnelled: bool = False
    post_copy: bool = False
    post_copy_resume: bool = False
    post_copy_bandwidth: int | None = None
    copy_storage: str | None = None
    disks: tuple[str, ...] | None = None
    disks_uri: str | None = None
    synchronous_writes: bool = False
    bandwidth: int | None = None
    downtime: float | None = None
    timeout: float | None = None
    timeout_action: str = "suspend"
    auto_converge: bool = False
    auto_converge_initial: int | None = None
    auto_converge_increment: int | None = None
    compression: tuple[str, ...] = ()
    compression_level: int | None = None
    compression_threads: int | None = None
    decompression_threads: int | None = None
    xbzrle_cache: int | None = None
    parallel: bool = False
    parallel_connections: int | None = None
    tls: bool = False
    tls_destination: str | None = None
    abort_on_error: bool = False
    unsafe: bool = False
    listen_address: str | None = None
    name: str | None = None
    spec: DomainSpec | None = None
    uri: str | None = None
    destination: str | None = None
    source: str | None = None


@attrs.frozen
class Steering:
    """What is to be different about a migration that is under way.

    Attributes:
        bandwidth: bytes per second at most from now on, or ``None`` to leave it.
        post_copy_bandwidth: the same after the switch to post-copy.
        downtime: seconds the guest may stand still, or ``None`` to leave it.
        post_copy: switch now.
        post_copy_pause: cut the stream off after the switch, to take it up again later.
    """

    bandwidth: int | None = None
    post_copy_bandwidth: int | None = None
    downtime: float | None = None
    post_copy: bool = False
    post_copy_pause: bool = False


@attrs.frozen
class MigrationLimits:
    """Limits of the migrations of a domain that state none of their own.

    Attributes:
        bandwidth: bytes per second at most; ``None``: no limit.
        post_copy_bandwidth: the same after the switch to post-copy.
        downtime: seconds the guest may stand still; ``None``: not known.
        xbzrle_cache: bytes of memory kept to compare with when the stream is packed with
            ``"xbzrle"``; ``None``: not known.
    """

    bandwidth: int | None = None
    post_copy_bandwidth: int | None = None
    downtime: float | None = None
    xbzrle_cache: int | None = None


@attrs.frozen
class Begun:
    """What begin gives.

    Attributes:
        spec: the definition the destination is to run.
        cookie: opaque words to prepare; ``None`` means the oldest stream version.
    """

    spec: DomainSpec
    cookie: bytes | None = None


@attrs.frozen
class Prepared:
    """What prepare gives.

    Attributes:
        uri: where the destination listens for the stream; ``None`` if there is none.
        cookie: opaque words to perform.
    """

    uri: str | None
    cookie: bytes | None = None


@attrs.frozen
class Finished:
    """What finish gives.

    Attributes:
        uuid: the domain, now the destination's; ``None`` if finish gave it up.
        cookie: opaque words to confirm.
    """

    uuid: UUID | None
    cookie: bytes | None = None


class Outcome(StrEnum):
    """What became of a migration, as its destination knows it."""

    FINISHED = "finished"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Migration(ABC):
    """Both sides of a migration.

    The destination's ``finish`` is the one point at which ownership passes. Until it
    has succeeded the source owns the domain and the destination must never run it;
    from then on the destination does. A driver whose process dies in between settles
    it at the next call that touches the domain: a destination that has not finished
    aborts; a source that does not know asks :meth:`outcome` over there.
    """

    @abstractmethod
    def begin(self, uuid: UUID, options: MigrationOptions, job: Job) -> Begun:
        """Source: check that the domain can go, and say what it is."""

    @abstractmethod
    def prepare(
        self, spec: DomainSpec, cookie: bytes | None, options: MigrationOptions
    ) -> Prepared:
        """Destination: make ready to receive.

        Raises:
            AlreadyExists: a domain of that name or UUID is in the way.
            MigrationError: the stream version or the machine is not acceptable.
        """

    @abstractmethod
    def perform(
        self,
        uuid: UUID,
        uri: str | None,
        cookie: bytes | None,
        options: MigrationOptions,
        job: Job,
    ) -> bytes | None:
        """Source: send everything; on return the guest stands still here.

        Returns:
            The cookie for finish.
        """

    @abstractmethod
    def finish(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> Finished:
        """Destination: take the domain over and run it; or, ``cancelled``, give it up.

        One that was taken over already cannot be given up: the answer says so.
        """

    @abstractmethod
    def confirm(
        self,
        uuid: UUID,
        cookie: bytes | None,
        options: MigrationOptions,
        *,
        cancelled: bool,
    ) -> None:
        """Source: let go of the domain; or, ``cancelled``, run it on as before."""

    def leave_open(self, uuid: UUID) -> None:  # noqa: B027 - nothing to do for most
        """Source: work no more on a domain of which it is not known who has it.

        Called in place of ``confirm`` when the destination was lost in ``finish``. The guest
        stands still until somebody takes hold of the domain and the destination answers. A
        driver for which whoever is behind it does that when the connection ends has nothing to
        do.
        """

    @abstractmethod
    def outcome(self, migration: str) -> Outcome:
        """Destination: say durably what became of the migration with this identity.

        A migration that is still open but that nobody works on any more is aborted by
        being asked about.
        """

    def steer(self, uuid: UUID, steering: Steering) -> None:
        """Source: change a migration of the domain that is under way, whoever runs it.

        Raises:
            OperationInvalid: none is.
            Unsupported: the driver cannot.
        """
        raise Unsupported(
            "steer a migration: this driver cannot change one that is under way",
            feature="migration.steering",
        )

    def limits(self, uuid: UUID) -> MigrationLimits:
        """Source: return the limits of migrations of an active domain.

        Raises:
            OperationInvalid: it is not active.
            Unsupported: the driver does not keep any.
        """
        raise Unsupported(
            "limits of migrations: this driver keeps none", feature="migration.steering"
        )

    def set_limits(self, uuid: UUID, limits: MigrationLimits) -> None:
        """Source: set limits of the migration that is under way, else of those to come.

        They last as long as the domain is active here; what a migration states itself counts
        instead.

        Args:
            uuid: an active domain.
            limits: what is to be; ``None`` leaves one as it is.

        Raises:
            OperationInvalid: it is not active.
            Unsupported: the driver does not keep any.
        """
        raise Unsupported(
            "limits of migrations: this driver keeps none", feature="migration.steering"
        )
