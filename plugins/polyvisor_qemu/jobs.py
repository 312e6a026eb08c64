"""QEMU's jobs: begun, waited for, and their errors as ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, StorageError, Timeout
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor_qemu.qmp import Monitor

__all__ = ["dismiss", "failed", "run_job"]


def run_job(
    monitor: Monitor,
    command: str,
    job: str,
    what: str,
    spent: Callable[[], float | None],
    **arguments: Any,
) -> None:
    """Begin a job and wait for its end.

    Args:
        monitor: QEMU's monitor.
        command: what begins it.
        job: its name.
        what: what is done, in words.
        spent: gives the CPU time that QEMU has used; while the job holds it up, it answers
            nothing, and this tells it from one that hangs.
        arguments: the command's own.

    Raises:
        StorageError: there is no room.
        HypervisorError: it failed.
        Timeout: QEMU is stopped or hangs.
    """
    dismiss(monitor, job)
    monitor.execute(command, job_id=job, **arguments)
    seen = spent()
    while True:
        event = monitor.next_event(monitor.timeout)
        if event is None:
            before, seen = seen, spent()
            if seen == before:
                raise Timeout(
                    f"{what}: QEMU did nothing for {monitor.timeout:g} s; it is stopped or hangs"
                )
        elif event["event"] == "JOB_STATUS_CHANGE" and (
            (event["data"]["id"], event["data"]["status"]) == (job, "concluded")
        ):
            break
    found = next(one for one in monitor.execute("query-jobs") if one["id"] == job)
    monitor.execute("job-dismiss", id=job)
    if "error" in found:
        raise failed(what, found["error"])


def dismiss(monitor: Monitor, job: str) -> None:
    """Clear away a job that has ended and whose beginner was killed."""
    with suppress(QmpError):
        monitor.execute("job-dismiss", id=job)


def failed(what: str, words: str) -> HypervisorError | StorageError:
    """Return the error of a job, from QEMU's words."""
    if "No space left" in words:
        return StorageError(f"{what}: {words}", native_code="ENOSPC", native_message=words)
    return HypervisorError(f"{what}: {words}", native_message=words)
