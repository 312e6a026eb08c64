"""The host behind a connection: its facts, what it does now, what its processors can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from polyvisor.driver import Driver, Processors
    from polyvisor.host import CpuComparison, CpuTimes, GuestKind, HostInfo, HostMemory
    from polyvisor.model import Cpu, DomainCapabilities

    _Part = TypeVar("_Part")

__all__ = ["OnHost"]


class OnHost:
    """What a connection tells of its host and does to it."""

    _driver: Driver

    if TYPE_CHECKING:

        def _need(self, part: _Part | None, feature: str) -> _Part: ...

    @property
    def host(self) -> HostInfo:
        """Facts about the host."""
        return self._driver.host()

    def host_times(self, cpu: int | None = None) -> CpuTimes:
        """Return for how long a CPU of the host, or all of them, did what.

        Raises:
            InvalidArgument: there is no such CPU.
            Unsupported: the driver does not know.
        """
        return self._figures.host_times(cpu)

    def host_memory(self, cell: int | None = None) -> HostMemory:
        """Return what is in use of the host's memory, or of a NUMA node's; raises likewise."""
        return self._figures.host_memory(cell)

    @property
    def _figures(self) -> Driver:
        usable = self._driver.support().usable("host.figures")
        return self._need(self._driver if usable else None, "host.figures")

    def capabilities(self) -> str:
        """Return the host's capabilities as libvirt's ``<capabilities>`` XML."""
        return self._driver.capabilities()

    def domain_capabilities(
        self,
        *,
        emulator: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        kind: str | None = None,
    ) -> DomainCapabilities:
        """Return what a domain can have here: machines' limits, CPU models, devices.

        Args:
            emulator: path of the emulator; ``None``: that of the architecture.
            arch: the guest's architecture; ``None``: the host's.
            machine: a machine type or its alias; ``None``: the default.
            kind: the domain's type, such as ``"kvm"``; ``None``: the best there is.

        Raises:
            InvalidArgument: there is no such emulator, machine or type.
            Unsupported: the driver does not know.
        """
        return self._driver.domain_capabilities(
            emulator=emulator, arch=arch, machine=machine, kind=kind
        )

    def compare_cpu(self, cpu: str, *, guests: GuestKind | None = None) -> CpuComparison:
        """Compare a CPU with the host's, or with what guests can have on it.

        Args:
            cpu: libvirt's ``<cpu>``, of a host (with ``<arch>``) or of a guest.
            guests: compare with what guests of this kind can have; ``None``: with the host's own.

        Raises:
            SpecError: it is no CPU, or names a model or a feature that nobody knows.
            InvalidArgument: there are no guests of this kind here.
            Unsupported: the driver knows nothing of CPUs.
        """
        return self._processors.compare(cpu, guests)

    def baseline_cpu(
        self,
        cpus: Sequence[str],
        *,
        guests: GuestKind | None = None,
        expand: bool = False,
        migratable: bool = False,
    ) -> Cpu:
        """Return the best CPU of which all the given ones have everything.

        Args:
            cpus: libvirt's ``<cpu>`` of each host.
            guests: guests of this kind can have it here; then ``cpus`` may be guests' too.
            expand: name all features, not only those that the model does not have.
            migratable: leave out features that keep a guest from being migrated.

        Raises:
            SpecError: see :meth:`compare_cpu`.
            OperationFailed: they have nothing in common.
            Unsupported: the driver knows nothing of CPUs.
        """
        return self._processors.baseline(cpus, guests, expand=expand, migratable=migratable)

    @property
    def _processors(self) -> Processors:
        return self._need(self._driver.processors, "host.cpus")
