"""What a plugin implements whose guests run on before all their memory is there."""

from __future__ import annotations

from abc import abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from polyvisor.local._travel import MigratesGuests

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local._hypervisor import Guest

__all__ = ["PostCopy", "SwitchesGuests"]


class PostCopy(StrEnum):
    """How far a migration is that may be switched, as one side's hypervisor knows it."""

    #: The stream flows, and there was no switch yet.
    AHEAD = "ahead"
    #: The destination has the guest, the rest of its memory is on the way.
    FLOWING = "flowing"
    #: The same, but the stream is cut off; it can be taken up again.
    BROKEN = "broken"
    #: The same, but it cannot: what is on its way is sent only once.
    LOST = "lost"
    #: All memory is there.
    DONE = "done"


class SwitchesGuests(MigratesGuests):
    """A hypervisor that can switch to the destination before all memory is there (post-copy).

    From the switch on the guest is in two halves, and neither side may be ended for the
    other's sake. The core asks the hypervisor where the guest is, and trusts no record more.

    With ``options.post_copy``, :meth:`~MigratesGuests.send` returns once it has switched, its
    job's wish ``post_copy`` being granted; before it gives the word it reports the phase
    ``"post-copy"``, which is durably written down when the report returns. It raises only if
    there was no switch. :meth:`~MigratesGuests.received` returns once the destination has
    what it needs to run the guest.
    """

    @abstractmethod
    def post_copy(self, guest: Guest) -> PostCopy | None:
        """Either side: say how far the guest's migration is; ``None`` if there is none."""

    @abstractmethod
    def send_rest(self, guest: Guest, job: Job) -> dict[str, Any]:
        """Source: wait until the rest of the memory is over there.

        A job that is cancelled ends the waiting, not the migration. Its wish
        ``post_copy_pause`` cuts the stream off. Others may look at the guest meanwhile.

        Returns:
            Figures, as :meth:`~MigratesGuests.send` has them.

        Raises:
            HypervisorError: the stream was cut off.
            Cancelled: the job was.
        """

    @abstractmethod
    def receive_rest(self, guest: Guest, options: MigrationOptions, cookie: bytes | None) -> str:
        """Destination: listen once more, for a stream that was cut off.

        Args:
            guest: the guest, which may run.
            options: ``uri`` and ``listen_address`` are where to listen.
            cookie: begin's, as it came.

        Returns:
            The URI that the source connects to.
        """

    @abstractmethod
    def resume_rest(self, guest: Guest, uri: str, options: MigrationOptions) -> None:
        """Source: take up a stream that was cut off, where the destination listens."""

    @abstractmethod
    def arrived(self, guest: Guest) -> None:
        """Destination: all memory is there; put away what was needed for that."""
