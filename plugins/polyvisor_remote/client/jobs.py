"""Long calls: while one is under way, how far it is, and stopping it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["watched"]

_T = TypeVar("_T")
#: Milliseconds between questions how far it is, and between attempts to stop it.
_PERIOD, _AGAIN = 200, 50


def watched(driver: RemoteDriver, uuid: UUID, job: Job, call: Callable[[], _T]) -> _T:
    """Make a call that takes long, and report and cancel it meanwhile.

    Args:
        driver: whose server does it.
        uuid: the domain whose job it is there.
        job: takes the reports and says whether to stop.
        call: makes the call.

    Raises:
        Cancelled: the job was cancelled and the server stopped it.
        PolyvisorError: what the call raises.
    """
    job.check()
    # A listener that will have none of it says so before anything is begun.
    job.report("begin")
    watch = _Watch(driver, uuid, job)
    try:
        result = call()
    except PolyvisorError:
        watch.end()
        # What ended it was we, and what the server says of that is of no use.
        job.check()
        raise
    except BaseException:
        watch.end()
        raise
    watch.end()
    job.report("done", done=True)
    return result


class _Watch:
    """Asks in a thread of its own until it is told to end."""

    def __init__(self, driver: RemoteDriver, uuid: UUID, job: Job) -> None:
        self._driver, self._uuid, self._job = driver, uuid, job
        self._error: BaseException | None = None
        self._over = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="remote-job", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End it; raise what a listener of the job raised."""
        os.eventfd_write(self._over, 1)
        self._thread.join()
        os.close(self._over)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._over, select.POLLIN)
        poll.register(self._job.fileno(), select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll(_PERIOD)}
            if self._over in ready:
                return
            if self._job.cancelled:
                self._stop()
                poll.unregister(self._job.fileno())
                # It may not have begun when it was told to stop.
                while not poll.poll(_AGAIN):
                    self._stop()
                return
            try:
                self._report()
            except BaseException as error:  # noqa: BLE001 - whatever a listener raises
                self._error = error
                self._job.cancel(str(error))

    def _stop(self) -> None:
        try:
            self._driver.domains.abort_job(self._uuid)
        except PolyvisorError:
            return

    def _report(self) -> None:
        try:
            seen = self._driver.domains.job(self._uuid)
        except PolyvisorError:
            return
        if seen is not None:
            self._job.report(
                seen.phase or seen.operation,
                total=seen.total,
                processed=seen.processed,
                remaining=seen.remaining,
                iteration=seen.iteration,
                dirty_rate=seen.dirty_rate,
                downtime=seen.downtime,
                disk_total=seen.disk_total,
                disk_processed=seen.disk_processed,
                disk_remaining=seen.disk_remaining,
            )
