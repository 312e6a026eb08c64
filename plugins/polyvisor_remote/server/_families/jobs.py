"""How far a save or a migration is, and stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import INT

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress
    from polyvisor_remote.server.session import Session

# virDomainJobType
_NONE, _BOUNDED, _UNBOUNDED = 0, 1, 2
_COMPLETED, _KEEP_COMPLETED = 1, 2
#: ``virDomainJobOperation``.
_OPERATIONS = {
    "start": 1,
    "save": 2,
    "managed save": 2,
    "restore": 3,
    "migration in": 4,
    "migration": 5,
    "snapshot": 6,
    "snapshot revert": 7,
    "dump": 8,
    "backup": 9,
    "snapshot delete": 10,
}
#: Those that move the data of disks, not of memory.
_OF_DISKS = frozenset({"backup", "snapshot delete"})


def _kind(job: JobProgress) -> int:
    return _BOUNDED if job.total else _UNBOUNDED


@serves("domain_get_job_info")
def get_job_info(session: Session, arguments: Any) -> tuple[int, ...]:
    """Return how far the job is: milliseconds and bytes."""
    job = session.driver.domains.job(session.uuid(arguments.dom))
    if job is None:
        return (_NONE, *(0,) * 11)
    elapsed = int(job.elapsed * 1000)
    data = (job.total, job.processed, job.remaining)
    disks = (job.disk_total, job.disk_processed, job.disk_remaining)
    memory = (whole - part for whole, part in zip(data, disks, strict=True))
    return (_kind(job), elapsed, 0, *data, *memory, *disks)


@serves("domain_get_job_stats")
def get_job_stats(session: Session, arguments: Any) -> tuple[int, list[Any]]:
    """Return how far the job is, by names; of one that is over nothing is kept."""
    check_flags(arguments.flags, _COMPLETED | _KEEP_COMPLETED, "virDomainGetJobStats")
    job = session.driver.domains.job(session.uuid(arguments.dom))
    if job is None or arguments.flags & _COMPLETED:
        return _NONE, []
    if job.operation in _OF_DISKS:
        facts: dict[str, Any] = {
            "operation": _OPERATIONS[job.operation],
            "time_elapsed": int(job.elapsed * 1000),
            "disk_total": job.total,
            "disk_processed": job.processed,
            "disk_remaining": job.remaining,
        }
        return _UNBOUNDED, params(facts, {"operation": INT})
    facts = {
        "operation": _OPERATIONS.get(job.operation, 0),
        "time_elapsed": int(job.elapsed * 1000),
        "data_total": job.total,
        "data_processed": job.processed,
        "data_remaining": job.remaining,
        "memory_total": job.total - job.disk_total,
        "memory_processed": job.processed - job.disk_processed,
        "memory_remaining": job.remaining - job.disk_remaining,
        "disk_total": job.disk_total,
        "disk_processed": job.disk_processed,
        "disk_remaining": job.disk_remaining,
    }
    if job.iteration:
        facts["memory_iteration"] = job.iteration
    if job.downtime is not None:
        facts["downtime"] = int(job.downtime * 1000)
    return _kind(job), params(facts, {"operation": INT})


@serves("domain_abort_job")
def abort_job(session: Session, arguments: Any) -> None:
    """Stop it."""
    session.driver.domains.abort_job(session.uuid(arguments.dom))


@serves("domain_abort_job_flags")
def abort_job_flags(session: Session, arguments: Any) -> None:
    """Stop it."""
    check_flags(arguments.flags, 0, "virDomainAbortJobFlags")
    session.driver.domains.abort_job(session.uuid(arguments.dom))
