"""The default CPU, how it is checked, and ARM's interrupt controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["with_processor"]


def with_processor(spec: DomainSpec, machine: Machine, *, live: bool) -> DomainSpec:
    """Make the CPU explicit, and what the machine always has beside it."""
    cpu = _checked(_default(spec.cpu, machine), machine, live=live)
    return attrs.evolve(spec, cpu=cpu, features=_features(spec.features, machine))


def _default(cpu: Any, machine: Machine) -> Any:
    """Return the CPU, with the machine's own model if none is said (qemuDomainDefSetDefaultCPU)."""
    from polyvisor.model.cpu import Cpu, CpuModel

    if cpu is not None and (
        cpu.mode not in {None, "custom"} or (cpu.model is not None and cpu.model.name)
    ):
        return cpu
    if not (machine.x86 or machine.z or machine.power) and machine.hypervisor != "qemu":
        return cpu
    model = machine.default_cpu
    if model is None:
        return cpu
    if model == "host":
        # Before machine 2.8 there were no models on IBM Z.
        mode: Any = "host-model" if machine.version >= (2, 8) else "host-passthrough"
        return attrs.evolve(cpu or Cpu(), mode=mode)
    return attrs.evolve(
        cpu or Cpu(),
        mode="custom",
        match="exact",
        check="none",
        model=CpuModel(fallback="forbid", name=model),
    )


def _checked(cpu: Any, machine: Machine, *, live: bool) -> Any:
    """Say how far the CPU is compared with the host's (qemuDomainDefCPUPostParse)."""
    if cpu is None:
        return None
    cpu = _with_sve(cpu)
    if cpu.mode == "host-passthrough" and cpu.migratable is None and not live and machine.x86:
        cpu = attrs.evolve(cpu, migratable=machine.abilities.migratable)
    if cpu.check is not None or (cpu.mode in {None, "custom"} and cpu.model is None):
        return cpu
    if cpu.mode in {"host-passthrough", "maximum"}:
        check: Any = "none"
    elif cpu.mode == "host-model":
        check = "partial"
    else:
        check = "none" if machine.hypervisor == "qemu" else "partial"
    return attrs.evolve(cpu, check=check)


def _with_sve(cpu: Any) -> Any:
    """Require SVE where lengths of its vectors are said."""
    from polyvisor.model.cpu import CpuFeature

    names = [feature.name or "" for feature in cpu.features]
    if not any(name.startswith("sve") and name != "sve" for name in names) or "sve" in names:
        return cpu
    return attrs.evolve(cpu, features=(*cpu.features, CpuFeature(policy="require", name="sve")))


def _features(features: Any, machine: Machine) -> Any:
    """Choose the interrupt controller's version (qemuDomainDefEnableDefaultFeatures)."""
    from polyvisor.model.features import Features

    features, asked = _without_bare_gic(features)
    if (not (machine.virt and machine.arm) and not asked) or (
        features is not None and features.gic is not None
    ):
        return features
    version: Any = "3" if machine.hypervisor == "kvm" and machine.abilities.gic == "3" else "2"
    return attrs.evolve(features or Features(), gic=version)


def _without_bare_gic(features: Any) -> tuple[Any, bool]:
    """Take out a ``<gic/>`` without version, which the model carries unread."""
    extra = None if features is None else features.extra
    if extra is None:
        return features, False
    kept = tuple(one for one in extra.elements if one != "<gic/>")
    asked = len(kept) < len(extra.elements)
    if asked:
        rest = attrs.evolve(extra, elements=kept)
        features = attrs.evolve(features, extra=None if rest == type(rest)() else rest)
    return features, asked
