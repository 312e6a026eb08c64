"""Comparing CPUs with a server's host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import Processors
from polyvisor.errors import PolyvisorError
from polyvisor.host import CpuComparison, CpuMatch
from polyvisor_remote.server.failures import CPU_INCOMPATIBLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.host import GuestKind
    from polyvisor.model import Cpu
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteProcessors"]

#: ``virCPUCompareResult``, and the flags of comparing and of baselines.
_RESULTS = (CpuMatch.INCOMPATIBLE, CpuMatch.IDENTICAL, CpuMatch.SUPERSET)
_FAIL_INCOMPATIBLE = 1
_EXPAND, _MIGRATABLE = 1, 2


class RemoteProcessors(Processors):
    """What a server says of CPUs.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._link = driver.link

    def compare(self, cpu: str, guests: GuestKind | None) -> CpuComparison:
        """See :meth:`polyvisor.driver.Processors.compare`."""
        stem = "connect_compare_cpu" if guests is None else "connect_compare_hypervisor_cpu"
        try:
            answer = self._link.call(stem, *_kind(guests), cpu, _FAIL_INCOMPATIBLE)
        except PolyvisorError as error:
            if error.native_code != CPU_INCOMPATIBLE:
                raise
            return CpuComparison(CpuMatch.INCOMPATIBLE, error.message)
        return CpuComparison(_RESULTS[answer.result])

    def baseline(
        self, cpus: Sequence[str], guests: GuestKind | None, *, expand: bool, migratable: bool
    ) -> Cpu:
        """See :meth:`polyvisor.driver.Processors.baseline`."""
        from polyvisor.model import Cpu

        stem = "connect_baseline_cpu" if guests is None else "connect_baseline_hypervisor_cpu"
        flags = _EXPAND * expand | _MIGRATABLE * migratable
        return Cpu.from_xml(self._link.call(stem, *_kind(guests), list(cpus), flags).cpu)


def _kind(guests: GuestKind | None) -> tuple[Any, ...]:
    if guests is None:
        return ()
    return guests.emulator, guests.arch, guests.machine, guests.kind
