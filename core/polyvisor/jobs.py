"""Long work: progress, and cancelling it from another thread or process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs

from polyvisor.errors import Cancelled

__all__ = ["Job", "JobControl", "JobProgress", "ProgressCallback"]


@attrs.frozen
class JobProgress:
    """How far a job is (``virDomainJobInfo``).

    Attributes:
        operation: ``"save"``, ``"restore"``, ``"migration"``, ``"snapshot"`` …
        phase: what is done now, one of the operation's own words.
        elapsed: seconds since it began.
        total: bytes to move in all, as known now; 0 while unknown.
        processed: bytes moved.
        remaining: bytes still to move.
        iteration: which pass over memory, from 1; 0 where there are none.
        dirty_rate: bytes the guest dirties per second, or ``None``.
        downtime: seconds that the guest stands still, or ``None`` while unknown.
        done: whether this is the last report.
        disk_total: bytes of disks to move, which are in ``total`` too.
        disk_processed: those that were moved.
        disk_remaining: those still to move.
        figures: what else is known of it, by the names of :data:`polyvisor.jobstats.FIGURES`.
    """

    operation: str
    phase: str = ""
    elapsed: float = 0.0
    total: int = 0
    processed: int = 0
    remaining: int = 0
    iteration: int = 0
    dirty_rate: float | None = None
    downtime: float | None = None
    done: bool = False
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0
    figures: Mapping[str, int] = attrs.field(factory=dict)


ProgressCallback = Callable[[JobProgress], object]


class Job:
    """One piece of long work in this process.

    The one who does the work calls :meth:`report` as it goes on and :meth:`check`
    where it may stop; anybody else may call :meth:`cancel`.

    Args:
        operation: the name that :class:`JobProgress` carries.
        progress: called with each report, in the worker's thread. What it raises cancels
            the job, whose work is undone, and then leaves the ``with`` block of the job as
            it is; raised by the last report, when there is nothing left to cancel, too.
    """

    def __init__(self, operation: str, progress: ProgressCallback | None = None) -> None:
        self.operation = operation
        self.latest: JobProgress = JobProgress(operation)
        self._progress = progress
        self._listeners: list[ProgressCallback] = []
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._event_fd: int | None = None
        self._failure: Exception | None = None
        self._wishes: dict[str, Any] = {}
        if isinstance(progress, JobControl):
            progress._steer(self)

    def listen(self, callback: ProgressCallback) -> None:
        """Call ``callback`` with each further report as well."""
        self._listeners.append(callback)

    def report(
        self,
        phase: str,
        *,
        total: int | None = None,
        processed: int | None = None,
        remaining: int | None = None,
        iteration: int | None = None,
        dirty_rate: float | None = None,
        downtime: float | None = None,
        done: bool = False,
        disk_total: int | None = None,
        disk_processed: int | None = None,
        disk_remaining: int | None = None,
        figures: Mapping[str, int] | None = None,
    ) -> None:
        """Say how far the job is; what is left out stays as it was.

        Args:
            phase: see :class:`JobProgress`, as for all arguments.
            total: bytes.
            processed: bytes.
            remaining: bytes.
            iteration: pass over memory.
            dirty_rate: bytes per second.
            downtime: seconds.
            done: last report.
            disk_total: bytes.
            disk_processed: bytes.
            disk_remaining: bytes.
            figures: further figures.

        Raises:
            Cancelled: the progress function failed, and there is something left to do.
        """
        previous = self.latest
        self.latest = JobProgress(
            self.operation,
            phase,
            time.monotonic() - self._started,
            previous.total if total is None else total,
            previous.processed if processed is None else processed,
            previous.remaining if remaining is None else remaining,
            previous.iteration if iteration is None else iteration,
            previous.dirty_rate if dirty_rate is None else dirty_rate,
            previous.downtime if downtime is None else downtime,
            done,
            previous.disk_total if disk_total is None else disk_total,
            previous.disk_processed if disk_processed is None else disk_processed,
            previous.disk_remaining if disk_remaining is None else disk_remaining,
            previous.figures if figures is None else figures,
        )
        for listener in self._listeners:
            listener(self.latest)
        if self._progress is not None and self._failure is None:
            try:
                self._progress(self.latest)
            except Exception as error:  # noqa: BLE001 - the caller's own, handed back at the end
                error._polyvisor_callers_own = True  # type: ignore[attr-defined]
                self._failure = error
                self.cancel("its progress function failed")
                if not done:
                    self.check()

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the job."""
        return self._reason is not None

    def cancel(self, reason: str = "cancelled on request") -> None:
        """Ask the worker to stop; it does at its next :meth:`check`. Thread-safe."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
                if self._event_fd is not None:
                    os.eventfd_write(self._event_fd, 1)

    def check(self) -> None:
        """Raise :class:`~polyvisor.errors.Cancelled` if the job was cancelled."""
        if self._reason is not None:
            raise Cancelled(f"{self.operation}: {self._reason}", operation=self.operation)

    def wish(self, **wishes: Any) -> None:
        """Ask the worker for something by name, for its next :meth:`wishes`. Thread-safe."""
        with self._lock:
            self._wishes.update(wishes)

    def wishes(self) -> dict[str, Any]:
        """Return what was asked for since the last call, by name."""
        with self._lock:
            taken, self._wishes = self._wishes, {}
        return taken

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the job is cancelled."""
        with self._lock:
            if self._event_fd is None:
                initial = 1 if self._reason is not None else 0
                self._event_fd = os.eventfd(initial, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._event_fd

    def close(self) -> None:
        """Release the descriptor, if there is one."""
        with self._lock:
            if self._event_fd is not None:
                os.close(self._event_fd)
                self._event_fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: object
    ) -> None:
        self.close()
        # Whatever else went wrong meanwhile says more about the domain, and is let out.
        if self._failure is not None and (error is None or isinstance(error, Cancelled)):
            raise self._failure


class JobControl:
    """Cancels an operation of this process: given to it as its ``progress``.

    Unlike :meth:`polyvisor.domain.Domain.abort_job` it means this operation and no other, may
    be told to cancel before the operation has begun, and also reaches what is no domain's job::

        control = JobControl()
        threading.Timer(60, control.cancel).start()
        domain.save(path, progress=control)

    Args:
        progress: called with each report, as if it had been given itself.
    """

    def __init__(self, progress: ProgressCallback | None = None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self._reason: str | None = None

    def __call__(self, progress: JobProgress) -> None:
        """Pass a report on."""
        if self._progress is not None:
            self._progress(progress)

    def cancel(self, reason: str = "cancelled on request") -> None:
        """Cancel the operation that this was given to, or will be; thread-safe."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel(reason)

    def _steer(self, job: Job) -> None:
        with self._lock:
            self._jobs.append(job)
            reason = self._reason
        if reason is not None:
            job.cancel(reason)
