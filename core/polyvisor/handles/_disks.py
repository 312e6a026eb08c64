"""The disks of a domain: sizes, jobs that move data, checkpoints and backups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.errors import InvalidArgument
from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.driver import Backups, BlockJobInfo, BlockJobs, Checkpoints, DiskInfo

__all__ = ["DomainBackup", "DomainCheckpoints", "DomainDisks"]


class DomainDisks:
    """The disks of a domain, each named by its target (``vda``) or the path of its source.

    A job goes on by itself once it was begun. Every method raises
    :class:`~polyvisor.errors.Unsupported` if the driver cannot work on disks.
    """

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    def info(self, disk: str) -> DiskInfo:
        """Return a disk's sizes."""
        return self._part().disk_info(self._uuid, disk)

    def job(self, disk: str) -> BlockJobInfo | None:
        """Return the job on a disk, or ``None``."""
        return self._part().info(self._uuid, disk)

    @verb
    def resize(self, disk: str, size: int) -> None:
        """Change what the guest sees of the disk to ``size`` bytes."""
        self._part().resize(self._uuid, disk, size)

    @verb
    def set_threshold(self, disk: str, threshold: int) -> None:
        """Have one event tell when something is written beyond an offset of the disk's file.

        Args:
            disk: the disk.
            threshold: the offset in bytes; 0: none any more.
        """
        if threshold < 0:
            raise InvalidArgument(f"set a threshold of {disk!r}: {threshold} is no offset")
        self._part().set_threshold(self._uuid, disk, threshold)

    @verb
    def pull(
        self, disk: str, *, base: str | None = None, bandwidth: int = 0, relative: bool = False
    ) -> None:
        """Begin to bring the backing chain above ``base`` into the disk's own file.

        Args:
            disk: the disk.
            base: path of the file that stays as backing file, or its place in the chain, such as
                ``vda[2]``; ``None``: none stays.
            bandwidth: bytes per second at most; 0: no limit.
            relative: names that are relative in the chain stay so.

        Raises:
            OperationInvalid: ``relative``, and a name in the chain is not.
        """
        more = {"relative": True} if relative else {}
        self._part().pull(self._uuid, disk, base=base, bandwidth=bandwidth, **more)

    @verb
    def commit(
        self,
        disk: str,
        *,
        base: str | None = None,
        top: str | None = None,
        bandwidth: int = 0,
        active: bool = False,
        delete: bool = False,
        shallow: bool = False,
        relative: bool = False,
    ) -> None:
        """Begin to bring the data from ``top`` down into ``base``.

        Args:
            disk: the disk.
            base: path of the file that takes the data, or its place in the chain, such as
                ``vda[2]``; ``None``: the chain's last.
            top: the same of the topmost file that is merged; ``None``: the disk's own.
            bandwidth: bytes per second at most; 0: no limit.
            active: ``top`` is the disk's own file; end the job with :meth:`abort`.
            delete: remove the files that are no longer needed.
            shallow: ``base`` is, or must be, the one right below ``top``.
            relative: names that are relative in the chain stay so.

        Raises:
            OperationInvalid: ``relative``, and a name in the chain is not.
        """
        flags = {"shallow": shallow, "relative": relative}
        # Left out unless they are wanted: drivers need not know them.
        more = {name: True for name, wanted in flags.items() if wanted}
        self._part().commit(
            self._uuid,
            disk,
            base=base,
            top=top,
            bandwidth=bandwidth,
            active=active,
            delete=delete,
            **more,
        )

    @verb
    def copy(
        self,
        disk: str,
        xml: str,
        *,
        bandwidth: int = 0,
        shallow: bool = False,
        reuse: bool = False,
        granularity: int = 0,
        buffer: int = 0,
    ) -> None:
        """Begin to copy the disk to where ``xml``, a ``<disk>``, says; :meth:`abort` ends it.

        Args:
            disk: the disk.
            xml: the destination.
            bandwidth: bytes per second at most; 0: no limit.
            shallow: only what is above the backing file.
            reuse: the destination is there already.
            granularity: bytes that are copied anew if one of them is written meanwhile, a power
                of two; 0: as the hypervisor finds best.
            buffer: bytes that may be under way at a time; 0: as the hypervisor finds best.

        Raises:
            InvalidArgument: ``xml`` says nowhere, or a number cannot be.
        """
        part = self._part()
        if granularity < 0 or granularity & (granularity - 1):
            raise InvalidArgument(f"copy: granularity must be a power of two, not {granularity}")
        # Left out unless they are wanted: drivers need not know them.
        given = {"granularity": granularity, "buffer": buffer}
        more = {name: value for name, value in given.items() if value}
        part.copy(self._uuid, disk, xml, bandwidth=bandwidth, shallow=shallow, reuse=reuse, **more)

    @verb
    def set_bandwidth(self, disk: str, bandwidth: int) -> None:
        """Change the limit of the job on a disk, in bytes per second; 0: none."""
        self._part().set_bandwidth(self._uuid, disk, bandwidth)

    @verb
    def abort(self, disk: str, *, pivot: bool = False, wait: bool = True) -> None:
        """End the job on a disk.

        Args:
            disk: the disk.
            pivot: of a job that is ready: go over to the other side.
            wait: return only when it has ended.

        Raises:
            OperationInvalid: there is no job, or it is not ready to pivot.
        """
        self._part().abort(self._uuid, disk, pivot=pivot, wait=wait)

    def _part(self) -> BlockJobs:
        return self._connection._need(self._connection._driver.block, "block.jobs")


