"""QEMU's jobs: begun, waited for, and their errors as ours."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, StorageError, Timeout
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor_qemu.qmp import Monitor

__all__ = ["dismiss", "failed", "run_job"]

#: Seconds that a job may take that holds QEMU up, so that it answers nothing meanwhile.
_LONG = 3600.0


def run_job(monitor: Monitor, command: str, job: str, what: str, **arguments: Any) -> None:
    """Begin a job and wait for its end.

    Args:
        monitor: QEMU's monitor.
        command: what begins it.
        job: its name.
        what: what is done, in words.
        arguments: the command's own.

    Raises:
        StorageError: there is no room.
        HypervisorError: it failed.
    """
    dismiss(monitor, job)
    monitor.execute(command, job_id=job, **arguments)
    deadline = time.monotonic() + _LONG
    while (left := deadline - time.monotonic()) > 0:
        event = monitor.next_event(left)
        if event is None or event["event"] != "JOB_STATUS_CHANGE":
            continue
        if event["data"]["id"] == job and event["data"]["status"] == "concluded":
            break
    else:
        raise Timeout(f"{what}: QEMU was not done in {_LONG:g} s")
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
