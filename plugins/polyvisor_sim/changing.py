"""Changing simulated guests as they run: devices, vCPUs, memory, shares of the host."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from polyvisor.local import ChangesGuests, TracksDisks, TunesGuests

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import CheckpointSpec, DomainSpec
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.rack import Rack

__all__ = ["SimChanges"]


class SimChanges(ChangesGuests, TunesGuests, TracksDisks):
    """What a simulated guest takes note of, and what is only written down.

    Its devices are never opened, and it takes no CPU time that could be shared out: of both
    the definition is all there is, as with libvirt's test driver.
    """

    tunable: ClassVar[tuple[str, ...]] = (
        "schedinfo", "memtune", "blkiotune", "numatune", "blkdeviotune", "domiftune",
    )  # fmt: skip

    scheduler: ClassVar[str] = "fair"  # testDomainGetSchedulerType

    rack: Rack
    clock: Callable[[], int]

    @abstractmethod
    def _present(self, guest: Guest) -> tuple[Machine, Moment]:
        """Return the machine and how it is now, unless it has ended."""

    def attach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
        """Let it be there."""
        self._present(guest)
        return device

    def detach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """Let it be gone."""
        self._present(guest)

    def update_device(self, guest: Guest, kind: str, old: Any, new: Any, spec: DomainSpec) -> Any:
        """Let it be another."""
        self._present(guest)
        return new

    def set_lifecycle_action(self, guest: Guest, event: str, spec: DomainSpec) -> None:
        """Let the machine end in another way from now on."""
        machine, _ = self._present(guest)
        now = self.clock()
        self.rack.put(guest, machine.with_actions(spec, now))

    def set_vcpus(self, guest: Guest, count: int) -> None:
        """Give it more clocks or fewer; what the old ones have counted stays counted."""
        machine, moment = self._present(guest)
        before = machine.cpu_before + moment.run * (machine.vcpus - count)
        self.rack.put(guest, attrs.evolve(machine, vcpus=count, cpu_before=before))

    def set_memory_stats_period(self, guest: Guest, seconds: int) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    def add_iothread(self, guest: Guest, number: int, spec: DomainSpec) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    def remove_iothread(self, guest: Guest, number: int) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    def set_iothread(self, guest: Guest, number: int, values: Mapping[str, int]) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    def set_memory(self, guest: Guest, size: int) -> None:
        """Set how much of its memory the guest says it uses."""
        machine, _ = self._present(guest)
        self.rack.put(guest, attrs.evolve(machine, balloon=size))

    def tune(
        self, guest: Guest, group: str, values: Mapping[str, int | str], device: Any | None
    ) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    def pin(self, guest: Guest, which: int | str, cpus: AbstractSet[int]) -> None:
        """Refuse nothing of a guest that is there."""
        self._present(guest)

    # Checkpoints: no guest writes to its disks, so that there is nothing to keep account of

    def check_tracking(self, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Refuse nothing."""

    def track(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Keep account of what nobody writes."""

    def untrack(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Stop that."""

    def changed(self, guest: Guest, point: CheckpointSpec) -> Mapping[str, int]:
        """Return that nothing was written."""
        return {disk.name: 0 for disk in point.disks if disk.checkpoint == "bitmap"}
