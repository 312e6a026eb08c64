"""What else a hypervisor may change about guests that run; each it may leave out."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING

from polyvisor.errors import Unsupported

if TYPE_CHECKING:
    from polyvisor.local._hypervisor import Guest
    from polyvisor.model import DomainSpec

__all__ = ["ChangesSettings"]


class ChangesSettings(ABC):  # noqa: B024 - none of it is asked of every hypervisor
    """A hypervisor that may change how a guest ends, its I/O threads and its balloon's figures.

    Each method is called before the change is recorded.
    """

    def set_lifecycle_action(self, guest: Guest, event: str, spec: DomainSpec) -> None:
        """Have something else happen when the guest ends of itself.

        Args:
            guest: an active guest, with its definition before.
            event: ``"poweroff"``, ``"reboot"`` or ``"crash"``: what the action is changed of.
            spec: the live definition as it is to be.

        Raises:
            Unsupported: this cannot be changed while the guest runs.
        """
        raise Unsupported(
            f"set lifecycle action of {guest.name!r}: it cannot be changed while the guest runs",
            feature="domains.lifecycle",
            domain=guest.name,
        )

    def set_memory_stats_period(self, guest: Guest, seconds: int) -> None:
        """Have the guest's balloon tell how its memory is used every so many seconds; 0: never."""
        raise Unsupported(
            f"set a period of memory's figures of {guest.name!r}: its balloon is not asked",
            feature="devices.memory",
            domain=guest.name,
        )

    def add_iothread(self, guest: Guest, number: int, spec: DomainSpec) -> None:
        """Start an I/O thread.

        Args:
            guest: an active guest, with its definition before.
            number: the thread's.
            spec: the live definition as it is to be.
        """
        raise _no_iothreads(guest)

    def remove_iothread(self, guest: Guest, number: int) -> None:
        """End an I/O thread that nothing uses."""
        raise _no_iothreads(guest)

    def set_iothread(self, guest: Guest, number: int, values: Mapping[str, int]) -> None:
        """Set how an I/O thread works; see :meth:`polyvisor.driver.Resources.set_iothread`."""
        raise _no_iothreads(guest)


def _no_iothreads(guest: Guest) -> Unsupported:
    return Unsupported(
        f"I/O threads of {guest.name!r}: they cannot be changed while the guest runs; change the "
        f"definition (config) alone",
        feature="devices.iothreads",
        domain=guest.name,
    )
