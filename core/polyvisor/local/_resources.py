"""Virtual CPUs and memory: in definitions, and in guests that run."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import InvalidArgument, OperationInvalid, Unsupported
from polyvisor.local._fields import changed
from polyvisor.local._hypervisor import ChangesGuests
from polyvisor.local._iothreads import LocalIoThreads
from polyvisor.local._vcpus import checked, states, with_enabled
from polyvisor.state import Document

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.model.domain import VcpuStates

__all__ = ["LocalResources"]


class LocalResources(LocalIoThreads):
    """Changes sizes; those of a running guest if its hypervisor :class:`ChangesGuests`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def set_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        from polyvisor.model.domain import Vcpu

        def with_count(spec: DomainSpec) -> DomainSpec:
            vcpu = spec.vcpu or Vcpu(count=1)
            if not 0 < count <= vcpu.count:
                raise InvalidArgument(
                    f"set vCPUs of {spec.name!r}: {count} is not between 1 and the {vcpu.count} "
                    f"it may have at most"
                )
            current = count if count < vcpu.count else None
            return attrs.evolve(
                spec,
                vcpu=attrs.evolve(vcpu, current=current),
                vcpu_states=_states(spec.vcpu_states, count, vcpu.count),
            )

        with self._keeper.hold(uuid, "set vCPUs") as hold:
            changes = changed(hold, with_count, live=live, config=config)
            if live:
                changer = self._changer(hold, "devices.vcpus")
                changer.set_vcpus(hold.guest, count)
                if hold.guest.spec.vcpu_states is not None:
                    changes["live"] = Document(states(hold.guest.spec, changer.vcpus(hold.guest)))
            hold.change(durable=config, **changes)

    def enable_vcpus(
        self, uuid: UUID, numbers: AbstractSet[int], enabled: bool, *, live: bool, config: bool
    ) -> None:
        with self._keeper.hold(uuid, "enable vCPUs" if enabled else "disable vCPUs") as hold:
            changes = changed(hold, lambda spec: spec, live=live, config=config)
            if config:
                kept = with_enabled(changes["definition"].spec(), numbers, enabled)
                changes["definition"] = Document(kept)
            if live:
                changer = self._changer(hold, "devices.vcpus")
                number = checked(changer.vcpus(hold.guest), numbers, enabled)
                changer.enable_vcpu(hold.guest, number, enabled)
                changes["live"] = Document(states(hold.guest.spec, changer.vcpus(hold.guest)))
            hold.change(durable=config, **changes)

    def set_max_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        from polyvisor.model.domain import Vcpu

        def with_most(spec: DomainSpec) -> DomainSpec:
            if count < 1:
                raise InvalidArgument(f"set most vCPUs of {spec.name!r}: {count} is less than 1")
            vcpu = spec.vcpu or Vcpu(count=1)
            on = min(vcpu.current or vcpu.count, count)
            return attrs.evolve(
                spec,
                vcpu=attrs.evolve(vcpu, count=count, current=on if on < count else None),
                vcpu_states=_states(spec.vcpu_states, on, count),
            )

        with self._keeper.hold(uuid, "set most vCPUs") as hold:
            self._definition_only(hold, live)
            changes = changed(hold, with_most, live=live, config=config)
            kept = self._keeper.hypervisor.complete(changes["definition"].spec())
            hold.change(durable=True, definition=Document(kept))

    def set_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        def with_size(spec: DomainSpec) -> DomainSpec:
            if not 0 < size <= spec.memory:
                raise InvalidArgument(
                    f"set memory of {spec.name!r}: {size} bytes is not between 1 and the "
                    f"{spec.memory} it may have at most"
                )
            return attrs.evolve(spec, current_memory=size)

        with self._keeper.hold(uuid, "set memory") as hold:
            changes = changed(hold, with_size, live=live, config=config)
            if live:
                self._changer(hold, "devices.memory").set_memory(hold.guest, size)
            hold.change(durable=config, **changes)

    def set_max_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        def with_most(spec: DomainSpec) -> DomainSpec:
            if size < 1:
                raise InvalidArgument(f"set most memory of {spec.name!r}: {size} is less than 1")
            used = spec.current_memory
            return attrs.evolve(
                spec, memory=size, current_memory=None if used is None else min(used, size)
            )

        with self._keeper.hold(uuid, "set most memory") as hold:
            self._definition_only(hold, live)
            changes = changed(hold, with_most, live=live, config=config)
            kept = self._keeper.hypervisor.complete(changes["definition"].spec())
            hold.change(durable=True, definition=Document(kept))

    def set_memory_stats_period(
        self, uuid: UUID, seconds: int, *, live: bool, config: bool
    ) -> None:
        if seconds < 0:
            raise InvalidArgument(f"set a period of memory's figures: {seconds} s is none")

        def with_period(spec: DomainSpec) -> DomainSpec:
            balloon = spec.devices.memballoon
            if balloon is None or balloon.model != "virtio":
                raise OperationInvalid(
                    f"set a period of memory's figures of {spec.name!r}: it has no balloon of the "
                    f"model virtio",
                    domain=spec.name,
                )
            balloon = attrs.evolve(balloon, stats_period=seconds or None)
            return attrs.evolve(spec, devices=attrs.evolve(spec.devices, memballoon=balloon))

        with self._keeper.hold(uuid, "set a period of memory's figures") as hold:
            changes = changed(hold, with_period, live=live, config=config)
            if live:
                changer = self._changer(hold, "devices.memory")
                changer.set_memory_stats_period(hold.guest, seconds)
            hold.change(durable=config, **changes)

    def _definition_only(self, hold: Hold, live: bool) -> None:
        if live:
            hold.need_active()
            raise hold.invalid("a running guest keeps the most that it may have; give config")

    def _changer(self, hold: Hold, feature: str) -> ChangesGuests:
        hypervisor = self._keeper.hypervisor
        if not isinstance(hypervisor, ChangesGuests):
            raise Unsupported(
                f"{hold.operation} of {hold.known.name!r}: {hypervisor.name} does not change it "
                f"while a guest runs; change the definition (config) alone",
                feature=feature,
                domain=hold.known.name,
            )
        return hypervisor


def _states(states: VcpuStates | None, on: int, most: int) -> VcpuStates | None:
    """Return vCPUs one by one, the first ``on`` of them enabled; none are left over."""
    if states is None:
        return None
    kept = [
        attrs.evolve(one, enabled=number < on) for number, one in enumerate(states.vcpus[:most])
    ]
    # A vCPU that is not stated would be off; libvirt wants all or none to be.
    return None if len(kept) != most else attrs.evolve(states, vcpus=tuple(kept))
