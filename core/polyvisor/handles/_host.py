"""The host behind a connection: its facts, what it does now, what its processors can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from polyvisor.driver import Driver, HostMachine, Processors
    from polyvisor.host import CpuComparison, CpuTimes, GuestKind, HostInfo, HostMemory
    from polyvisor.model import Cpu, DomainCapabilities
    from polyvisor.model.sysinfo import HostSysinfo

    _Part = TypeVar("_Part")

__all__ = ["OnHost"]


class OnHost:
    """What a connection tells of its host and does to it."""

    _driver: Driver

    if TYPE_CHECKING:

        def _need(self, part: _Part | None, feature: str) -> _Part: ...

        def _check_writable(self, operation: str) -> None: ...

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

    def sysinfo(self) -> HostSysinfo:
        """Return what the host's firmware says of it: its maker, its boards, its memory.

        Raises:
            Unsupported: it says nothing, or not to us.
        """
        return self._machine.sysinfo()

    def free_pages(self, cell: int | None = None) -> Mapping[int, int]:
        """Return how many pages of memory nobody uses, by their size in bytes, smallest first.

        Args:
            cell: of this NUMA node; ``None``: of the whole host.

        Raises:
            InvalidArgument: there is no such node.
            Unsupported: the driver does not know.
        """
        return self._machine.free_pages(cell)

    def reserve_pages(
        self, size: int, count: int, *, cell: int | None = None, add: bool = False
    ) -> None:
        """Set how many pages of a size are kept for those who ask for such: huge pages.

        Args:
            size: theirs, in bytes.
            count: how many.
            cell: of this NUMA node; ``None``: wherever there is room.
            add: to those that there are.

        Raises:
            OperationFailed: there are none of this size, or there is no room for so many.
            Unsupported: they are the pages that all memory is made of, or the driver cannot.
        """
        self._check_writable("reserve pages")
        self._machine.reserve_pages(size, count, cell=cell, add=add)

    def memory_sharing(self) -> Mapping[str, int]:
        """Return how the kernel merges equal pages of memory, by its own names (Linux's KSM).

        Raises:
            Unsupported: it does not, or the driver does not know.
        """
        return self._machine.sharing()

    def set_memory_sharing(self, values: Mapping[str, int]) -> None:
        """Set ``pages_to_scan``, ``sleep_millisecs`` or ``merge_across_nodes`` of it.

        Raises:
            InvalidArgument: another one.
            HypervisorError: the kernel refuses a value.
            Unsupported: see :meth:`memory_sharing`.
        """
        self._check_writable("set memory sharing")
        self._machine.set_sharing(values)

    @property
    def _machine(self) -> HostMachine:
        return self._need(self._driver.machine, "host.memory")
