"""Features of the guest's machine and of the hypervisor."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, choices
from polyvisor.model.binding import Element, attr, child, element, flag, inner, size

__all__ = [
    "Apic",
    "Capabilities",
    "Features",
    "Hpt",
    "HyperV",
    "HyperVSpinlocks",
    "HyperVStimer",
    "HyperVVendorId",
    "KvmDirtyRing",
    "KvmFeatures",
    "Smm",
    "Tcg",
    "XenFeatures",
    "XenPassthrough",
]

HyperVMode = Literal["custom", "passthrough"]
GicVersion = Literal["2", "3", "host"]


@element(kw_only=True)
class Apic(Element):
    """The interrupt controller."""

    eoi: bool | None = attr(ON_OFF)


@element(kw_only=True)
class HyperVSpinlocks(Element):
    """After how many tries a spinning guest tells the hypervisor."""

    state: bool | None = attr(ON_OFF)
    retries: int | None = attr(UINT)


@element(kw_only=True)
class HyperVStimer(Element):
    """Synthetic timers."""

    state: bool | None = attr(ON_OFF)
    direct: bool | None = inner("direct", "state", ON_OFF)


@element(kw_only=True)
class HyperVVendorId(Element):
    """The vendor that the guest sees."""

    state: bool | None = attr(ON_OFF)
    value: str | None = attr()


@element(kw_only=True)
class HyperV(Element):
    """What makes Windows guests feel at home."""

    mode: HyperVMode | None = attr(choices(HyperVMode))
    relaxed: bool | None = inner("relaxed", "state", ON_OFF)
    vapic: bool | None = inner("vapic", "state", ON_OFF)
    spinlocks: HyperVSpinlocks | None = child(HyperVSpinlocks)
    vpindex: bool | None = inner("vpindex", "state", ON_OFF)
    runtime: bool | None = inner("runtime", "state", ON_OFF)
    synic: bool | None = inner("synic", "state", ON_OFF)
    stimer: HyperVStimer | None = child(HyperVStimer)
    reset: bool | None = inner("reset", "state", ON_OFF)
    vendor_id: HyperVVendorId | None = child(HyperVVendorId)
    frequencies: bool | None = inner("frequencies", "state", ON_OFF)
    reenlightenment: bool | None = inner("reenlightenment", "state", ON_OFF)
    tlbflush: bool | None = inner("tlbflush", "state", ON_OFF)
    ipi: bool | None = inner("ipi", "state", ON_OFF)
    evmcs: bool | None = inner("evmcs", "state", ON_OFF)
    avic: bool | None = inner("avic", "state", ON_OFF)


@element(kw_only=True)
class KvmDirtyRing(Element):
    """Dirty pages told through a ring."""

    state: bool | None = attr(ON_OFF)
    size: int | None = attr(UINT)


@element(kw_only=True)
class KvmFeatures(Element):
    """Features of KVM."""

    hidden: bool | None = inner("hidden", "state", ON_OFF)
    hint_dedicated: bool | None = inner("hint-dedicated", "state", ON_OFF)
    poll_control: bool | None = inner("poll-control", "state", ON_OFF)
    pv_ipi: bool | None = inner("pv-ipi", "state", ON_OFF)
    dirty_ring: KvmDirtyRing | None = child(KvmDirtyRing, "dirty-ring")


@element(kw_only=True)
class XenPassthrough(Element):
    """Whether and how devices may be passed through."""

    state: bool | None = attr(ON_OFF)
    mode: Literal["sync_pt", "share_pt"] | None = attr(choices(Literal["sync_pt", "share_pt"]))


@element(kw_only=True)
class XenFeatures(Element):
    """Features of Xen."""

    e820_host: bool | None = inner("e820_host", "state", ON_OFF)
    passthrough: XenPassthrough | None = child(XenPassthrough)


CapabilityPolicy = Literal["default", "allow", "deny"]
HptResizing = Literal["enabled", "disabled", "required"]


@element(kw_only=True)
class Capabilities(Element):
    """POSIX capabilities that a container's processes keep."""

    policy: CapabilityPolicy | None = attr(choices(CapabilityPolicy))
    audit_control: bool | None = inner("audit_control", "state", ON_OFF)
    audit_write: bool | None = inner("audit_write", "state", ON_OFF)
    block_suspend: bool | None = inner("block_suspend", "state", ON_OFF)
    chown: bool | None = inner("chown", "state", ON_OFF)
    dac_override: bool | None = inner("dac_override", "state", ON_OFF)
    dac_read_search: bool | None = inner("dac_read_search", "state", ON_OFF)
    fowner: bool | None = inner("fowner", "state", ON_OFF)
    fsetid: bool | None = inner("fsetid", "state", ON_OFF)
    ipc_lock: bool | None = inner("ipc_lock", "state", ON_OFF)
    ipc_owner: bool | None = inner("ipc_owner", "state", ON_OFF)
    kill: bool | None = inner("kill", "state", ON_OFF)
    lease: bool | None = inner("lease", "state", ON_OFF)
    linux_immutable: bool | None = inner("linux_immutable", "state", ON_OFF)
    mac_admin: bool | None = inner("mac_admin", "state", ON_OFF)
    mac_override: bool | None = inner("mac_override", "state", ON_OFF)
    mknod: bool | None = inner("mknod", "state", ON_OFF)
    net_admin: bool | None = inner("net_admin", "state", ON_OFF)
    net_bind_service: bool | None = inner("net_bind_service", "state", ON_OFF)
    net_broadcast: bool | None = inner("net_broadcast", "state", ON_OFF)
    net_raw: bool | None = inner("net_raw", "state", ON_OFF)
    setgid: bool | None = inner("setgid", "state", ON_OFF)
    setfcap: bool | None = inner("setfcap", "state", ON_OFF)
    setpcap: bool | None = inner("setpcap", "state", ON_OFF)
    setuid: bool | None = inner("setuid", "state", ON_OFF)
    sys_admin: bool | None = inner("sys_admin", "state", ON_OFF)
    sys_boot: bool | None = inner("sys_boot", "state", ON_OFF)
    sys_chroot: bool | None = inner("sys_chroot", "state", ON_OFF)
    sys_module: bool | None = inner("sys_module", "state", ON_OFF)
    sys_nice: bool | None = inner("sys_nice", "state", ON_OFF)
    sys_pacct: bool | None = inner("sys_pacct", "state", ON_OFF)
    sys_ptrace: bool | None = inner("sys_ptrace", "state", ON_OFF)
    sys_rawio: bool | None = inner("sys_rawio", "state", ON_OFF)
    sys_resource: bool | None = inner("sys_resource", "state", ON_OFF)
    sys_time: bool | None = inner("sys_time", "state", ON_OFF)
    sys_tty_config: bool | None = inner("sys_tty_config", "state", ON_OFF)
    syslog: bool | None = inner("syslog", "state", ON_OFF)
    wake_alarm: bool | None = inner("wake_alarm", "state", ON_OFF)


