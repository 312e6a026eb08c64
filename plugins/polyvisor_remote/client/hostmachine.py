"""The hardware and memory of a server's host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polyvisor.driver import HostMachine
from polyvisor_remote.wire import mapping, params
from polyvisor_remote.wire.params import UINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.model.sysinfo import HostSysinfo
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteMachine"]

#: All of the host instead of a node; ``VIR_NODE_ALLOC_PAGES_SET`` instead of adding.
_ALL, _SET = -1, 1
_SHARED = "shm_"
#: A size that pages of the host can have, of its capabilities; its own are listed before nodes'.
_PAGES = re.compile(r"<pages unit=['\"]KiB['\"] size=['\"](\d+)['\"]")


class RemoteMachine(HostMachine):
    """What a server says of its host.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._link = driver.link

    def sysinfo(self) -> HostSysinfo:
        """See :meth:`polyvisor.driver.HostMachine.sysinfo`."""
        from polyvisor.model.sysinfo import HostSysinfo

        return HostSysinfo.from_xml(self._link.call("connect_get_sysinfo", 0).sysinfo)

    def free_pages(self, cell: int | None) -> Mapping[int, int]:
        """See :meth:`polyvisor.driver.HostMachine.free_pages`."""
        told = self._link.call("connect_get_capabilities").capabilities
        sizes = sorted({int(size) for size in _PAGES.findall(told)})
        where = _ALL if cell is None else cell
        counts = self._link.call("node_get_free_pages", sizes, where, 1, 0).counts
        return {size << 10: count for size, count in zip(sizes, counts, strict=True)}

    def reserve_pages(self, size: int, count: int, *, cell: int | None, add: bool) -> None:
        """See :meth:`polyvisor.driver.HostMachine.reserve_pages`."""
        where = _ALL if cell is None else cell
        self._link.call("node_alloc_pages", [size >> 10], [count], where, 1, _SET * (not add))

    def sharing(self) -> Mapping[str, int]:
        """See :meth:`polyvisor.driver.HostMachine.sharing`."""
        count = self._link.call("node_get_memory_parameters", 0, 0).nparams
        found = mapping(self._link.call("node_get_memory_parameters", count, 0).params)
        return {name.removeprefix(_SHARED): value for name, value in found.items()}

    def set_sharing(self, values: Mapping[str, int]) -> None:
        """See :meth:`polyvisor.driver.HostMachine.set_sharing`."""
        named = {_SHARED + name: value for name, value in values.items()}
        self._link.call("node_set_memory_parameters", params(named, dict.fromkeys(named, UINT)), 0)
