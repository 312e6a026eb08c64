"""What a plugin implements so that its guests have backups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from polyvisor.local._hypervisor import TracksDisks

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress
    from polyvisor.local._hypervisor import Guest
    from polyvisor.model import BackupSpec, CheckpointSpec

__all__ = ["BacksUpDisks"]


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
