"""Moving a domain to another host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.connection import Connection, SpecSource
    from polyvisor.domain import Domain
    from polyvisor.driver import Migration, MigrationLimits
    from polyvisor.jobs import ProgressCallback

__all__ = ["Moving"]


class Moving:
    """Migration of a domain, and its steering."""

    __slots__ = ()

    _connection: Connection
    uuid: UUID

    @verb
    def migrate(
        self,
        destination: Connection | str,
        *,
        live: bool = True,
        offline: bool = False,
        persistent: bool | None = None,
        undefine_source: bool = False,
        paused: bool = False,
        peer_to_peer: bool = False,
        tunnelled: bool = False,
        post_copy: bool = False,
        post_copy_resume: bool = False,
        post_copy_bandwidth: int | None = None,
        copy_storage: str | None = None,
        disks: Sequence[str] | None = None,
        disks_uri: str | None = None,
        synchronous_writes: bool = False,
        bandwidth: int | None = None,
        downtime: float | None = None,
        timeout: float | None = None,
        timeout_action: str = "suspend",
        auto_converge: bool = False,
        auto_converge_initial: int | None = None,
        auto_converge_increment: int | None = None,
        compression: Sequence[str] = (),
        compression_level: int | None = None,
        compression_threads: int | None = None,
        decompression_threads: int | None = None,
        xbzrle_cache: int | None = None,
        parallel: bool = False,
        parallel_connections: int | None = None,
        tls: bool = False,
        tls_destination: str | None = None,
        abort_on_error: bool = False,
        unsafe: bool = False,
        listen_address: str | None = None,
        name: str | None = None,
        spec: SpecSource | None = None,
        uri: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> Domain:
        """Move it to another host; whatever fails, exactly one side has it afterwards.

        Args:
            destination: an open connection, or a target for :func:`polyvisor.open`.
            live: keep the guest running meanwhile.
            offline: move only the definition of a domain that does not run.
            persistent: define it over there; ``None``: as it is here.
            undefine_source: forget its definition here.
            paused: leave the guest paused over there.
            peer_to_peer: let the source open the destination and drive.
            tunnelled: carry the stream inside the connection.
            post_copy: allow switching before all memory is there; :meth:`steer_migration` or
                ``timeout_action`` does it.
            post_copy_resume: go on with one that broke off after the switch.
            post_copy_bandwidth: bytes per second at most after the switch.
            copy_storage: ``"all"`` or ``"incremental"`` to copy disks too.
            disks: targets of those to copy; ``None``: all that are its own and written to.
            disks_uri: where the destination is to listen for them.
            synchronous_writes: let the guest wait for its writes until they are there too, so
                that copying comes to an end however fast it writes.
            bandwidth: bytes per second at most.
            downtime: seconds the guest may stand still.
            timeout: seconds after which it is brought to its end.
            timeout_action: ``"suspend"`` the guest, switch to ``"post-copy"``, or ``"abort"``.
            auto_converge: slow down a guest that writes faster than can be sent.
            auto_converge_initial: percent by which it is slowed down at first.
            auto_converge_increment: percent that are added with each pass.
            compression: methods of packing: ``"xbzrle"``, ``"mt"``; ``"zlib"`` or ``"zstd"`` with
                ``parallel``.
            compression_level: 0 to 9, for ``"mt"``.
            compression_threads: threads that pack.
            decompression_threads: threads that unpack.
            xbzrle_cache: bytes of memory for ``"xbzrle"``.
            parallel: send over several connections at once.
            parallel_connections: how many.
            tls: encrypt the stream.
            tls_destination: name in the destination's certificate, if it is another.
            abort_on_error: give up if its disks fail meanwhile.
            unsafe: skip what the driver checks of the safety of shared disks.
            listen_address: address to listen on, if not the one that is told.
            name: its name over there.
            spec: its definition over there; must be ABI-compatible.
            uri: where the destination is to listen for the stream.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Returns:
            The domain on the destination.

        Raises:
            MigrationError: says which phase failed on which side, what was undone and
                who has the domain.
            Cancelled: :meth:`abort_job` was called; it is here, as before.
            Unsupported: one side cannot do what was asked; names the option.
        """
        from polyvisor.connection import as_spec
        from polyvisor.driver import MigrationOptions
        from polyvisor.migration import migrate

        options = MigrationOptions(
            live=live,
            offline=offline,
            persistent=persistent,
            undefine_source=undefine_source,
            paused=paused,
            peer_to_peer=peer_to_peer,
            tunnelled=tunnelled,
            post_copy=post_copy,
            post_copy_resume=post_copy_resume,
            post_copy_bandwidth=post_copy_bandwidth,
            copy_storage=copy_storage,
            disks=None if disks is None else tuple(disks),
            disks_uri=disks_uri,
            synchronous_writes=synchronous_writes,
            bandwidth=bandwidth,
            downtime=downtime,
            timeout=timeout,
            timeout_action=timeout_action,
            auto_converge=auto_converge,
            auto_converge_initial=auto_converge_initial,
            auto_converge_increment=auto_converge_increment,
            compression=tuple(compression),
            compression_level=compression_level,
            compression_threads=compression_threads,
            decompression_threads=decompression_threads,
            xbzrle_cache=xbzrle_cache,
            parallel=parallel,
            parallel_connections=parallel_connections,
            tls=tls,
            tls_destination=tls_destination,
            abort_on_error=abort_on_error,
            unsafe=unsafe,
            listen_address=listen_address,
            name=name,
            spec=None if spec is None else as_spec(spec),
            uri=uri,
        )
        return migrate(cast("Domain", self), destination, options, progress)

    @verb
    def steer_migration(
        self,
        *,
        bandwidth: int | None = None,
        post_copy_bandwidth: int | None = None,
        downtime: float | None = None,
        post_copy: bool = False,
        post_copy_pause: bool = False,
    ) -> None:
        """Change its migration that is under way, from any thread or process.

        Args:
            bandwidth: bytes per second at most from now on; ``None`` leaves it.
            post_copy_bandwidth: the same after the switch to post-copy.
            downtime: seconds the guest may stand still; ``None`` leaves it.
            post_copy: switch to post-copy now, which the migration must allow.
            post_copy_pause: cut the stream off after the switch, to take it up again later; the
                destination's guest stands still when it needs what is not there.

        Raises:
            OperationInvalid: it is not being migrated from here.
        """
        from polyvisor.driver import Steering

        part = self._connection._need(self._connection._driver.migration, "migration.live")
        if not self._connection.support.usable("migration.steering"):
            raise self._connection._unsupported("migration.steering")
        steering = Steering(bandwidth, post_copy_bandwidth, downtime, post_copy, post_copy_pause)
        part.steer(self.uuid, steering)

    def migration_limits(self) -> MigrationLimits:
        """Return the limits of its migrations from here that state none of their own.

        Raises:
            OperationInvalid: it is not active.
        """
        return self._limited().limits(self.uuid)

    @verb
    def set_migration_limits(
        self,
        *,
        bandwidth: int | None = None,
        post_copy_bandwidth: int | None = None,
        downtime: float | None = None,
        xbzrle_cache: int | None = None,
    ) -> None:
        """Limit its migration that is under way, else those from here that are to come.

        Args:
            bandwidth: bytes per second at most; ``None`` leaves it, as with the others.
            post_copy_bandwidth: the same after the switch to post-copy.
            downtime: seconds the guest may stand still.
            xbzrle_cache: bytes of memory kept to compare with where ``"xbzrle"`` packs.

        Raises:
            OperationInvalid: it is not active.
        """
        from polyvisor.driver import MigrationLimits

        limits = MigrationLimits(bandwidth, post_copy_bandwidth, downtime, xbzrle_cache)
        self._limited().set_limits(self.uuid, limits)

    def _limited(self) -> Migration:
        part = self._connection._need(self._connection._driver.migration, "migration.live")
        if not self._connection.support.usable("migration.limits"):
            raise self._connection._unsupported("migration.limits")
        return part
