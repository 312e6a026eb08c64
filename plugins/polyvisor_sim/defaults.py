"""What libvirt fills in when a definition leaves it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec, Os

__all__ = ["complete"]

_ACTIONS = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}


def complete(spec: DomainSpec, arch: str) -> DomainSpec:
    """Return ``spec`` as libvirt keeps it (``virDomainDefPostParse``, ``domain_postparse.c``).

    Args:
        spec: a definition.
        arch: the architecture of a guest that states none.
    """
    changes: dict[str, Any] = {}
    machine = _complete_os(spec, arch)
    if machine is not spec.os:
        changes["os"] = machine
    if spec.current_memory is None:
        changes["current_memory"] = spec.memory
    if spec.vcpu is None or (spec.vcpu.placement is None and spec.vcpu.cpuset is None):
        from polyvisor.model import Vcpu

        vcpu = spec.vcpu or Vcpu(count=1)
        changes["vcpu"] = attrs.evolve(vcpu, placement="static")
    if spec.clock is None:
        from polyvisor.model.clock import Clock

        changes["clock"] = Clock(offset="utc")
    changes |= {name: usual for name, usual in _ACTIONS.items() if getattr(spec, name) is None}
    return attrs.evolve(spec, **changes) if changes else spec


def _complete_os(spec: DomainSpec, arch: str) -> Os:
    """Return the operating system part with a type, an architecture and a boot device."""
    from polyvisor.model.os import OsType

    machine = spec.os
    if machine.type is None:
        machine = attrs.evolve(machine, type=OsType(arch=arch, name="hvm"))
    elif machine.type.arch is None:
        machine = attrs.evolve(machine, type=attrs.evolve(machine.type, arch=arch))
    assert machine.type is not None
    if (
        machine.type.name == "hvm"
        and not machine.boot
        and not any(getattr(device, "boot", None) for device in spec.devices)
    ):
        machine = attrs.evolve(machine, boot=("hd",))
    return machine
