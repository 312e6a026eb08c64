"""Looking into the machines of a server's domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.driver import Debug
from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from polyvisor.events import MonitorEvent
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteDebug"]

_HMP = 1  # VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
# virDomainMemoryFlags
_VIRTUAL, _PHYSICAL = 1, 2
#: Bytes that one call asks for: what libvirt's own client has for its most.
_PIECE = 65536


class RemoteDebug(Debug):
    """Has the server look; long pieces are asked for one after the other.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver

    def command(self, uuid: UUID, command: str, *, human: bool, fds: Sequence[int] = ()) -> str:
        """Have the monitor asked."""
        dom = self._driver.domains.reference(uuid)
        flags = _HMP if human else 0
        call = ("qemu:domain_monitor_command", dom, command, flags)
        try:
            if fds:
                procedure = "qemu:domain_monitor_command_with_files"
                told = self._driver.link.call_with(procedure, dom, command, flags, files=fds)
                return str(told.result)
            (answer,) = self._driver.link.answers([call])
        except PolyvisorError as error:
            raise self._driver.domains.named(error, uuid, "domain_monitor_command") from None
        result: str = answer.result
        return result

    def read_memory(self, uuid: UUID, address: int, size: int, *, physical: bool) -> bytes:
        """Have memory read."""
        flags = _PHYSICAL if physical else _VIRTUAL
        ask = self._driver.domains.call
        return b"".join(
            ask(uuid, "domain_memory_peek", address + at, min(_PIECE, size - at), flags).buffer
            for at in range(0, size, _PIECE)
        )

    def read_disk(self, uuid: UUID, disk: str, offset: int, size: int) -> bytes:
        """Have a disk read."""
        ask = self._driver.domains.call
        return b"".join(
            ask(uuid, "domain_block_peek", disk, offset + at, min(_PIECE, size - at), 0).buffer
            for at in range(0, size, _PIECE)
        )

    def events(self, *, timeout: float | None = None) -> Iterator[MonitorEvent]:
        """Have the server pass on what monitors tell; it does so until the connection ends."""
        from polyvisor_remote.client.events import RemoteEvents

        events = self._driver.events
        assert isinstance(events, RemoteEvents)
        return events.monitored(timeout=timeout)

    def wakeup(self, uuid: UUID) -> None:
        """Have a machine woken."""
        self._driver.domains.call(uuid, "domain_pm_wakeup", 0)

    def nmi(self, uuid: UUID) -> None:
        """Have a machine interrupted."""
        self._driver.domains.call(uuid, "domain_inject_nmi", 0)
