"""This machine, as the host of a driver whose guests run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.driver import HostMachine
from polyvisor.local import _pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.model.sysinfo import HostSysinfo

__all__ = ["ThisMachine"]


class ThisMachine(HostMachine):
    """What Linux and the firmware say of this machine.

    Args:
        root: where ``proc`` and ``sys`` are.
    """

    def __init__(self, *, root: str = "/") -> None:
        self._root = root

    def sysinfo(self) -> HostSysinfo:
        """See :meth:`polyvisor.driver.HostMachine.sysinfo`."""
        from polyvisor.local._smbios import machine_sysinfo

        return machine_sysinfo()

    def free_pages(self, cell: int | None) -> Mapping[int, int]:
        """See :meth:`polyvisor.driver.HostMachine.free_pages`."""
        return _pages.free_pages(cell, root=self._root)

    def reserve_pages(self, size: int, count: int, *, cell: int | None, add: bool) -> None:
        """See :meth:`polyvisor.driver.HostMachine.reserve_pages`."""
        _pages.reserve(size, count, cell, add=add, root=self._root)

    def sharing(self) -> Mapping[str, int]:
        """See :meth:`polyvisor.driver.HostMachine.sharing`."""
        return _pages.sharing(root=self._root)

    def set_sharing(self, values: Mapping[str, int]) -> None:
        """See :meth:`polyvisor.driver.HostMachine.set_sharing`."""
        _pages.set_sharing(values, root=self._root)
