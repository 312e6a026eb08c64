"""Comparing CPUs with the host's, by the models that QEMU knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.driver import Processors
from polyvisor.errors import Unsupported
from polyvisor.local import machine_cpu
from polyvisor_qemu.hostmodel import cpu_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.host import CpuComparison, GuestKind
    from polyvisor.local import CpuFacts, CpuModels
    from polyvisor.model import Cpu
    from polyvisor.model.host_cpu import HostCpu
    from polyvisor_qemu.driver import QemuDriver
    from polyvisor_qemu.emulator import Emulator

__all__ = ["QemuProcessors", "host_cpu"]


class QemuProcessors(Processors):
    """What the host's CPU is, and what guests' can be.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def compare(self, cpu: str, guests: GuestKind | None) -> CpuComparison:
        """See :meth:`polyvisor.driver.Processors.compare`."""
        if guests is None:
            models, _ = self._models(None)
            return models.compare(cpu, models.facts(machine_cpu()))
        models, there = self._models(guests)
        return models.compare(cpu, there)

    def baseline(
        self, cpus: Sequence[str], guests: GuestKind | None, *, expand: bool, migratable: bool
    ) -> Cpu:
        """See :meth:`polyvisor.driver.Processors.baseline`."""
        models, there = self._models(guests)
        within = there if guests is not None else None
        return models.baseline(cpus, within=within, expand=expand, migratable=migratable)

    def _models(self, guests: GuestKind | None) -> tuple[CpuModels, CpuFacts]:
        from polyvisor.host import GuestKind

        asked = guests or GuestKind(kind="qemu")
        known, kind = self._driver.emulator_of(asked)
        found = cpu_models(known, self._driver.hypervisor.cache_dir, kvm=kind == "kvm")
        if found is None:
            raise Unsupported(
                f"compare CPUs: QEMU tells what its models are made of for x86 guests alone, not "
                f"for {known.arch}",
                feature="host.cpus",
            )
        return found


def host_cpu(known: Emulator, cache_dir: str) -> HostCpu:
    """Return the host's CPU, with the nearest model where QEMU says what models are made of."""
    cpu = machine_cpu()
    found = cpu_models(known, cache_dir, kvm=False) if known.arch == cpu.arch else None
    return cpu if found is None else found[0].host(cpu)
