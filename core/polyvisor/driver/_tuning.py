"""How a domain's share of the host is weighed and placed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Tuning"]


class Tuning(ABC):
    """Reads and sets shares, limits and places.

    A group of values is named as virsh's command for it: ``schedinfo``, ``memtune``,
    ``blkiotune``, ``numatune``, ``blkdeviotune``, ``domiftune``; its values by libvirt's
    names (``cpu_shares``, ``total_bytes_sec``; ``numa_mode`` is a word), sizes in bytes, times in
    the unit of the name. Rates of interfaces (``inbound.average``) are in KiB per second and
    bursts in KiB, as in their definition. What is not set is left out; 0 takes a limit away.
    """

    #: What shares the host's CPUs out, as ``virsh schedinfo`` calls it.
    scheduler: str = "posix"

    @abstractmethod
    def groups(self) -> Sequence[str]:
        """Return the groups that this hypervisor has."""

    @abstractmethod
    def get(
        self, uuid: UUID, group: str, device: str | None = None, *, live: bool
    ) -> Mapping[str, int | str]:
        """Return a group's values.

        Args:
            uuid: the domain.
            group: its name.
            device: the disk's or interface's target, where the group is a device's.
            live: of the running guest; else of the definition.

        Raises:
            Unsupported: this hypervisor has no such group.
        """

    @abstractmethod
    def set(
        self,
        uuid: UUID,
        group: str,
        values: Mapping[str, int | str],
        device: str | None = None,
        *,
        live: bool,
        config: bool,
    ) -> None:
        """Set some of a group's values; arguments as for :meth:`get`."""

    @abstractmethod
    def pins(self, uuid: UUID, *, live: bool) -> Mapping[int | str, AbstractSet[int]]:
        """Return on which of the host's CPUs each vCPU may run.

        ``"iothread1"`` and the like are I/O threads, ``"emulator"`` is the rest.
        """

    @abstractmethod
    def pin(
        self, uuid: UUID, which: int | str, cpus: AbstractSet[int], *, live: bool, config: bool
    ) -> None:
        """Let a vCPU, ``"iothread1"`` or ``"emulator"`` run on these CPUs of the host only.

        Raises:
            NotFound: there is no such thread.
        """
