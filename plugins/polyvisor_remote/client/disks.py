"""Disks of a server's domains: sizes, jobs that move data, checkpoints and backups."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Backups, BlockJobInfo, BlockJobs, Checkpoints, DiskInfo
from polyvisor.errors import PolyvisorError
from polyvisor_remote.server.numbers import BLOCK_JOBS
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import UINT

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteBackups", "RemoteBlockJobs", "RemoteCheckpoints"]

#: ``VIR_DOMAIN_BLOCK_RESIZE_BYTES``, and the same of a job's info and speed.
_BYTES = 1
#: ``VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES``, which is rebase's too.
_PULL_BYTES = 64
#: ``VIR_DOMAIN_BLOCK_REBASE_RELATIVE``.
_PULL_RELATIVE = 16
# virDomainBlockCommitFlags
_COMMIT_SHALLOW, _DELETE, _ACTIVE, _COMMIT_RELATIVE, _COMMIT_BYTES = 1, 2, 4, 8, 16
# virDomainBlockCopyFlags; the last says that the job may go with a restart of the domain,
# without which libvirt copies no disk of a persistent one
_SHALLOW, _REUSE, _TRANSIENT = 1, 2, 4
# virDomainBlockJobAbortFlags
_ASYNC, _PIVOT = 1, 2
#: ``VIR_ERR_BLOCK_COPY_ACTIVE``.
_COPY_ACTIVE = 83
#: Seconds in which a server has heard that a job is ready.
_HEARING = 5.0
# virDomainCheckpointCreateFlags, …ListFlags, …XMLFlags, …DeleteFlags
_REDEFINE, _TOPOLOGICAL, _SIZE = 1, 2, 4
_CHILDREN, _METADATA_ONLY = 1, 2
#: ``VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL``.
_REUSE_TARGETS = 1


class RemoteBlockJobs(BlockJobs):
    """Jobs on disks; paths are as the server's host sees them.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._call = driver.domains.call

    def disk_info(self, uuid: UUID, disk: str) -> DiskInfo:
        """Ask for a disk's sizes."""
        answer = self._call(uuid, "domain_get_block_info", disk, 0)
        return DiskInfo(
            capacity=answer.capacity, allocation=answer.allocation, physical=answer.physical
        )

    def resize(self, uuid: UUID, disk: str, size: int) -> None:
        """Have a disk's size changed."""
        self._call(uuid, "domain_block_resize", disk, size, _BYTES)

    def set_threshold(self, uuid: UUID, disk: str, threshold: int) -> None:
        """Have an event tell of a write beyond an offset."""
        self._call(uuid, "domain_set_block_threshold", disk, threshold, 0)

    def pull(
        self, uuid: UUID, disk: str, *, base: str | None, bandwidth: int, relative: bool = False
    ) -> None:
        """Have a pull begun."""
        flags = (_PULL_BYTES if bandwidth else 0) | (_PULL_RELATIVE if relative and base else 0)
        if base is None:
            self._call(uuid, "domain_block_pull", disk, bandwidth, flags)
        else:
            self._call(uuid, "domain_block_rebase", disk, base, bandwidth, flags)

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
        """Have a commit begun."""
        flags = (
            (_DELETE if delete else 0)
            | (_COMMIT_SHALLOW if shallow else 0)
            | (_COMMIT_RELATIVE if relative else 0)
            | (_ACTIVE if active else 0)
            | (_COMMIT_BYTES if bandwidth else 0)
        )
        self._call(uuid, "domain_block_commit", disk, base, top, bandwidth, flags)

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
        """Have a copy begun."""
        flags = _TRANSIENT | (_SHALLOW if shallow else 0) | (_REUSE if reuse else 0)
        asked = {"bandwidth": bandwidth, "granularity": granularity, "buf-size": buffer}
        wanted = {name: value for name, value in asked.items() if value}
        given = params(wanted, {"granularity": UINT})
        self._call(uuid, "domain_block_copy", disk, xml, given, flags)

    def info(self, uuid: UUID, disk: str) -> BlockJobInfo | None:
        """Ask for the job on a disk; equal numbers are how a server says that it is ready."""
        answer = self._call(uuid, "domain_get_block_job_info", disk, _BYTES)
        if not answer.found:
            return None
        known = 0 < answer.type <= len(BLOCK_JOBS)
        kind = BLOCK_JOBS[answer.type - 1] if known else "job"
        return BlockJobInfo(
            kind=kind,
            done=answer.cur,
            total=answer.end,
            bandwidth=answer.bandwidth,
            ready=kind in ("copy", "active-commit") and answer.cur == answer.end,
        )

    def set_bandwidth(self, uuid: UUID, disk: str, bandwidth: int) -> None:
        """Have a job's limit changed."""
        self._call(uuid, "domain_block_job_set_speed", disk, bandwidth, _BYTES)

    def abort(self, uuid: UUID, disk: str, *, pivot: bool, wait: bool) -> None:
        """Have a job ended.

        libvirt pivots once it has heard from QEMU that a job is ready, which may be a moment
        after its numbers have said so.
        """
        flags = (_PIVOT if pivot else 0) | (0 if wait else _ASYNC)
        deadline = time.monotonic() + _HEARING
        while True:
            try:
                self._call(uuid, "domain_block_job_abort", disk, flags)
                return
            except PolyvisorError as error:
                early = pivot and error.native_code == _COPY_ACTIVE
                if not early or time.monotonic() > deadline:
                    raise
                job = self.info(uuid, disk)
                if job is None or not job.ready:
                    raise
            time.sleep(0.05)


class RemoteCheckpoints(Checkpoints):
    """Checkpoints of a server's domains.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._link = driver.link
        self._domains = driver.domains

    def _call(self, uuid: UUID, procedure: str, name: str, *arguments: Any) -> Any:
        one = (name, self._domains.reference(uuid))
        try:
            return self._link.call(procedure, one, *arguments)
        except PolyvisorError as error:
            raise self._domains.named(error, uuid, procedure) from None

    def create(self, uuid: UUID, xml: str, *, redefine: bool = False) -> str:
        """Have one made."""
        flags = _REDEFINE if redefine else 0
        made = self._domains.call(uuid, "domain_checkpoint_create_xml", xml, flags)
        name: str = made.checkpoint.name
        return name

    def list(self, uuid: UUID) -> Sequence[str]:
        """Ask for all."""
        found = self._domains.call(uuid, "domain_list_all_checkpoints", 1, _TOPOLOGICAL)
        return [one.name for one in found.checkpoints]

    def xml(self, uuid: UUID, name: str, *, sizes: bool = False) -> str:
        """Ask for its document."""
        flags = _SIZE if sizes else 0
        xml: str = self._call(uuid, "domain_checkpoint_get_xml_desc", name, flags).xml
        return xml

    def delete(self, uuid: UUID, name: str, *, children: bool, metadata_only: bool) -> None:
        """Have one removed."""
        flags = (_CHILDREN if children else 0) | (_METADATA_ONLY if metadata_only else 0)
        self._call(uuid, "domain_checkpoint_delete", name, flags)


class RemoteBackups(Backups):
    """Backups of a server's domains, into files of its host.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._call = driver.domains.call

    def begin(self, uuid: UUID, xml: str, checkpoint: str | None, *, reuse: bool) -> None:
        """Have one begun."""
        flags = _REUSE_TARGETS if reuse else 0
        self._call(uuid, "domain_backup_begin", xml, checkpoint, flags)

    def xml(self, uuid: UUID) -> str:
        """Ask for the one that goes on."""
        xml: str = self._call(uuid, "domain_backup_get_xml_desc", 0).xml
        return xml
