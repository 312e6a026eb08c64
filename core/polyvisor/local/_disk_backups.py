"""What a plugin implements so that its guests have checkpoints, and backups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress
    from polyvisor.local._hypervisor import Guest
    from polyvisor.model import BackupSpec, CheckpointSpec, DomainSpec

__all__ = ["BacksUpDisks", "TracksDisks"]


class TracksDisks(ABC):
    """A hypervisor that keeps account of what changes on disks.

    Names, the order of checkpoints, their documents and what is done after a process was
    killed are the core's. Methods are called with the domain's lock held; ``guest`` is
    ``None`` where the domain is off. Checkpoints come with every disk said.
    """

    @abstractmethod
    def check_tracking(self, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Refuse disks whose changes cannot be kept account of.

        Raises:
            Unsupported: names the disk and says why.
        """

    @abstractmethod
    def track(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Keep account, from now on, of what changes on the disks; of all or, failing, of none."""

    @abstractmethod
    def untrack(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Stop that, as far as it is done."""

    @abstractmethod
    def changed(self, guest: Guest, point: CheckpointSpec) -> Mapping[str, int]:
        """Return how many bytes have changed since, by the disks' targets."""


class BacksUpDisks(TracksDisks):
    """A hypervisor that copies disks, or what has changed on them, while they are in use.

    Methods are called with the domain's lock held, but for :meth:`backup_job`. Backups come
    with every disk said.
    """

    @abstractmethod
    def begin_backup(
        self,
        guest: Guest,
        backup: BackupSpec,
        point: CheckpointSpec | None,
        since: Mapping[str, str],
        *,
        reuse: bool,
    ) -> BackupSpec:
        """Begin a backup of all disks as they are at one instant; if it fails nothing is left.

        Args:
            guest: an active guest, on which none goes on.
            backup: the backup.
            point: begin to keep account at the same instant.
            since: by disk, under which name it is kept account of what is copied.
            reuse: the images that take it are there.

        Returns:
            The backup as it goes on, with what was chosen, such as the server's port.
        """

    @abstractmethod
    def backup_job(self, guest: Guest) -> JobProgress | None:
        """Return how far the backup is; ``done`` if only :meth:`end_backup` is left to do."""

    @abstractmethod
    def end_backup(
        self, guest: Guest, begun: BackupSpec | None = None, there: Sequence[str] = ()
    ) -> str | None:
        """End the backup that was begun, and let go of its images.

        Args:
            guest: an active guest.
            begun: the backup, if whoever began it was killed meanwhile; its images go as well.
            there: those of its images that were there before.

        Returns:
            Why it is not whole, in words; ``None`` if it is.
        """
