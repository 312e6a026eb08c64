"""What is left of a guest is sent by itself while its destination waits for it.

Whoever drives a migration is told that it has arrived, or not, by the destination's finish. Until
then the source must hear what is wished of it: to go faster, or to cut the stream off.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Cancelled, PolyvisorError
from polyvisor.jobs import Job
from polyvisor.local._switched import CUT_OFF, how_far, note_leaving, switches_guests
from polyvisor.local._threads import Threads

if TYPE_CHECKING:
    from polyvisor.local._hold import Hold

__all__ = ["Rest"]


class _Sending(Job):
    """A migration's job as the thread has it that sends the rest: it can be told to leave off."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.operation)
        self.report = job.report  # type: ignore[method-assign]
        self.wishes = job.wishes  # type: ignore[method-assign]


class Rest:
    """The rest of a guest that was switched, on its way in a thread of its own.

    Args:
        hold: the domain. That its stream was cut off is recorded at once, since whoever drives
            the migration may wait for a destination that does not notice.
        job: the migration's.
    """

    def __init__(self, hold: Hold, job: Job) -> None:
        self._hold = hold
        self._sending = _Sending(job)
        self._hypervisor = switches_guests(hold.keeper.hypervisor)
        self._guest = hold.guest
        self._figures: dict[str, Any] = {}
        self._error: BaseException | None = None
        self._threads = Threads()
        self._threads.start("polyvisor-rest", self._run)

    def _run(self) -> None:
        try:
            self._figures = self._hypervisor.send_rest(self._guest, self._sending)
        except BaseException as error:  # noqa: BLE001 - handed to the one who waits for it
            self._error = error
            with suppress(PolyvisorError):
                if not self._sending.cancelled and (far := how_far(self._hold)) in CUT_OFF:
                    note_leaving(self._hold, far)
                    self._hold.tell()

    def wait(self) -> dict[str, Any]:
        """Wait until all is over there; return the figures of it.

        Raises:
            HypervisorError: the stream was cut off.
        """
        self._threads.join()
        self._sending.close()
        if self._error is not None:
            raise self._error
        return self._figures

    def leave(self) -> None:
        """Wait no longer; the stream goes on by itself."""
        self._sending.cancel("nobody waits for it")
        with suppress(Cancelled, PolyvisorError):
            self.wait()
