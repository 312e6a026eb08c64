"""How far a save or a migration is, and stopping it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import Steering
from polyvisor.jobstats import JobOutcome
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.numbers import JOB_FIELDS, JOB_OPERATIONS, JOB_TYPES
from polyvisor_remote.wire import params

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

# virDomainGetJobStatsFlags
_COMPLETED, _KEEP_COMPLETED = 1, 2
#: ``VIR_DOMAIN_ABORT_JOB_POSTCOPY``.
_POSTCOPY = 1


@serves("domain_get_job_info")
def get_job_info(session: Session, arguments: Any) -> tuple[int, ...]:
    """Return how far the job is: milliseconds and bytes."""
    job = session.driver.domains.job_statistics(session.uuid(arguments.dom))
    if job is None:
        return (0,) * 12
    known = job.figures
    memory, disks = (
        [known.get(f"{what}_{part}", 0) for part in ("total", "processed", "remaining")]
        for what in ("memory", "disk")
    )
    data = [one + other for one, other in zip(memory, disks, strict=True)]
    return (JOB_TYPES[job.outcome], known["time_elapsed"], 0, *data, *memory, *disks)


@serves("domain_get_job_stats")
def get_job_stats(session: Session, arguments: Any) -> tuple[int, list[Any]]:
    """Return the figures of the job, or of the last one that was completed, by names."""
    check_flags(arguments.flags, _COMPLETED | _KEEP_COMPLETED, "virDomainGetJobStats")
    job = session.driver.domains.job_statistics(
        session.uuid(arguments.dom),
        completed=bool(arguments.flags & _COMPLETED),
        keep=bool(arguments.flags & _KEEP_COMPLETED),
    )
    if job is None:
        return 0, []
    told: dict[str, Any] = {"operation": JOB_OPERATIONS.get(job.operation, 0), **job.figures}
    if job.operation == "backup" and job.outcome is not JobOutcome.RUNNING:
        told["success"] = job.outcome is JobOutcome.COMPLETED
    if job.error is not None:
        told["errmsg"] = job.error
    return JOB_TYPES[job.outcome], params(told, JOB_FIELDS)


@serves("domain_abort_job")
def abort_job(session: Session, arguments: Any) -> None:
    """Stop it."""
    session.driver.domains.abort_job(session.uuid(arguments.dom))


@serves("domain_abort_job_flags")
def abort_job_flags(session: Session, arguments: Any) -> None:
    """Stop it."""
    check_flags(arguments.flags, _POSTCOPY, "virDomainAbortJobFlags")
    uuid = session.uuid(arguments.dom)
    if arguments.flags & _POSTCOPY:
        part = need(session.driver.migration, "domain_abort_job_flags")
        part.steer(uuid, Steering(post_copy_pause=True))
    else:
        session.driver.domains.abort_job(uuid)
