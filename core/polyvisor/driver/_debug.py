"""What somebody wants who looks into a running machine: its monitor, its memory, its disks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from polyvisor.events import MonitorEvent

__all__ = ["Debug"]


class Debug(ABC):
    """Reaches into running machines past all that keeps account of them."""

    @abstractmethod
    def command(self, uuid: UUID, command: str, *, human: bool, fds: Sequence[int] = ()) -> str:
        """Send a command to the hypervisor's own monitor and return what it answers.

        What the command changes is nobody's concern but the caller's: nothing is written down.

        Args:
            uuid: an active domain.
            command: for QEMU, JSON text such as ``{"execute": "query-status"}``; the answer is
                JSON text with ``return`` or ``error``.
            human: it is a line of the monitor for people; so is the answer.
            fds: descriptors that go with it (QMP's ``add-fd`` and ``getfd``), which stay the
                caller's; left out where there are none, so that drivers need not know this.

        Raises:
            InvalidArgument: the command cannot be read.
            OperationInvalid: the domain is not active.
        """

    @abstractmethod
    def read_memory(self, uuid: UUID, address: int, size: int, *, physical: bool) -> bytes:
        """Return what is in a guest's memory.

        Args:
            uuid: an active domain.
            address: where it begins.
            size: how many bytes.
            physical: the address is the machine's own, not one that its first vCPU sees now.

        Raises:
            OperationInvalid: the domain is not active, or the hypervisor finds no memory there.
        """

    @abstractmethod
    def read_disk(self, uuid: UUID, disk: str, offset: int, size: int) -> bytes:
        """Return what is in the file or device behind a disk, whatever its format.

        Args:
            uuid: a domain.
            disk: target name or path of a disk.
            offset: where it begins, in bytes.
            size: how many bytes; fewer come where it ends.

        Raises:
            NotFound: there is no such disk.
            OperationInvalid: it is no file or device of this host.
            StorageError: it cannot be read.
        """

    @abstractmethod
    def nmi(self, uuid: UUID) -> None:
        """Interrupt a machine in the way that cannot be masked.

        Args:
            uuid: an active domain.

        Raises:
            OperationInvalid: the domain is not active.
        """

    def wakeup(self, uuid: UUID) -> None:
        """Wake a machine that its guest has put to sleep.

        Args:
            uuid: an active domain.

        Raises:
            OperationInvalid: the domain is not active, or does not sleep.
            Unsupported: the driver cannot.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("wake up: this driver wakes no machine", feature="domains.debug")

    def events(self, *, timeout: float | None = None) -> Iterator[MonitorEvent]:
        """Yield all that the hypervisor's own monitors tell of domains from now on.

        "Now" is when this method is called. If the iterator has a method ``end``, it may be
        called from any thread and makes the one who waits in it, if any, get
        :class:`~polyvisor.errors.ConnectionClosed`.

        Args:
            timeout: end after this many seconds without an event; ``None``: never.

        Raises:
            Unsupported: the driver does not pass them on.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "monitor events: this driver passes none of them on", feature="domains.debug"
        )
