"""``host-model``: the named CPU model that is nearest to what the host gives, and what differs.

libvirt finds it in a table of its own; here QEMU itself says which features each of its models
has, and which there are in all (the models ``host`` with KVM, ``max`` without). It is written
out when a guest starts and stays as it is for this guest: in its running definition, its save
images, and where it goes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, SemanticError

if TYPE_CHECKING:
    from polyvisor.local import CpuFacts, CpuModels
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.emulator import Emulator

__all__ = ["HostModel", "cpu_models", "host_model", "written_out"]

#: Feature names of libvirt that QEMU spells otherwise (virQEMUCapsCPUFeaturesX86).
_THEIRS = {
    "cmp-legacy": "cmp_legacy", "ds-cpl": "ds_cpl", "fxsr-opt": "fxsr_opt",
    "lahf-lm": "lahf_lm", "nodeid-msr": "nodeid_msr", "pclmulqdq": "pclmuldq",
    "perfctr-core": "perfctr_core", "perfctr-nb": "perfctr_nb", "tsc-adjust": "tsc_adjust",
}  # fmt: skip
#: CPUID's words for makers, and libvirt's (cpu_map/x86_vendors.xml).
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
#: Models of no maker in particular (libvirt's cpu_map has no vendor for them).
_ANYBODYS = frozenset(
    {"486", "pentium", "pentium2", "pentium3", "qemu32", "qemu64", "kvm32", "kvm64"}
)
#: What QEMU counts among the features and is none of a CPU's.
_NONE_OF_A_CPU = re.compile(r"kvm|hv-|lmce$")


@attrs.frozen
class HostModel:
    """What ``host-model`` is on this host.

    Attributes:
        name: the model that is nearest.
        vendor: its maker, in libvirt's words.
        require: features that the host gives beyond it, in alphabetical order.
        disable: features of it that the host does not give.
    """

    name: str
    vendor: str | None
    require: tuple[str, ...]
    disable: tuple[str, ...]


def cpu_models(known: Emulator, cache_dir: str, *, kvm: bool) -> tuple[CpuModels, CpuFacts] | None:
    """Return the models that QEMU knows, and all that it can give guests here.

    ``None``: QEMU tells nothing of the kind of such guests.

    Args:
        known: the emulator, which is asked once, and with KVM once in each boot of the host.
        cache_dir: folder for answers.
        kvm: whether guests run with KVM.

    Raises:
        HypervisorError: it does not answer.
    """
    if known.arch not in ("x86_64", "i686"):
        return None
    from polyvisor.local import CpuFacts, CpuModels
    from polyvisor_qemu.probe import kept

    models = known.kvm_cpus if kvm else known.cpus
    names = sorted(
        one.name
        for one in models.values()
        if one.name not in ("max", "host", "base") and not re.search(r"-v\d+$", one.name)
    )
    kind = "kvm" if kvm else "tcg"
    told = kept(
        known.path,
        cache_dir,
        f"cpu-models-{kind}",
        lambda: _ask(known.path, kind, "host" if kvm else "max", names),
        per_boot=kvm,
    )
    made_of = {
        # That there is a hypervisor QEMU says of all of them, libvirt of none.
        name: CpuFacts(None if name in _ANYBODYS else vendor, frozenset(features) - {"hypervisor"})
        for name, vendor, features in told["models"]
    }
    vendor, features = told["all"]
    every = CpuModels(known.arch, made_of, frozenset(told["names"]))
    return every, CpuFacts(vendor, frozenset(features))


def host_model(known: Emulator, cache_dir: str, *, kvm: bool) -> HostModel | None:
    """Return what ``host-model`` is; see :func:`cpu_models`."""
    found = cpu_models(known, cache_dir, kvm=kvm)
    if found is None:
        return None
    every, there = found
    name = every.nearest(there)
    made_of = every.models[name].features
    require, disable = there.features - made_of, made_of - there.features
    return HostModel(name, there.vendor, tuple(sorted(require)), tuple(sorted(disable)))


def _ask(path: str, kind: str, host: str, names: list[str]) -> dict[str, Any]:
    """Return what each model is made of, and the host's, as static expansion tells it."""
    from polyvisor_qemu.emulator import answers

    questions = [
        ("query-cpu-model-expansion", {"type": "static", "model": {"name": name}})
        for name in (host, *names)
    ]
    first, *others = answers(path, kind, questions, timeout=60.0)
    if first is None:
        raise HypervisorError(f"{path} does not say what the CPU model {host!r} is made of")
    props = first["model"]["props"]
    return {
        "all": (_vendor(props), _features(props)),
        "names": sorted(
            _THEIRS.get(name, name)
            for name, on in props.items()
            if isinstance(on, bool) and not _NONE_OF_A_CPU.match(name)
        ),
        "models": [
            (name, _vendor(one["model"]["props"]), _features(one["model"]["props"]))
            for name, one in zip(names, others, strict=True)
            if one is not None
        ],
    }


def _vendor(props: dict[str, Any]) -> str | None:
    return _VENDORS.get(str(props.get("vendor")))


def _features(props: dict[str, Any]) -> list[str]:
    return sorted(
        _THEIRS.get(name, name)
        for name, on in props.items()
        if on is True and not _NONE_OF_A_CPU.match(name)
    )


def written_out(spec: DomainSpec, path: str, cache_dir: str) -> DomainSpec:
    """Return a definition whose ``host-model`` is a CPU model with its features.

    On other than x86 QEMU tells of no such model, and the definition stays as it is.

    Args:
        spec: a definition with that mode.
        path: its emulator.
        cache_dir: folder for what was found out about emulators.

    Raises:
        SemanticError: it forbids a feature that there is.
        HypervisorError: the emulator does not answer.
    """
    from polyvisor_qemu.emulator import emulator

    kvm = spec.type == "kvm"
    found = host_model(emulator(path, cache_dir, kvm=kvm), cache_dir, kvm=kvm)
    return spec if found is None else _written_out(spec, found)


def _written_out(spec: DomainSpec, found: HostModel) -> DomainSpec:
    from polyvisor.model.cpu import CpuFeature, CpuModel

    cpu = spec.cpu
    assert cpu is not None
    policies: dict[str, Any] = dict.fromkeys(found.require, "require")
    policies |= dict.fromkeys(found.disable, "disable")
    for feature in cpu.features:
        name, policy = feature.name or "", feature.policy or "require"
        there = policies.get(name) == "require"
        if policy == "forbid" and there:
            raise SemanticError(
                f"domain {spec.name!r}: domain/cpu/feature: {name} is forbidden, and this host's "
                f"CPU has it",
                domain=spec.name,
                element="domain/cpu/feature",
                fault=f"{name} is forbidden",
            )
        if policy == "optional":
            policy = policies.get(name, "disable")
        policies[name] = {"force": "require", "forbid": "disable"}.get(policy, policy)
    features = tuple(CpuFeature(policy=policy, name=name) for name, policy in policies.items())
    vendor_id = cpu.model.vendor_id if cpu.model is not None else None
    written = attrs.evolve(
        cpu,
        mode="custom",
        match="exact",
        check="full",
        model=CpuModel(fallback="forbid", vendor_id=vendor_id, name=found.name),
        vendor=found.vendor,
        features=features,
    )
    return attrs.evolve(spec, cpu=written)
