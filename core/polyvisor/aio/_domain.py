"""Domains and their snapshots, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._base import Face, inner
from polyvisor.aio._changing import Changing, Seat
from polyvisor.aio._handles import (
    DomainAgent,
    DomainBackup,
    DomainCheckpoints,
    DomainDebug,
    DomainDisks,
    DomainTuning,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Iterable, Sequence
    from uuid import UUID

    from polyvisor.aio._connection import Connection
    from polyvisor.connection import SpecSource
    from polyvisor.domain import Domain as SyncDomain
    from polyvisor.domain import DomainSnapshots as SyncDomainSnapshots
    from polyvisor.driver import MigrationLimits, SnapshotInfo, SnapshotOptions
    from polyvisor.handles._moving import Moving as SyncMoving
    from polyvisor.jobs import JobProgress, ProgressCallback
    from polyvisor.jobstats import JobStatistics
    from polyvisor.model import DomainSpec
    from polyvisor.states import DomainInfo, DomainState, DomainStatus

__all__ = ["Domain", "DomainSnapshots", "Moving"]


class Moving(Face):
    """Migration of a domain, and its steering."""

    __slots__ = ()

    sync: SyncMoving

    async def migrate(
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
        """Move it to another host; whatever fails, exactly one side has it afterwards."""
        made = await self._crew.job(
            lambda control: self.sync.migrate(
                inner(destination),
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
                disks=disks,
                disks_uri=disks_uri,
                synchronous_writes=synchronous_writes,
                bandwidth=bandwidth,
                downtime=downtime,
                timeout=timeout,
                timeout_action=timeout_action,
                auto_converge=auto_converge,
                auto_converge_initial=auto_converge_initial,
                auto_converge_increment=auto_converge_increment,
                compression=compression,
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
                spec=spec,
                uri=uri,
                progress=control,
            ),
            progress,
            discard=lambda made: made.connection.close() if isinstance(destination, str) else None,
        )
        return Domain(_where(destination, made), made)

    async def steer_migration(
        self,
        *,
        bandwidth: int | None = None,
        post_copy_bandwidth: int | None = None,
        downtime: float | None = None,
        post_copy: bool = False,
        post_copy_pause: bool = False,
    ) -> None:
        """Change its migration that is under way, from any thread or process."""
        await self._run(
            self.sync.steer_migration,
            bandwidth=bandwidth,
            post_copy_bandwidth=post_copy_bandwidth,
            downtime=downtime,
            post_copy=post_copy,
            post_copy_pause=post_copy_pause,
        )

    async def migration_limits(self) -> MigrationLimits:
        """Return the limits of its migrations from here that state none of their own."""
        return await self._run(self.sync.migration_limits)

    async def set_migration_limits(
        self,
        *,
        bandwidth: int | None = None,
        post_copy_bandwidth: int | None = None,
        downtime: float | None = None,
        xbzrle_cache: int | None = None,
    ) -> None:
        """Limit its migration that is under way, else those from here that are to come."""
        await self._run(
            self.sync.set_migration_limits,
            bandwidth=bandwidth,
            post_copy_bandwidth=post_copy_bandwidth,
            downtime=downtime,
            xbzrle_cache=xbzrle_cache,
        )


class Domain(Changing, Moving, Seat):
    """A handle of one domain: a connection and a UUID, hashable and cheap."""

    __slots__ = ()

    sync: SyncDomain

    @property
    def uuid(self) -> UUID:
        """The domain's UUID."""
        return self.sync.uuid

    @property
    def connection(self) -> Connection:
        """The connection that the handle belongs to."""
        return self._host

    @property
    def name(self) -> Awaitable[str]:
        """The domain's name; to be awaited."""
        return self._get("name")

    @property
    def id(self) -> Awaitable[int | None]:
        """The hypervisor's number for it while it is active, else ``None``; to be awaited."""
        return self._get("id")

    @property
    def state(self) -> Awaitable[DomainState]:
        """What it is doing; to be awaited."""
        return self._get("state")

    @property
    def active(self) -> Awaitable[bool]:
        """Whether the hypervisor holds a guest for it; to be awaited."""
        return self._get("active")

    async def status(self) -> DomainStatus:
        """Return its state and the reason for it."""
        return await self._run(self.sync.status)

    async def info(self) -> DomainInfo:
        """Return its figures, as ``virsh dominfo`` prints them."""
        return await self._run(self.sync.info)

    async def spec(self, *, inactive: bool = False) -> DomainSpec:
        """Return its definition."""
        return await self._run(self.sync.spec, inactive=inactive)

    async def xml(self, *, inactive: bool = False) -> str:
        """Return its definition as XML; see :meth:`spec`."""
        return await self._run(self.sync.xml, inactive=inactive)

    async def stats(
        self, *, groups: Iterable[str] | None = None, backing: bool = False
    ) -> dict[str, Any]:
        """Return figures under the names of ``virsh domstats``."""
        return await self._run(self.sync.stats, groups=groups, backing=backing)

    async def measure_dirty_rate(self, seconds: int = 1, *, mode: str = "page-sampling") -> None:
        """Begin to measure how fast the guest writes to its memory, and return at once."""
        await self._run(self.sync.measure_dirty_rate, seconds, mode=mode)

    async def start(
        self, *, paused: bool = False, force_boot: bool = False, bypass_cache: bool = False
    ) -> None:
        """Start it; a managed save image is resumed from."""
        await self._run(
            self.sync.start, paused=paused, force_boot=force_boot, bypass_cache=bypass_cache
        )

    async def shutdown(self, *, mode: str | Sequence[str] | None = None) -> None:
        """Ask the guest to shut down and return at once; see :meth:`wait`."""
        await self._run(self.sync.shutdown, mode=mode)

    async def destroy(self) -> None:
        """Stop it at once; a transient domain is gone then."""
        await self._run(self.sync.destroy)

    async def reboot(self, *, mode: str | Sequence[str] | None = None) -> None:
        """Ask the guest to reboot and return at once; see :attr:`reboot_pending`."""
        await self._run(self.sync.reboot, mode=mode)

    @property
    def reboot_pending(self) -> Awaitable[bool]:
        """Whether it was asked to reboot and somebody has to stay for that; to be awaited."""
        return self._get("reboot_pending")

    async def reset(self) -> None:
        """Reset the machine at once."""
        await self._run(self.sync.reset)

    async def suspend(self) -> None:
        """Stop its vCPUs; memory stays."""
        await self._run(self.sync.suspend)

    async def resume(self) -> None:
        """Let its vCPUs run on."""
        await self._run(self.sync.resume)

    async def undefine(
        self,
        *,
        managed_save: bool = False,
        snapshots: bool = False,
        checkpoints: bool = False,
        nvram: bool | None = None,
        tpm: bool | None = None,
    ) -> None:
        """Forget its definition; an active domain becomes transient."""
        await self._run(
            self.sync.undefine,
            managed_save=managed_save,
            snapshots=snapshots,
            checkpoints=checkpoints,
            nvram=nvram,
            tpm=tpm,
        )

    async def set_autostart(self, autostart: bool = True) -> None:
        """Start it together with the host from now on, or not."""
        await self._run(self.sync.set_autostart, autostart)

    async def wait(self, *, timeout: float | None = None) -> DomainStatus:
        """Wait until it is no longer active."""
        return await self._crew.wait(lambda left: self.sync.wait(timeout=left), timeout)

    async def save(
        self,
        path: str | os.PathLike[str],
        *,
        spec: SpecSource | None = None,
        paused: bool | None = None,
        compression: str | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Save it to an image file and stop it."""
        await self._crew.job(
            lambda control: self.sync.save(
                path,
                spec=spec,
                paused=paused,
                compression=compression,
                bypass_cache=bypass_cache,
                progress=control,
            ),
            progress,
        )

    async def managed_save(
        self,
        *,
        paused: bool | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Save it into an image of the driver's own, from which the next start resumes."""
        await self._crew.job(
            lambda control: self.sync.managed_save(
                paused=paused, bypass_cache=bypass_cache, progress=control
            ),
            progress,
        )

    @property
    def has_managed_save(self) -> Awaitable[bool]:
        """Whether the next start resumes from a managed save image; to be awaited."""
        return self._get("has_managed_save")

    async def remove_managed_save(self) -> None:
        """Drop the managed save image, if there is one."""
        await self._run(self.sync.remove_managed_save)

    async def job(self) -> JobProgress | None:
        """Return how far the save or migration is that runs on it, from any process."""
        return await self._run(self.sync.job)

    async def job_statistics(
        self, *, completed: bool = False, keep: bool = False
    ) -> JobStatistics | None:
        """Return the figures of the job that runs on it, ``None`` if there is none."""
        return await self._run(self.sync.job_statistics, completed=completed, keep=keep)

    async def abort_job(self) -> None:
        """Cancel the save or migration that runs on it, from any thread or process."""
        await self._run(self.sync.abort_job)

    @property
    def snapshots(self) -> DomainSnapshots:
        """Its snapshots."""
        return DomainSnapshots(self._host, self.sync.snapshots)

    @property
    def disks(self) -> DomainDisks:
        """Its disks: sizes, and jobs that move data."""
        return DomainDisks(self._host, self.sync.disks)

    @property
    def checkpoints(self) -> DomainCheckpoints:
        """Its checkpoints."""
        return DomainCheckpoints(self._host, self.sync.checkpoints)

    @property
    def backup(self) -> DomainBackup:
        """The backup of its disks."""
        return DomainBackup(self._host, self.sync.backup)

    @property
    def tuning(self) -> DomainTuning:
        """Its share of the host."""
        return DomainTuning(self._host, self.sync.tuning)

    @property
    def agent(self) -> DomainAgent:
        """The agent inside it."""
        return DomainAgent(self._host, self.sync.agent)

    @property
    def debug(self) -> DomainDebug:
        """Its monitor and memory, for who looks into it."""
        return DomainDebug(self._host, self.sync.debug)


class DomainSnapshots(Face):
    """The snapshots of a domain."""

    __slots__ = ()

    sync: SyncDomainSnapshots

    async def list(self) -> Sequence[SnapshotInfo]:
        """Return them, oldest first."""
        return await self._run(self.sync.list)

    async def create(
        self,
        name: str | None = None,
        *,
        description: str | None = None,
        options: SnapshotOptions | None = None,
        quiesce: bool = False,
        progress: ProgressCallback | None = None,
    ) -> SnapshotInfo:
        """Take one; without a name it gets the time in seconds."""
        return await self._crew.job(
            lambda control: self.sync.create(
                name, description=description, options=options, quiesce=quiesce, progress=control
            ),
            progress,
        )

    async def revert(
        self, name: str, *, paused: bool | None = None, progress: ProgressCallback | None = None
    ) -> None:
        """Put the domain back into the state of a snapshot."""
        await self._crew.job(
            lambda control: self.sync.revert(name, paused=paused, progress=control), progress
        )

    async def delete(
        self,
        name: str,
        *,
        children: bool = False,
        metadata_only: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Remove one; its children then hang on its parent, or go too."""
        await self._crew.job(
            lambda control: self.sync.delete(
                name, children=children, metadata_only=metadata_only, progress=control
            ),
            progress,
        )

    async def xml(self, name: str) -> str:
        """Return one as libvirt's ``<domainsnapshot>`` document."""
        return await self._run(self.sync.xml, name)


def _where(destination: Connection | str, made: SyncDomain) -> Connection:
    """Return the connection of a domain that has arrived."""
    from polyvisor.aio._connection import Connection

    return Connection(made.connection) if isinstance(destination, str) else destination
