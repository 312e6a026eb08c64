"""Virtual CPUs one by one: which of them a definition, or a guest, has."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import InvalidArgument, Unsupported
from polyvisor.model.domain import Vcpu, VcpuState, VcpuStates

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["checked", "states", "with_enabled"]


def with_enabled(spec: DomainSpec, numbers: AbstractSet[int], enabled: bool) -> DomainSpec:
    """Return a definition in which certain vCPUs can be plugged, and are on or off.

    Raises:
        InvalidArgument: there can be no such one, or it must stay.
    """
    most = spec.vcpu.count if spec.vcpu is not None else 1
    _bounded(numbers, most, "persistent config")
    if 0 in numbers:
        raise InvalidArgument("vCPU '0' can't be modified")
    if spec.vcpu_states is not None:
        now = list(spec.vcpu_states.vcpus)
    else:
        on = range(spec.vcpus)
        now = [
            VcpuState(id=one, enabled=one in on, hotpluggable=one not in on) for one in range(most)
        ]
    first = min(numbers)
    for one in now[first + 1 :]:
        if one.id not in numbers and one.enabled and one.hotpluggable is False:
            raise InvalidArgument(
                f"vcpu '{first}' can't be modified as it is followed by non-hotpluggable online "
                f"vcpus"
            )
    made = [
        attrs.evolve(one, enabled=enabled, hotpluggable=True, order=None)
        if number in numbers
        else attrs.evolve(one, order=None)
        for number, one in enumerate(now)
    ]
    return _with(spec, made, most)


def checked(now: Sequence[tuple[bool, bool]], numbers: AbstractSet[int], enabled: bool) -> int:
    """Return the one vCPU of a guest that is to be plugged.

    Args:
        now: of each whether it is on, and whether it may go.
        numbers: what is asked for.
        enabled: whether it is to be on.

    Raises:
        InvalidArgument: there is no such one, it is so already, or it must stay.
        Unsupported: there is more than one.
    """
    _bounded(numbers, len(now), "live config")
    for number in sorted(numbers):
        on, may_go = now[number]
        if on == enabled:
            raise InvalidArgument(f"vcpu '{number}' is already in requested state")
        if on and not may_go:
            raise Unsupported(f"vcpu '{number}' can't be unplugged", libvirt_number=84)
    if len(numbers) != 1:
        raise Unsupported("only one hotpluggable entity can be selected", libvirt_number=84)
    return next(iter(numbers))


def states(spec: DomainSpec, now: Sequence[tuple[bool, bool]]) -> DomainSpec:
    """Return the definition of a guest that has these vCPUs; see :func:`checked`."""
    made = [
        VcpuState(id=number, enabled=on, hotpluggable=may_go or not on)
        for number, (on, may_go) in enumerate(now)
    ]
    return _with(spec, made, len(made))


def _with(spec: DomainSpec, made: list[VcpuState], most: int) -> DomainSpec:
    on = sum(one.enabled is not False for one in made)
    vcpu = spec.vcpu or Vcpu(count=1)
    return attrs.evolve(
        spec,
        vcpu=attrs.evolve(vcpu, current=on if on < most else None),
        vcpu_states=VcpuStates(vcpus=tuple(made)),
    )


def _bounded(numbers: AbstractSet[int], most: int, where: str) -> None:
    if not numbers:
        raise InvalidArgument("no vcpus selected for modification")
    if max(numbers) >= most or min(numbers) < 0:
        raise InvalidArgument(f"vcpu {max(numbers)} is not present in {where}")
