"""Handles of domains and their snapshots."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.handles._changing import Changing
from polyvisor.handles._moving import Moving
from polyvisor.handles._seat import Seat
from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.connection import Connection, SpecSource
    from polyvisor.driver import SnapshotInfo, SnapshotOptions, Snapshots
    from polyvisor.handles import (
        DomainAgent,
        DomainBackup,
        DomainCheckpoints,
        DomainDebug,
        DomainDisks,
        DomainTuning,
    )
    from polyvisor.jobs import JobProgress, ProgressCallback
    from polyvisor.jobstats import JobStatistics
    from polyvisor.model import DomainSpec
    from polyvisor.states import DomainInfo, DomainState, DomainStatus

__all__ = ["Domain", "DomainSnapshots"]


class Domain(Changing, Moving, Seat):
    """A handle of one domain: a connection and a UUID, hashable and cheap.

    What changes is asked for with each call and never kept here. All methods may raise
    :class:`~polyvisor.errors.NotFound` once the domain is gone, and those that change
    something :class:`~polyvisor.errors.Denied` on a read-only connection and
    :class:`~polyvisor.errors.Busy` while another operation holds the domain.

    Attributes:
        uuid: the domain's UUID.
    """

    __slots__ = ("_connection", "uuid")

    def __init__(self, connection: Connection, uuid: UUID) -> None:
        self._connection = connection
        self.uuid: UUID = uuid

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Domain):
            return NotImplemented
        return self.uuid == other.uuid and self._connection is other._connection

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Domain {self.uuid} on {self._connection.uri}>"

    # Asking

    @property
    def connection(self) -> Connection:
        """The connection that the handle belongs to."""
        return self._connection

    @property
    def name(self) -> str:
        """The domain's name."""
        return self._connection._driver.domains.name(self.uuid)

    @property
    def id(self) -> int | None:
        """The hypervisor's number for it while it is active, else ``None``."""
        return self.info().id

    @property
    def state(self) -> DomainState:
        """What it is doing."""
        return self._connection._driver.domains.status(self.uuid).state

    @property
    def active(self) -> bool:
        """Whether the hypervisor holds a guest for it."""
        return self.state.active

    def status(self) -> DomainStatus:
        """Return its state and the reason for it."""
        return self._connection._driver.domains.status(self.uuid)

    def info(self) -> DomainInfo:
        """Return its figures, as ``virsh dominfo`` prints them."""
        return self._connection._driver.domains.info(self.uuid)

    def spec(self, *, inactive: bool = False) -> DomainSpec:
        """Return its definition.

        Args:
            inactive: of an active domain, the one that counts from its next start.
        """
        return self._connection._driver.domains.spec(self.uuid, inactive=inactive)

    def xml(self, *, inactive: bool = False) -> str:
        """Return its definition as XML; see :meth:`spec`."""
        return self._connection._driver.domains.xml(self.uuid, inactive=inactive)

    def stats(
        self, *, groups: Iterable[str] | None = None, backing: bool = False
    ) -> dict[str, Any]:
        """Return figures under the names of ``virsh domstats``.

        Args:
            groups: first words of the figures that are wanted, such as ``"block"``; others may
                be left out. ``None``: all are wanted.
            backing: count each image of a disk's chain as a block device of its own.
        """
        part = self._connection._driver.domains
        chosen = None if groups is None else frozenset(groups)
        return part.stats(self.uuid, groups=chosen, backing=backing)

    @verb
    def measure_dirty_rate(self, seconds: int = 1, *, mode: str = "page-sampling") -> None:
        """Begin to measure how fast the guest writes to its memory, and return at once.

        The outcome is in the group ``dirtyrate`` of :meth:`stats`: ``calc_status`` is 2 when it
        is measured, ``megabytes_per_second`` the rate.

        Args:
            seconds: how long, from 1 to 60.
            mode: ``"page-sampling"``, ``"dirty-bitmap"`` or ``"dirty-ring"``, which needs
                ``<dirty-ring state='on'>`` in the definition.

        Raises:
            InvalidArgument: it is none of these, or too long.
            OperationInvalid: it is not active, or is measured already.
        """
        from polyvisor.driver import DIRTY_RATE_MODES

        if not 1 <= seconds <= 60:
            raise InvalidArgument(f"measure dirty rate: {seconds} s; from 1 to 60 can be measured")
        if mode not in DIRTY_RATE_MODES:
            known = ", ".join(DIRTY_RATE_MODES)
            raise InvalidArgument(f"measure dirty rate: mode is {known}; not {mode!r}")
        self._connection._driver.domains.measure_dirty_rate(self.uuid, seconds, mode)

    # Life

    @verb
    def start(
        self, *, paused: bool = False, force_boot: bool = False, bypass_cache: bool = False
    ) -> None:
        """Start it; a managed save image is resumed from.

        Args:
            paused: leave its vCPUs stopped.
            force_boot: boot afresh and drop a managed save image.
            bypass_cache: read a managed save image past the host's cache.

        Raises:
            OperationInvalid: it is active already.
            Vetoed: a plugin's hook refused.
        """
        from polyvisor.driver import DomainOptions

        options = DomainOptions(paused=paused, force_boot=force_boot, bypass_cache=bypass_cache)
        self._connection._driver.domains.start(self.uuid, options)

    @verb
    def shutdown(self, *, mode: str | Sequence[str] | None = None) -> None:
        """Ask the guest to shut down and return at once; see :meth:`wait`.

        Args:
            mode: how: ``"acpi"`` (the power button), ``"agent"``, ``"initctl"``, ``"signal"``,
                ``"paravirt"``, or several of these, of which one is taken that works;
                ``None``: as is best, by the agent if it listens.

        Raises:
            Unsupported: the hypervisor cannot ask so.
        """
        self._connection._driver.domains.shutdown(self.uuid, _modes("shutdown", mode))

    @verb
    def destroy(self) -> None:
        """Stop it at once; a transient domain is gone then."""
        self._connection._driver.domains.destroy(self.uuid)

    @verb
    def reboot(self, *, mode: str | Sequence[str] | None = None) -> None:
        """Ask the guest to reboot and return at once; see :attr:`reboot_pending`.

        Args:
            mode: how, see :meth:`shutdown`.

        Raises:
            Unsupported: the hypervisor cannot ask so.
        """
        self._connection._driver.domains.reboot(self.uuid, _modes("reboot", mode))

    @property
    def reboot_pending(self) -> bool:
        """Whether it was asked to reboot and somebody has to stay for that.

        There is no button for reboots: QEMU's guests are asked to shut down, unless their agent
        is asked, and started afresh when they have. An open connection sees to that, or else
        whoever looks at the domain next.
        """
        return self._connection._driver.domains.reboot_pending(self.uuid)

    @verb
    def reset(self) -> None:
        """Reset the machine at once."""
        self._connection._driver.domains.reset(self.uuid)

    @verb
    def suspend(self) -> None:
        """Stop its vCPUs; memory stays.

        One that is being migrated stops where it is, so that the rest is soon sent, and runs on
        over there, if the hypervisor can do so.
        """
        self._connection._driver.domains.suspend(self.uuid)

    @verb
    def resume(self) -> None:
        """Let its vCPUs run on."""
        self._connection._driver.domains.resume(self.uuid)

    @verb
    def undefine(
        self,
        *,
        managed_save: bool = False,
        snapshots: bool = False,
        checkpoints: bool = False,
        nvram: bool | None = None,
        tpm: bool | None = None,
    ) -> None:
        """Forget its definition; an active domain becomes transient.

        Args:
            managed_save: remove its managed save image too.
            snapshots: remove its snapshots too.
            checkpoints: remove its checkpoints too.
            nvram: remove the file in which its firmware keeps variables, or keep it; ``None``:
                refuse if there is one.
            tpm: remove what its emulated TPM keeps, or keep it; ``None``: remove it unless it
                is defined as persistent.

        Raises:
            OperationInvalid: something belongs to it and it was not said to remove that.
        """
        from polyvisor.driver import UndefineOptions

        options = UndefineOptions(
            managed_save=managed_save,
            snapshots=snapshots,
            checkpoints=checkpoints,
            nvram=nvram,
            tpm=tpm,
        )
        self._connection._driver.domains.undefine(self.uuid, options)

    @verb
    def set_autostart(self, autostart: bool = True) -> None:
        """Start it together with the host from now on, or not."""
        self._connection._driver.domains.set_autostart(self.uuid, autostart)

    def wait(self, *, timeout: float | None = None) -> DomainStatus:
        """Wait until it is no longer active.

        Args:
            timeout: seconds to wait at most; ``None``: for ever.

        Raises:
            Timeout: it is still active.
        """
        return self._connection._driver.domains.wait(self.uuid, timeout=timeout)

    # Saving

    @verb
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        spec: SpecSource | None = None,
        paused: bool | None = None,
        compression: str | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Save it to an image file and stop it.

        The file appears when it is whole; if saving fails or is cancelled, the domain
        runs on and an earlier file of that name is untouched.

        Args:
            path: the file.
            spec: a changed definition to store in it.
            paused: whether it is to be paused when restored; ``None``: as it is now.
            compression: ``"none"``, ``"gzip"`` …; ``None``: as configured.
            bypass_cache: write it past the host's cache, which it would fill.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            StorageError: the file cannot be written.
            Cancelled: :meth:`abort_job` was called.
        """
        from polyvisor.connection import as_spec
        from polyvisor.driver import SaveOptions
        from polyvisor.jobs import Job

        part = self._connection._need(self._connection._driver.save, "save.file")
        options = SaveOptions(
            paused=paused,
            spec=None if spec is None else as_spec(spec),
            compression=compression,
            bypass_cache=bypass_cache,
        )
        with Job("save", progress) as job:
            part.save(self.uuid, os.fspath(path), options, job)

    @verb
    def managed_save(
        self,
        *,
        paused: bool | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Save it into an image of the driver's own, from which the next start resumes.

        Args:
            paused: whether it is to be paused then; ``None``: as it is now.
            bypass_cache: write the image past the host's cache, which it would fill.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.
        """
        from polyvisor.driver import SaveOptions
        from polyvisor.jobs import Job

        part = self._connection._need(self._connection._driver.save, "save.managed")
        with Job("managed save", progress) as job:
            options = SaveOptions(paused=paused, bypass_cache=bypass_cache)
            part.managed_save(self.uuid, options, job)

    @property
    def has_managed_save(self) -> bool:
        """Whether the next start resumes from a managed save image."""
        part = self._connection._driver.save
        return part is not None and part.managed_save_path(self.uuid) is not None

    @verb
    def remove_managed_save(self) -> None:
        """Drop the managed save image, if there is one."""
        part = self._connection._need(self._connection._driver.save, "save.managed")
        part.remove_managed_save(self.uuid)

    # Jobs

    def job(self) -> JobProgress | None:
        """Return how far the save or migration is that runs on it, from any process."""
        return self._connection._driver.domains.job(self.uuid)

    def job_statistics(
        self, *, completed: bool = False, keep: bool = False
    ) -> JobStatistics | None:
        """Return the figures of the job that runs on it, ``None`` if there is none.

        Args:
            completed: of the last job that was completed instead: a save, a dump, a backup, a
                migration from or to here. They stay with the domain until they are asked for
                or the next such job is completed; while a job runs there are none.
            keep: do not drop them.
        """
        return self._connection._driver.domains.job_statistics(
            self.uuid, completed=completed, keep=keep
        )

    @verb
    def abort_job(self) -> None:
        """Cancel the save or migration that runs on it, from any thread or process.

        Raises:
            OperationInvalid: no job is running.
        """
        self._connection._driver.domains.abort_job(self.uuid)

    # Snapshots

    @property
    def snapshots(self) -> DomainSnapshots:
        """Its snapshots."""
        return DomainSnapshots(self)

    # What hangs on it

    @property
    def disks(self) -> DomainDisks:
        """Its disks: sizes, and jobs that move data."""
        from polyvisor.handles import DomainDisks

        return DomainDisks(self)

    @property
    def checkpoints(self) -> DomainCheckpoints:
        """Its checkpoints."""
        from polyvisor.handles import DomainCheckpoints

        return DomainCheckpoints(self)

    @property
    def backup(self) -> DomainBackup:
        """The backup of its disks."""
        from polyvisor.handles import DomainBackup

        return DomainBackup(self)

    @property
    def tuning(self) -> DomainTuning:
        """Its share of the host."""
        from polyvisor.handles import DomainTuning

        return DomainTuning(self)

    @property
    def agent(self) -> DomainAgent:
        """The agent inside it."""
        from polyvisor.handles import DomainAgent

        return DomainAgent(self)

    @property
    def debug(self) -> DomainDebug:
        """Its monitor and memory, for who looks into it."""
        from polyvisor.handles import DomainDebug

        return DomainDebug(self)


