"""CPU features as bits of CPUID and of MSRs, under libxl's names.

Source: xen/include/public/arch-x86/cpufeatureset.h, whose words and bits these are, and
tools/libs/light/libxl_cpuid.c, which says in which leaf each word stands.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Bit", "bit_of", "features_of", "policy_list"]


class Bit(NamedTuple):
    """Where a feature is.

    Attributes:
        leaf: the number in EAX, or the MSR's.
        subleaf: the number in ECX; ``None`` where it does not count.
        register: ``"eax"`` … ``"edx"``, or ``"msr"``.
        place: of the bit, from the lowest.
    """

    leaf: int
    subleaf: int | None
    register: str
    place: int


#: Words of 32 features (64 for an MSR), lowest bit first; a dot is a bit without a name.
WORDS: tuple[tuple[int, int | None, str, str], ...] = (
    (0x1, None, "edx",
     "fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 . clflush . ds "
     "acpi mmx fxsr sse sse2 ss htt tm1 . pbe"),
    (0x1, None, "ecx",
     "sse3 pclmulqdq dtes64 monitor dscpl vmx smx eist tm2 ssse3 . . fma cx16 xtpr pdcm . pcid "
     "dca sse4-1 sse4-2 x2apic movbe popcnt tsc-deadline aesni xsave osxsave avx f16c rdrand "
     "hypervisor"),
    (0x80000001, None, "edx",
     ". . . . . . . . . . . syscall . . . . . . . . nx . mmxext . . ffxsr page1gb rdtscp . lm "
     "3dnowext 3dnow"),
    (0x80000001, None, "ecx",
     "lahf-lm cmp-legacy svm extapic cr8-legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop "
     "skinit wdt . lwp fma4 . . nodeid-msr . tbm topoext . . . dbext . . monitorx"),
    (0xD, 1, "eax", "xsaveopt xsavec xgetbv1 xsaves"),
    (0x7, 0, "ebx",
     "fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excp-only smep bmi2 erms invpcid rtm pqm "
     "no-fpu-sel mpx pqe avx512f avx512dq rdseed adx smap avx512-ifma . clflushopt clwb "
     "proc-trace avx512pf avx512er avx512cd sha avx512bw avx512vl"),
    (0x7, 0, "ecx",
     "prefetchwt1 avx512-vbmi umip pku ospke . avx512-vbmi2 cet-ss gfni vaes vpclmulqdq "
     "avx512-vnni avx512-bitalg . avx512-vpopcntdq . . . . . . . rdpid . . cldemote . movdiri "
     "movdir64b enqcmd"),
    (0x80000007, None, "edx", ". . . . . . . hw-pstate itsc cpb efro"),
    (0x80000008, None, "ebx",
     "clzero . rstr-fp-err-ptrs . . . . . . wbnoinvd . . ibpb . ibrs amd-stibp ibrs-always "
     "stibp-always ibrs-fast ibrs-same-mode no-lmsl . . amd-ppin amd-ssbd virt-ssbd ssb-no . "
     "psfd btc-no ibpb-ret"),
    (0x7, 0, "edx",
     ". . avx512-4vnniw avx512-4fmaps fsrm . . . avx512-vp2intersect srbds-ctrl md-clear "
     "rtm-always-abort . tsx-force-abort serialize hybrid tsxldtrk . . . cet-ibt . . avx512-fp16 "
     ". . ibrsb stibp l1d-flush arch-caps core-caps ssbd"),
    (0x7, 1, "eax", ". . . . avx-vnni avx512-bf16 . . . . fzrm fsrs fsrcs"),
    (0x80000021, None, "eax",
     ". . lfence-dispatch . . verw-clear nscb . auto-ibrs . . . . . . . . . . . . . . . . . . "
     "sbpb ibpb-brtype srso-no"),
    (0x7, 1, "ebx", "intel-ppin"),
    (0x7, 2, "edx", "intel-psfd ipred-ctrl rrsba-ctrl . bhi-ctrl mcdt-no"),
    (0x7, 1, "edx", ". . . . . . . . . . . . . . . . . . cet-sss"),
    (0x10A, None, "msr",
     "rdcl-no eibrs rsba skip-l1dfl intel-ssb-no mds-no if-pschange-mc-no tsx-ctrl taa-no "
     "mcu-ctrl misc-pkg-ctrl energy-filtering doitm sbdr-ssdp-no fbsdp-no psdp-no . fb-clear "
     "fb-clear-ctrl rrsba bhi-no xapic-status . ovrclk-status pbrsb-no gds-ctrl gds-no rfds-no "
     "rfds-clear . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . its-no"),
    (0x80000021, None, "ecx", ". tsa-sq-no tsa-l1-no"),
)  # fmt: skip

_BITS: dict[str, Bit] = {
    name: Bit(leaf, subleaf, register, place)
    for leaf, subleaf, register, names in WORDS
    for place, name in enumerate(names.split())
    if name != "."
}
#: Older names, and those of leaves that no word has.
_BITS.update(
    {
        "est": _BITS["eist"],
        "cntxid": Bit(0x1, None, "ecx", 10),
        "cmpxchg16": _BITS["cx16"],
        "sse4.1": _BITS["sse4-1"],
        "sse4.2": _BITS["sse4-2"],
        "aes": _BITS["aesni"],
        "cmpxchg8": _BITS["cx8"],
        "sysenter": _BITS["sep"],
        "psn": Bit(0x1, None, "edx", 18),
        "clfsh": _BITS["clflush"],
        "tm": _BITS["tm1"],
        "ia64": Bit(0x1, None, "edx", 30),
        "arat": Bit(0x6, None, "eax", 2),
        "cmt": _BITS["pqm"],
        "lahfsahf": _BITS["lahf-lm"],
        "cmplegacy": _BITS["cmp-legacy"],
        "altmovcr8": _BITS["cr8-legacy"],
        "nodeid": _BITS["nodeid-msr"],
        "perfctr-core": Bit(0x80000001, None, "ecx", 23),
        "perfctr-nb": Bit(0x80000001, None, "ecx", 24),
        "invtsc": _BITS["itsc"],
        "ppin": _BITS["amd-ppin"],
        "lfence+": _BITS["lfence-dispatch"],
        **{
            f"svm-{name}": Bit(0x8000000A, None, "edx", place)
            for name, place in {
                "npt": 0, "lbrv": 1, "nrips": 3, "tscrate": 4, "vmcbclean": 5, "decode": 7,
                "pausefilt": 10,
            }.items()
        },
    }
)  # fmt: skip
#: One name for each bit: the one that libvirt's table of names leads to, or the first.
_NAMES: dict[Bit, str] = {}
for _name, _bit in _BITS.items():
    _NAMES.setdefault(_bit, _name)

#: Bits of a register in text, highest first: unchanged until set.
UNCHANGED = "x"
REGISTERS = ("eax", "ebx", "ecx", "edx")


def bit_of(name: str) -> Bit | None:
    """Return where a feature is, by any of its names; ``None`` if libxl does not know it."""
    return _BITS.get(name) or _BITS.get(name.replace("_", "-"))


def policy_list(bits: dict[Bit, str]) -> Any:
    """Return ``libxl_cpuid_policy_list`` as JSON.

    Args:
        bits: what each bit is set to: ``"0"``, ``"1"``, ``"x"``, ``"k"`` or ``"s"``.
    """
    leaves: dict[tuple[int, int | None], dict[str, Any]] = {}
    registers: dict[int, list[str]] = {}
    for bit, value in bits.items():
        if bit.register == "msr":
            text = registers.setdefault(bit.leaf, [UNCHANGED] * 64)
            text[63 - bit.place] = value
            continue
        leaf = leaves.setdefault((bit.leaf, bit.subleaf), {"leaf": bit.leaf})
        if bit.subleaf is not None:
            leaf["subleaf"] = bit.subleaf
        held = list(leaf.get(bit.register, UNCHANGED * 32))
        held[31 - bit.place] = value
        leaf[bit.register] = "".join(held)
    if not registers:
        return list(leaves.values())
    msrs = [{"index": index, "policy": "".join(text)} for index, text in registers.items()]
    return {"cpuid": list(leaves.values()), "msr": msrs}


def features_of(policies: Any) -> dict[str, str]:
    """Return what each named feature is set to in ``libxl_cpuid_policy_list`` as JSON.

    Bits without a name are passed over: a definition has no place for them.

    Args:
        policies: the list, as an array or as libxl writes it since 4.18.
    """
    found: dict[str, str] = {}
    whole = policies if isinstance(policies, dict) else {"cpuid": policies}
    for leaf in _maps(whole.get("cpuid")):
        for register in REGISTERS:
            number, subleaf = leaf.get("leaf"), leaf.get("subleaf")
            _named(found, number, subleaf, register, leaf.get(register), 32)
    for msr in _maps(whole.get("msr")):
        _named(found, msr.get("index"), None, "msr", msr.get("policy"), 64)
    return found


def _maps(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _named(
    found: dict[str, str], leaf: Any, subleaf: Any, register: str, text: Any, width: int
) -> None:
    if not isinstance(text, str) or len(text) != width or not isinstance(leaf, int):
        return
    for place, value in enumerate(reversed(text)):
        name = _NAMES.get(Bit(leaf, subleaf, register, place))
        if name is not None and value in "01":
            found[name] = value
