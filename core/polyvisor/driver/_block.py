"""Work on the disks of domains: jobs that move data, sizes, points for backup."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Backups", "BlockJobInfo", "BlockJobs", "Checkpoints", "DiskInfo"]


@attrs.frozen
class BlockJobInfo:
    """A job on a disk.

    Attributes:
        kind: ``pull``, ``copy``, ``commit``, ``active-commit`` or ``backup``.
        done: work done, in the same measure as ``total``.
        total: work in all, as far as is known.
        bandwidth: bytes per second at most; 0: no limit.
        ready: both sides are the same now and stay so until the job is ended.
    """

    kind: str
    done: int
    total: int
    bandwidth: int = 0
    ready: bool = False


@attrs.frozen
class DiskInfo:
    """Sizes of a disk, in bytes.

    Attributes:
        capacity: what the guest sees.
        allocation: how much of the file or device is written.
        physical: how much room it takes on the host.
    """

    capacity: int
    allocation: int
    physical: int


class BlockJobs(ABC):
    """Moves the data of disks while their domain runs.

    A disk is named by its target (``vda``) or the path of its source. A job that was begun
    goes on by itself; its end is an event. A second one on the same disk is
    :class:`~polyvisor.errors.Busy`.
    """

    @abstractmethod
    def disk_info(self, uuid: UUID, disk: str) -> DiskInfo:
        """Return a disk's sizes; also of a domain that does not run."""

    @abstractmethod
    def resize(self, uuid: UUID, disk: str, size: int) -> None:
        """Change what the guest sees of the disk to ``size`` bytes."""

    def set_threshold(self, uuid: UUID, disk: str, threshold: int) -> None:
        """Have an event tell when something is written beyond an offset of the disk's own file.

        It is of the kind ``guest`` with the detail ``block-threshold`` and has ``disk``, ``path``,
        ``threshold`` and ``excess``, the bytes beyond it; and it comes once.

        Args:
            uuid: an active domain.
            disk: the disk.
            threshold: an offset in the file or device, in bytes; 0: none any more.

        Raises:
            NotFound: there is no such disk.
            OperationInvalid: the domain is not active, or the disk is empty.
            Unsupported: the driver cannot.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "set a threshold: this driver does not watch what disks write", feature="block.jobs"
        )

    @abstractmethod
    def pull(
        self,
        uuid: UUID,
        disk: str,
        *,
        base: str | None,
        bandwidth: int,
        relative: bool = False,
    ) -> None:
        """Begin to bring data from the backing chain above ``base`` into the disk's own file.

        Args:
            uuid: an active domain.
            disk: the disk.
            base: path of the file that stays as backing file, or its place in the chain, such as
                ``vda[2]``; ``None``: none stays.
            bandwidth: bytes per second at most; 0: no limit.
            relative: names that are relative in the chain stay so. A driver that does not know
                this need not have it.

        Raises:
            OperationInvalid: ``relative``, and a name in the chain is not.
        """

    @abstractmethod
    def commit(
        self,
        uuid: UUID,
        disk: str,
        *,
        base: str | None,
        top: str | None,
        bandwidth: int,
        active: bool,
        delete: bool,
        shallow: bool = False,
        relative: bool = False,
    ) -> None:
        """Begin to bring the data from ``top`` down to above ``base`` into ``base``.

        Args:
            uuid: an active domain.
            disk: the disk.
            base: path of the file that takes the data, or its place in the chain, such as
                ``vda[2]``; ``None``: the chain's last.
            top: the same of the topmost file that is merged; ``None``: the disk's own.
            bandwidth: bytes per second at most; 0: no limit.
            active: ``top`` is the disk's own file; the job gets ready and is ended with
                :meth:`abort` and ``pivot``.
            delete: remove the files that are no longer needed.
            shallow: ``base`` is, or must be, the one right below ``top``.
            relative: names that are relative in the chain stay so. A driver that does not know
                these two need not have them.

        Raises:
            OperationInvalid: ``relative``, and a name in the chain is not.
        """

    @abstractmethod
    def copy(
        self,
        uuid: UUID,
        disk: str,
        xml: str,
        *,
        bandwidth: int,
        shallow: bool,
        reuse: bool,
        granularity: int = 0,
        buffer: int = 0,
    ) -> None:
        """Begin to copy the disk; the job gets ready and is ended with :meth:`abort`.

        Args:
            uuid: an active domain.
            disk: the disk.
            xml: a ``<disk>`` that says where to.
            bandwidth: bytes per second at most; 0: no limit.
            shallow: only what is above the backing file.
            reuse: the destination is there already.
            granularity: bytes that are copied anew if one of them is written meanwhile, a power
                of two; 0: as the hypervisor finds best.
            buffer: bytes that may be under way at a time; 0: as the hypervisor finds best.
        """

    @abstractmethod
    def info(self, uuid: UUID, disk: str) -> BlockJobInfo | None:
        """Return the job on a disk, or ``None``."""

    @abstractmethod
    def set_bandwidth(self, uuid: UUID, disk: str, bandwidth: int) -> None:
        """Change the limit of a job, in bytes per second; 0: none."""

    @abstractmethod
    def abort(self, uuid: UUID, disk: str, *, pivot: bool, wait: bool) -> None:
        """End a job.

        Args:
            uuid: an active domain.
            disk: the disk.
            pivot: of a job that is ready: go over to the other side.
            wait: return only when it has ended.

        Raises:
            OperationInvalid: there is no job, or it is not ready to pivot.
        """


class Checkpoints(ABC):
    """Points in time from which what was written to disks is kept account of."""

    @abstractmethod
    def create(self, uuid: UUID, xml: str, *, redefine: bool = False) -> str:
        """Make one from a ``<domaincheckpoint>`` and return its name."""

    @abstractmethod
    def list(self, uuid: UUID) -> Sequence[str]:
        """Return the names of the domain's checkpoints, parents before children."""

    @abstractmethod
    def xml(self, uuid: UUID, name: str, *, sizes: bool = False) -> str:
        """Return one as ``<domaincheckpoint>``, with the changed sizes if asked for."""

    @abstractmethod
    def delete(self, uuid: UUID, name: str, *, children: bool, metadata_only: bool) -> None:
        """Remove one; what it kept account of goes to its parent."""


class Backups(ABC):
    """Full and incremental backups of the disks of running domains."""

    @abstractmethod
    def begin(self, uuid: UUID, xml: str, checkpoint: str | None, *, reuse: bool) -> None:
        """Begin a backup from a ``<domainbackup>``, with a checkpoint made at the same moment.

        It is a job of the domain, told of by ``Domains.job`` and ended by ``abort_job``.
        """

    @abstractmethod
    def xml(self, uuid: UUID) -> str:
        """Return the backup that is going on as ``<domainbackup>``.

        Raises:
            NotFound: there is none.
        """
