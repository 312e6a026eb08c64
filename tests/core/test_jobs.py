"""Jobs report, and can be cancelled from elsewhere."""

from __future__ import annotations

import select
import threading

import pytest

from polyvisor.errors import Cancelled, StorageError
from polyvisor.jobs import Job, JobProgress


def test_reports_keep_what_is_not_said() -> None:
    """A report changes what it states and leaves the rest as it was."""
    seen: list[JobProgress] = []
    with Job("save", seen.append) as job:
        job.report("memory", total=100, processed=10)
        job.report("memory", processed=60)
        job.report("done", processed=100, done=True)
    assert [(p.phase, p.total, p.processed, p.done) for p in seen] == [
        ("memory", 100, 10, False),
        ("memory", 100, 60, False),
        ("done", 100, 100, True),
    ]
    assert all(progress.operation == "save" for progress in seen)
    assert job.latest is seen[-1]


def test_cancelling_wakes_the_worker() -> None:
    """The descriptor becomes readable and the next check raises."""
    with Job("migration") as job:
        job.check()
        assert not select.select([job], [], [], 0)[0]
        threading.Thread(target=job.cancel, args=("somebody said so",)).start()
        assert select.select([job], [], [], 5)[0]
        with pytest.raises(Cancelled, match="somebody said so"):
            job.check()


def test_cancelled_before_anybody_waits() -> None:
    """A descriptor asked for after cancelling is readable at once."""
    with Job("save") as job:
        job.cancel()
        assert job.cancelled
        assert select.select([job], [], [], 0)[0]


def test_a_failing_progress_function_cancels_and_reaches_the_caller() -> None:
    """What ``progress`` raises stops the work, and leaves the job when that is undone."""
    own = ZeroDivisionError("its own")
    calls = []

    def fail(progress: JobProgress) -> None:
        calls.append(progress)
        raise own

    undone = []

    def work() -> None:
        with Job("save", fail) as job:
            try:
                job.report("memory")
            except Cancelled:
                job.report("undone", done=True)
                undone.append("all of it")
                raise

    with pytest.raises(ZeroDivisionError) as caught:
        work()
    assert caught.value is own
    assert undone == ["all of it"]
    assert len(calls) == 1


def test_a_progress_function_that_fails_at_the_end() -> None:
    """Nothing is left to cancel, and its error reaches the caller all the same."""

    def fail(progress: JobProgress) -> None:
        if progress.done:
            raise ZeroDivisionError

    finished = []

    def work() -> None:
        with Job("save", fail) as job:
            job.report("memory")
            job.report("done", done=True)
            finished.append("all of it")

    with pytest.raises(ZeroDivisionError):
        work()
    assert finished


def test_what_goes_wrong_while_undoing_is_told() -> None:
    """An error that says more of the domain than that the job was cancelled is not replaced."""

    def fail(progress: JobProgress) -> None:
        raise ZeroDivisionError

    def work() -> None:
        with Job("save", fail) as job:
            try:
                job.report("memory")
            finally:
                raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        work()