class DomainCheckpoints:
    """The checkpoints of a domain: instants since which changes of its disks are known."""

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    def list(self) -> Sequence[str]:
        """Return their names, parents before children."""
        return self._part().list(self._uuid)

    def xml(self, name: str, *, sizes: bool = False) -> str:
        """Return one as ``<domaincheckpoint>``, with the changed sizes if asked for."""
        return self._part().xml(self._uuid, name, sizes=sizes)

    @verb
    def create(
        self, xml: str = "<domaincheckpoint/>", *, redefine: bool = False, quiesce: bool = False
    ) -> str:
        """Make one from a ``<domaincheckpoint>`` and return its name.

        Args:
            xml: the document.
            redefine: put back what :meth:`xml` gave, touching no disk.
            quiesce: let the agent in the guest freeze its file systems meanwhile.

        Raises:
            InvalidArgument: ``redefine`` and ``quiesce``.
        """
        if not quiesce:
            return self._part().create(self._uuid, xml, redefine=redefine)
        if redefine:
            raise InvalidArgument("checkpoint: nothing is frozen to redefine one")
        from polyvisor.domain import Domain
        from polyvisor.handles._agent import quiesced

        with quiesced(Domain(self._connection, self._uuid).agent):
            return self._part().create(self._uuid, xml)

    @verb
    def delete(self, name: str, *, children: bool = False, metadata_only: bool = False) -> None:
        """Remove one; what it kept account of goes to its parent.

        Args:
            name: the checkpoint.
            children: remove those that came after it too.
            metadata_only: forget it and leave the disks as they are.

        Raises:
            NotFound: there is none of that name.
        """
        self._part().delete(self._uuid, name, children=children, metadata_only=metadata_only)

    def _part(self) -> Checkpoints:
        return self._connection._need(self._connection._driver.checkpoints, "checkpoints")


class DomainBackup:
    """The backup of a domain's disks that goes on, or is to; a job of the domain."""

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    @verb
    def begin(
        self,
        xml: str = "<domainbackup/>",
        *,
        checkpoint: str | None = None,
        reuse: bool = False,
    ) -> None:
        """Begin one; ``Domain.job`` tells how far it is, ``Domain.abort_job`` ends it.

        Args:
            xml: a ``<domainbackup>``.
            checkpoint: a ``<domaincheckpoint>`` to be made at the same moment.
            reuse: the files that take it are there already.
        """
        self._part().begin(self._uuid, xml, checkpoint, reuse=reuse)

    def xml(self) -> str:
        """Return the one that goes on as ``<domainbackup>``.

        Raises:
            NotFound: there is none.
        """
        return self._part().xml(self._uuid)

    def _part(self) -> Backups:
        return self._connection._need(self._connection._driver.backups, "backup")
