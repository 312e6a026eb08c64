"""What can be asked of the host itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.host import CpuComparison, GuestKind
    from polyvisor.model import Cpu
    from polyvisor.model.sysinfo import HostSysinfo

__all__ = ["HostMachine", "Processors"]


class Processors(ABC):
    """Compares CPUs with the host's, and finds what several have in common."""

    @abstractmethod
    def compare(self, cpu: str, guests: GuestKind | None) -> CpuComparison:
        """Compare a CPU with the host's, or with what guests can have on it.

        Args:
            cpu: libvirt's ``<cpu>``, of a host (with ``<arch>``) or of a guest.
            guests: compare with what guests of this kind can have; ``None``: with the host's own.

        Raises:
            SpecError: it is no CPU, or names a model or a feature that nobody knows.
            InvalidArgument: there are no guests of this kind here.
        """

    @abstractmethod
    def baseline(
        self, cpus: Sequence[str], guests: GuestKind | None, *, expand: bool, migratable: bool
    ) -> Cpu:
        """Return the best CPU of which all the given ones have everything.

        Args:
            cpus: libvirt's ``<cpu>`` of each host.
            guests: guests of this kind can have it here; then ``cpus`` may be guests' too.
            expand: name all features, not only those that the model does not have.
            migratable: leave out features that keep a guest from being migrated.

        Raises:
            SpecError: see :meth:`compare`.
            OperationFailed: they have nothing in common.
        """


class HostMachine(ABC):
    """Looks at the host's own hardware and memory, and says how memory is to be used."""

    @abstractmethod
    def sysinfo(self) -> HostSysinfo:
        """Return what the host's firmware says of it.

        Raises:
            Unsupported: it says nothing, or not to us.
        """

    @abstractmethod
    def free_pages(self, cell: int | None) -> Mapping[int, int]:
        """Return how many pages of memory nobody uses, by their size in bytes, smallest first.

        Args:
            cell: of this NUMA node; ``None``: of the whole host.

        Raises:
            InvalidArgument: there is no such node.
        """

    @abstractmethod
    def reserve_pages(self, size: int, count: int, *, cell: int | None, add: bool) -> None:
        """Set how many pages of a size are kept for those who ask for such: huge pages.

        Args:
            size: theirs, in bytes.
            count: how many.
            cell: of this NUMA node; ``None``: wherever there is room.
            add: to those that there are.

        Raises:
            OperationFailed: there are none of this size, or there is no room for so many.
            Unsupported: they are the pages that all memory is made of.
        """

    @abstractmethod
    def sharing(self) -> Mapping[str, int]:
        """Return how the kernel merges equal pages of memory, by its own names (Linux's KSM).

        Raises:
            Unsupported: it does not.
        """

    @abstractmethod
    def set_sharing(self, values: Mapping[str, int]) -> None:
        """Set ``pages_to_scan``, ``sleep_millisecs`` or ``merge_across_nodes`` of it.

        Raises:
            InvalidArgument: another one.
            HypervisorError: the kernel refuses a value.
        """
