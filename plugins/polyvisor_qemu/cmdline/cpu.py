"""Virtual CPUs: model, features, topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.context import refused
from polyvisor_qemu.cmdline.words import joined, keyval

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["cpu", "topology"]

#: Hyper-V features and QEMU's words for them (virDomainHyperv, cpu.c of QEMU's i386).
_HYPERV = {
    "relaxed": "hv-relaxed", "vapic": "hv-vapic", "vpindex": "hv-vpindex",
    "runtime": "hv-runtime", "synic": "hv-synic", "reset": "hv-reset",
    "frequencies": "hv-frequencies", "reenlightenment": "hv-reenlightenment",
    "tlbflush": "hv-tlbflush", "ipi": "hv-ipi", "evmcs": "hv-evmcs", "avic": "hv-avic",
}  # fmt: skip
_KVM = {"hidden": "kvm", "hint_dedicated": "kvm-hint-dedicated", "poll_control": "kvm-poll-control",
        "pv_ipi": "kvm-pv-ipi"}  # fmt: skip
#: CPU features whose names differ from libvirt's (qemu_capabilities.c).
_RENAMED = {
    "cmp_legacy": "cmp-legacy", "ds_cpl": "ds-cpl", "fxsr_opt": "fxsr-opt", "lahf_lm": "lahf-lm",
    "nodeid_msr": "nodeid-msr", "pclmuldq": "pclmulqdq", "perfctr_core": "perfctr-core",
    "perfctr_nb": "perfctr-nb", "tsc_adjust": "tsc-adjust", "invtsc": "invtsc",
    "nrip-save": "nrip-save", "tsc_scale": "tsc-scale",
}  # fmt: skip
#: Features that libvirt names and no QEMU of today knows (virQEMUCapsCPUFilterFeatures;
#: target/i386/cpu.c, which lost ``pconfig`` in version 6.0).
_UNKNOWN = frozenset({"cmt", "mbm_total", "mbm_local", "pconfig"})


def cpu(c: Context) -> None:
    """Add the CPU's model with what it has and has not."""
    words = _model(c)
    features = c.spec.features
    more: list[str] = []
    timers = c.spec.clock.timers if c.spec.clock is not None else ()
    for timer in timers:
        if timer.name == "kvmclock" and timer.present is not None:
            more.append(f"kvmclock={_on(timer.present)}")
        elif timer.name == "hypervclock" and timer.present:
            more.append("hv-time=on")
        elif timer.name == "tsc" and timer.frequency:
            more.append(f"tsc-frequency={timer.frequency}")
        elif timer.name == "armvtimer" and timer.tickpolicy == "discard":
            more.append("kvm-no-adjvtime=on")
    if features is not None:
        if features.apic is not None and features.apic.eoi is not None:
            more.append(f"kvm-pv-eoi={_on(features.apic.eoi)}")
        if features.pvspinlock is not None:
            more.append(f"kvm-pv-unhalt={_on(features.pvspinlock)}")
        more += _hyperv(features.hyperv)
        if features.pmu is not None:
            more.append(f"pmu={_on(features.pmu)}")
        for name, word in _KVM.items():
            state = getattr(features.kvm, name, None)
            if state:
                more.append(f"{word}={_on(name != 'hidden')}")
    if any(one.model == "hyperv" for one in c.spec.devices.panics):
        more.append("hv-crash=on")
    given = c.spec.cpu
    if given is not None and given.cache is not None:
        if given.cache.mode == "emulate":
            more += ["l3-cache=on"] if given.cache.level == 3 else []
        elif given.cache.mode == "passthrough":
            more += ["host-cache-info=on"] + (["l3-cache=off"] if given.mode else [])
        elif given.cache.mode == "disable":
            more += ["host-cache-info=off", "l3-cache=off"]
    if given is not None and given.maxphysaddr is not None:
        if given.maxphysaddr.mode == "passthrough":
            more.append("host-phys-bits=on")
        elif given.maxphysaddr.bits:
            more.append(f"phys-bits={given.maxphysaddr.bits}")
    if not words:
        if not more:
            return
        words = ["qemu32" if c.machine.arch == "i686" else "qemu64"]
    c.line.add("cpu", ",".join(keyval(word) for word in [*words, *more]))


def _model(c: Context) -> list[str]:
    given = c.spec.cpu
    if given is None:
        return []
    kvm = c.spec.type == "kvm"
    words: list[str] = []
    if given.mode in ("host-passthrough", "maximum") or given.mode == "host-model":
        # Software emulation has no host CPU to pass through: all that it can emulate.
        words = ["host" if kvm and given.mode != "maximum" else "max"]
        if given.mode == "host-passthrough" and given.migratable is not None and kvm:
            words.append(f"migratable={_on(given.migratable)}")
    elif given.model is not None and given.model.name:
        words = [given.model.name]
        if given.model.vendor_id:
            words.append(f"vendor={given.model.vendor_id}")
    if not words:
        return []
    for feature in given.features:
        if feature.name and feature.name not in _UNKNOWN:
            name = _RENAMED.get(feature.name, feature.name)
            words.append(f"{name}={_on(feature.policy not in ('disable', 'forbid'))}")
    return words


def _hyperv(given: Any) -> list[str]:
    if given is None:
        return []
    if given.mode == "passthrough":
        return ["hv-passthrough=on"]
    words = [f"{word}=on" for name, word in _HYPERV.items() if getattr(given, name)]
    if given.spinlocks is not None and given.spinlocks.state:
        words.append(f"hv-spinlocks=0x{given.spinlocks.retries or 0:x}")
    if given.stimer is not None and given.stimer.state:
        words.append("hv-stimer=on")
        words += ["hv-stimer-direct=on"] if given.stimer.direct else []
    if given.vendor_id is not None and given.vendor_id.state:
        words.append(f"hv-vendor-id={given.vendor_id.value or ''}")
    return words


def topology(c: Context) -> None:
    """Add how many CPUs there are and how they hang together."""
    spec = c.spec
    most = spec.vcpu.count if spec.vcpu else 1
    now = spec.vcpus
    if spec.vcpu_states is not None and spec.vcpu_states.vcpus:
        # CPUs that can be unplugged come one by one, after QEMU has started.
        fixed = [v for v in spec.vcpu_states.vcpus if v.enabled is not False and not v.hotpluggable]
        now = len(fixed) or now
    shape = spec.cpu.topology if spec.cpu is not None else None
    words: dict[str, object] = {"maxcpus": most if now != most else None}
    if shape is not None:
        sockets, cores, threads = shape.sockets or 1, shape.cores or 1, shape.threads or 1
        dies = shape.dies or 1
        if sockets * dies * cores * threads != most:
            raise refused(
                spec,
                "domain/cpu/topology",
                f"{sockets} sockets × {dies} dies × {cores} cores × {threads} threads are not "
                f"the {most} vCPUs of <vcpu>",
            )
        words |= {"sockets": sockets, "dies": dies if c.machine.x86 else None,
                  "cores": cores, "threads": threads}  # fmt: skip
    else:
        words |= {"sockets": most, "cores": 1, "threads": 1}
    c.line.add("smp", joined(str(now), **words))


def _on(state: bool) -> str:
    return "on" if state else "off"