def _modes(what: str, mode: str | Sequence[str] | None) -> tuple[str, ...]:
    from polyvisor.driver import ASKING_MODES

    modes = (mode,) if isinstance(mode, str) else tuple(mode or ())
    for one in modes:
        if one not in ASKING_MODES:
            raise InvalidArgument(f"{what}: mode is {', '.join(ASKING_MODES)}; not {one!r}")
    return modes


class DomainSnapshots:
    """The snapshots of a domain.

    Every method raises :class:`~polyvisor.errors.Unsupported` if the driver has none.
    """

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    def list(self) -> Sequence[SnapshotInfo]:
        """Return them, oldest first."""
        return self._part().list(self._uuid)

    @verb
    def create(
        self,
        name: str | None = None,
        *,
        description: str | None = None,
        options: SnapshotOptions | None = None,
        quiesce: bool = False,
        progress: ProgressCallback | None = None,
    ) -> SnapshotInfo:
        """Take one; without a name it gets the time in seconds.

        Args:
            name: its name.
            description: free text.
            options: what is done with disks and memory; ``None``: what the driver does of itself.
            quiesce: let the agent in the guest freeze its file systems meanwhile; only of disks
                alone.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            AlreadyExists: there is one of that name, or an image that is to be made.
            InvalidArgument: ``quiesce``, but memory is to be kept too.
            Unsupported: not this way, or of no such disks.
        """
        from polyvisor.jobs import Job

        if quiesce and (options is None or not options.disk_only):
            raise InvalidArgument(
                "snapshot: file systems are frozen for snapshots of disks alone; the memory "
                "would be kept as that of a guest that waits for them"
            )
        with ExitStack() as stack:
            job = stack.enter_context(Job("snapshot", progress))
            if quiesce:
                from polyvisor.handles._agent import quiesced

                stack.enter_context(quiesced(Domain(self._connection, self._uuid).agent))
            return self._part().create(self._uuid, name, description, job, options)

    @verb
    def revert(
        self,
        name: str,
        *,
        paused: bool | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Put the domain back into the state of a snapshot.

        Args:
            name: the snapshot.
            paused: whether the domain is paused then; ``None``: as it was.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            NotFound: there is none of that name.
        """
        from polyvisor.jobs import Job

        with Job("snapshot revert", progress) as job:
            self._part().revert(self._uuid, name, job, paused=paused)

    @verb
    def delete(
        self,
        name: str,
        *,
        children: bool = False,
        metadata_only: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Remove one; its children then hang on its parent, or go too.

        Args:
            name: the snapshot.
            children: remove those that grew from it too.
            metadata_only: forget it and leave images and files as they are.
            progress: called with :class:`~polyvisor.jobs.JobProgress` where data moves.

        Raises:
            NotFound: there is none of that name.
        """
        from polyvisor.jobs import Job

        with Job("snapshot delete", progress) as job:
            self._part().delete(
                self._uuid, name, children=children, metadata_only=metadata_only, job=job
            )

    def xml(self, name: str) -> str:
        """Return one as libvirt's ``<domainsnapshot>`` document."""
        return self._part().xml(self._uuid, name)

    def _part(self) -> Snapshots:
        return self._connection._need(self._connection._driver.snapshots, "snapshots.memory")
