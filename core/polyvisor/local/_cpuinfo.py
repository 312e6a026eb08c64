"""What this machine's processor is, of ``/proc/cpuinfo`` (proc(5))."""

from __future__ import annotations

import platform
import re

from polyvisor.errors import HypervisorError
from polyvisor.model.cpu import CpuFeature
from polyvisor.model.host_cpu import CpuSignature, HostCpu

__all__ = ["machine_cpu"]

#: libvirt's name of a feature by the kernel's (arch/x86/include/asm/cpufeatures.h), where they
#: differ.
_NAMES = {
    "amx_bf16": "amx-bf16", "amx_int8": "amx-int8", "amx_tile": "amx-tile",
    "arch_capabilities": "arch-capabilities", "avx512_4fmaps": "avx512-4fmaps",
    "avx512_4vnniw": "avx512-4vnniw", "avx512_bf16": "avx512-bf16",
    "avx512_bitalg": "avx512bitalg", "avx512_fp16": "avx512-fp16",
    "avx512_vbmi2": "avx512vbmi2", "avx512_vnni": "avx512vnni",
    "avx512_vp2intersect": "avx512-vp2intersect", "avx512_vpopcntdq": "avx512-vpopcntdq",
    "avx_vnni": "avx-vnni", "cr8_legacy": "cr8legacy", "flush_l1d": "flush-l1d",
    "cqm": "cmt", "cqm_mbm_local": "mbm_local",
    "cqm_mbm_total": "mbm_total", "md_clear": "md-clear", "nonstop_tsc": "invtsc",
    "nrip_save": "nrip-save",
    "pclmulqdq": "pclmuldq", "sha_ni": "sha-ni", "sse4_1": "sse4.1", "sse4_2": "sse4.2",
    "tsc_deadline_timer": "tsc-deadline", "virt_ssbd": "virt-ssbd",
}  # fmt: skip
#: CPUID's words for makers, and libvirt's (cpu_map/x86_vendors.xml).
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
_ROW = re.compile(r"^([\w ]+?)\s*: ?(.*)$", re.MULTILINE)


def machine_cpu(*, root: str = "/") -> HostCpu:
    """Return what this machine's processor is, without a model; of other than x86 its name alone.

    Args:
        root: where ``proc`` is.

    Raises:
        HypervisorError: the kernel does not tell.
    """
    path = f"{root}proc/cpuinfo"
    try:
        with open(path, encoding="utf-8") as file:
            found = dict(_ROW.findall(file.read().partition("\n\n")[0]))
    except OSError as error:
        raise HypervisorError(f"CPU of the host: {path}: {error.strerror}") from error
    if "flags" not in found:
        return HostCpu(arch=platform.machine())

    def number(name: str) -> int | None:
        try:
            return int(found[name], 0)
        except (KeyError, ValueError):
            return None

    names = {_NAMES.get(flag, flag) for flag in found["flags"].split()}
    if "xsave" in names:
        names.add("osxsave")  # The kernel says that there is XSAVE when it has switched it on.
    return HostCpu(
        arch=platform.machine(),
        vendor=_VENDORS.get(found.get("vendor_id", "")),
        microcode=number("microcode"),
        signature=CpuSignature(
            family=number("cpu family"), model=number("model"), stepping=number("stepping")
        ),
        features=tuple(CpuFeature(name=name) for name in sorted(names)),
    )
