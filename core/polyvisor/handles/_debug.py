"""Looking into a running machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from polyvisor.domain import Domain
    from polyvisor.driver import Debug
    from polyvisor.events import MonitorEvent

__all__ = ["DomainDebug"]


class DomainDebug:
    """A domain's monitor, memory and disks, past all that keeps account of it.

    All methods raise :class:`~polyvisor.errors.Unsupported` if the driver cannot do this, and
    :class:`~polyvisor.errors.OperationInvalid` if the domain must be active and is not.
    """

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    @property
    def _part(self) -> Debug:
        return self._connection._need(self._connection._driver.debug, "domains.debug")

    @verb
    def command(self, command: str, *, human: bool = False, fds: Sequence[int] = ()) -> str:
        """Send a command to the hypervisor's own monitor and return what it answers.

        Args:
            command: for QEMU, JSON text such as ``{"execute": "query-status"}``; the answer is
                JSON text with ``return`` or ``error``.
            human: it is a line of the monitor for people; so is the answer.
            fds: descriptors that go with it, as ``add-fd`` and ``getfd`` want them.

        Raises:
            InvalidArgument: the command cannot be read.
        """
        more: dict[str, Any] = {"fds": tuple(fds)} if fds else {}
        return self._part.command(self._uuid, command, human=human, **more)

    @verb
    def memory(self, address: int, size: int, *, physical: bool = True) -> bytes:
        """Return what is in the guest's memory.

        Args:
            address: where it begins.
            size: how many bytes.
            physical: the address is the machine's own, not one that its first vCPU sees now.

        Raises:
            OperationInvalid: the hypervisor finds no memory there.
        """
        part = self._part
        if address < 0 or size < 0:
            raise InvalidArgument("read memory: address and size cannot be negative")
        return part.read_memory(self._uuid, address, size, physical=physical)

    @verb
    def disk(self, disk: str, offset: int, size: int) -> bytes:
        """Return what is in the file or device behind a disk, whatever its format.

        Args:
            disk: its target name or path.
            offset: where it begins, in bytes.
            size: how many bytes; fewer come where it ends.

        Raises:
            NotFound: there is no such disk.
            StorageError: it cannot be read.
        """
        part = self._part
        if offset < 0 or size < 0:
            raise InvalidArgument("read disk: offset and size cannot be negative")
        return part.read_disk(self._uuid, disk, offset, size)

    def events(self, *, timeout: float | None = None) -> Iterator[MonitorEvent]:
        """Yield all that its hypervisor's own monitor tells of it from now on.

        Args:
            timeout: end after this many seconds without an event of any domain; ``None``: never.
        """
        return _OfDomain(self._part.events(timeout=timeout), self._uuid)

    @verb
    def wakeup(self) -> None:
        """Wake the machine, which its guest has put to sleep."""
        self._part.wakeup(self._uuid)

    @verb
    def nmi(self) -> None:
        """Interrupt the machine in the way that cannot be masked."""
        self._part.nmi(self._uuid)


class _OfDomain:
    """The events of one domain, among those of all."""

    def __init__(self, told: Iterator[MonitorEvent], uuid: UUID) -> None:
        self._told = told
        self._uuid = uuid

    def __iter__(self) -> Iterator[MonitorEvent]:
        return self

    def __next__(self) -> MonitorEvent:
        while (event := next(self._told)).domain.uuid != self._uuid:
            pass
        return event

    def end(self) -> None:
        """End it; from any thread."""
        end: Callable[[], object] | None = getattr(self._told, "end", None)
        if end is not None:
            end()
