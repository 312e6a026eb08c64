"""What can be asked of the host itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.host import CpuComparison, GuestKind
    from polyvisor.model import Cpu

__all__ = ["Processors"]


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