@element(kw_only=True)
class Hpt(Element):
    """The hash page table of a pSeries machine."""

    resizing: HptResizing | None = attr(choices(HptResizing))
    #: In bytes.
    maxpagesize: int | None = size()


@element(kw_only=True)
class Tcg(Element):
    """Features of QEMU's own translation."""

    #: In bytes.
    tb_cache: int | None = size(name="tb-cache")


@element(kw_only=True)
class Smm(Element):
    """System management mode."""

    state: bool | None = attr(ON_OFF)
    #: In bytes.
    tseg: int | None = size(unit="", scale=1024 * 1024)


@element(kw_only=True)
class Features(Element):
    """Features of the guest's machine and of the hypervisor."""

    acpi: bool = flag()
    apic: Apic | None = child(Apic)
    pae: bool = flag()
    hap: bool | None = inner("hap", "state", ON_OFF, missing=True)
    privnet: bool = flag()
    viridian: bool = flag()
    hyperv: HyperV | None = child(HyperV)
    kvm: KvmFeatures | None = child(KvmFeatures)
    pvspinlock: bool | None = inner("pvspinlock", "state", ON_OFF, missing=True)
    capabilities: Capabilities | None = child(Capabilities)
    pmu: bool | None = inner("pmu", "state", ON_OFF, missing=True)
    vmport: bool | None = inner("vmport", "state", ON_OFF, missing=True)
    smm: Smm | None = child(Smm)
    gic: GicVersion | None = inner("gic", "version", choices(GicVersion))
    ioapic: Literal["qemu", "kvm"] | None = inner(
        "ioapic", "driver", choices(Literal["qemu", "kvm"])
    )
    hpt: Hpt | None = child(Hpt)
    vmcoreinfo: bool | None = inner("vmcoreinfo", "state", ON_OFF, missing=True)
    htm: bool | None = inner("htm", "state", ON_OFF)
    nested_hv: bool | None = inner("nested-hv", "state", ON_OFF)
    msrs: Literal["ignore", "fault"] | None = inner(
        "msrs", "unknown", choices(Literal["ignore", "fault"])
    )
    ccf_assist: bool | None = inner("ccf-assist", "state", ON_OFF)
    xen: XenFeatures | None = child(XenFeatures)
    cfpc: str | None = inner("cfpc", "value")
    sbbc: str | None = inner("sbbc", "value")
    ibs: str | None = inner("ibs", "value")
    tcg: Tcg | None = child(Tcg)
