"""A guest that libxl runs as a definition: the machine; :mod:`.parse_devices` has its devices.

It may have been made by any toolstack; what a definition has no place for is left out.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.model.clock import Clock, Timer
from polyvisor.model.cpu import Cpu, CpuFeature, Distance, Distances, Numa, NumaCell
from polyvisor.model.domain import SecLabel, Vcpu
from polyvisor.model.features import Apic, Features, XenFeatures, XenPassthrough
from polyvisor.model.namespaces import XenCommandline
from polyvisor.model.os import AcpiTable, Loader, Os, OsAcpi, OsType
from polyvisor.model.resource import Resource
from polyvisor.model.tuning import CpuTune, VcpuPin
from polyvisor_libxl.completion import HVMLOADER, MOST_VCPUS, OVMF, Kind, completed
from polyvisor_libxl.config.tables import BOOT, CPU_FEATURES, KIND_NAMES
from polyvisor_libxl.config.xl_cpu import NESTED
from polyvisor_libxl.cpusets import LARGEST, compact
from polyvisor_libxl.domconfig.cpuid import features_of
from polyvisor_libxl.domconfig.parse_devices import devices
from polyvisor_libxl.domconfig.parts import Part
from polyvisor_libxl.domconfig.plain import normalised
from polyvisor_libxl.domconfig.words import ACTIONS, POOLS, TSC_MODES

__all__ = ["from_json"]

#: In KiB; more than any host has.
MOST_MEMORY = 1 << 50

_ACTIONS = {theirs: ours for ours, theirs in ACTIONS.items()} | {"soft_reset": "restart"}
_TSC_MODES = {theirs: ours for ours, theirs in TSC_MODES.items()}
_FEATURES = {theirs: ours for ours, theirs in CPU_FEATURES.items()}
_POLICIES: dict[str, Any] = {"0": "disable", "1": "require"}


def from_json(config: dict[str, Any]) -> DomainSpec:
    """Return the definition of a guest that libxl runs.

    Args:
        config: ``libxl_domain_config`` as JSON, as ``xl list -l`` shows it under ``config``.

    Raises:
        SpecError: it is not such a configuration; names the field.
    """
    whole = Part(normalised(Part(config, "").raw_map()), "")
    create, build = whole.part("c_info"), whole.part("b_info")
    guest: Kind = create.word("type", {"pv": "pv", "pvh": "pvh", "hvm": "hvm"})
    if guest is None:
        create.fail("type", "it does not say what kind of guest this is")
    kind = build.part(f"type.{guest}")
    name = create.text("name")
    if name is None:
        create.fail("name", "the guest has no name")
    most = build.count("max_memkb", most=MOST_MEMORY)
    target = build.count("target_memkb", most, most=MOST_MEMORY)
    if not most:
        build.fail("max_memkb", "it does not say how much memory the guest has")
    vcpu, tune = _vcpus(build)
    actions = {
        field: whole.word(field, _ACTIONS, "destroy")
        for field in ("on_poweroff", "on_reboot", "on_crash")
    }
    pool, label = create.text("pool_name"), create.text("ssid_label")
    extra = tuple(build.texts("extra"))
    spec = DomainSpec(
        type="xen",
        name=name,
        uuid=_uuid(create),
        memory=most << 10,
        current_memory=(target or most) << 10,
        vcpu=vcpu,
        cputune=tune,
        resource=Resource(partition=POOLS + pool) if pool and pool != "Pool-0" else None,
        bootloader=build.text("bootloader") if guest != "hvm" else None,
        bootloader_args=" ".join(build.texts("bootloader_args")) or None,
        os=_os(build, kind, guest),
        features=_features(create, build, kind, guest),
        cpu=_cpu(build),
        clock=_clock(build, kind, guest),
        devices=devices(whole, build, kind, guest),
        seclabels=(SecLabel(type="static", model="flask", relabel=False, label=label),)
        if label
        else (),
        xen_commandline=XenCommandline(args=extra) if extra else None,
        **actions,
    )
    try:
        spec = completed(spec)
        spec.to_xml()  # only the model knows all of what it can hold
    except SpecError as error:
        raise SpecError(
            f"libxl's configuration of {name!r}: {error.message}",
            element=error.element,
            fault=error.fault or error.message,
        ) from error
    return spec


def _uuid(create: Part) -> UUID | None:
    text = create.text("uuid")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        create.fail("uuid", f"{text[:60]!r} is not a UUID")


def _vcpus(build: Part) -> tuple[Vcpu, CpuTune | None]:
    most = build.count("max_vcpus", most=MOST_VCPUS) or 1
    # Bits beyond the last virtual CPU say nothing; no bits at all: not said.
    here = len({one for one in build.numbers("avail_vcpus", most=LARGEST) if one < most})
    masks = build.items("vcpu_hard_affinity")[:most]
    pins = []
    for place, mask in enumerate(masks):
        cpus = Part({"cpus": mask}, f"b_info.vcpu_hard_affinity[{place}]").numbers(
            "cpus", most=LARGEST
        )
        if cpus:
            pins.append(VcpuPin(vcpu=place, cpuset=compact(cpus)))
    weight = build.part("sched_params").count("weight", most=65535)
    tune = CpuTune(shares=weight or None, vcpupins=tuple(pins)) if pins or weight else None
    current = here if 0 < here < most else None
    return Vcpu(placement="static", current=current, count=most), tune


def _os(build: Part, kind: Part, guest: Kind) -> Os:
    loader, acpi, boot = None, None, ()
    if guest == "hvm":
        efi = kind.text("bios") == "ovmf"
        loader = Loader(readonly=True, type="pflash", path=OVMF) if efi else Loader(path=HVMLOADER)
        letters = (kind.text("boot") or "c")[:4]
        boot = tuple(BOOT.get(letter, "hd") for letter in letters)
        slic = kind.text("acpi_firmware")
        acpi = None if slic is None else OsAcpi(tables=(AcpiTable(type="slic", path=slic),))
    return Os(
        type=OsType(name=KIND_NAMES[guest]),
        loader=loader,
        kernel=build.text("kernel"),
        initrd=build.text("ramdisk"),
        cmdline=build.text("cmdline"),
        acpi=acpi,
        boot=boot,
    )


def _features(create: Part, build: Part, kind: Part, guest: Kind) -> Features | None:
    xen: dict[str, Any] = {}
    ways: dict[str, Any] = {
        "default": None,
        "disabled": XenPassthrough(state=False),
        "enabled": XenPassthrough(state=True),
        "sync_pt": XenPassthrough(state=True, mode="sync_pt"),
        "share_pt": XenPassthrough(state=True, mode="share_pt"),
    }
    way = create.word("passthrough", ways)
    if way is not None:
        xen["passthrough"] = way
    if guest == "pv" and kind.truth("e820_host") is not None:
        xen["e820_host"] = kind.truth("e820_host")
    found: dict[str, Any] = {}
    if guest == "hvm":
        found = {
            "acpi": build.truth("acpi") is not False,
            "apic": Apic() if build.truth("apic") is not False else None,
            "pae": kind.truth("pae") is not False,
            "viridian": bool(kind.truth("viridian") or kind.items("viridian_enable")),
        }
    if guest != "pv" and create.truth("hap") is not None:
        found["hap"] = create.truth("hap")
    if xen:
        found["xen"] = XenFeatures(**xen)
    return Features(**found) if found else None


def _cpu(build: Part) -> Cpu | None:
    nested = build.truth("nested_hvm")
    features: dict[str, str] = {}
    if nested is False:
        features[NESTED[0]] = "disable"
    for name, bit in features_of(build.raw("cpuid")).items():
        features[_FEATURES.get(name, name)] = _POLICIES[bit]
    numa = _numa(build)
    passthrough = nested is not None or bool(features)
    if not passthrough and numa is None:
        return None
    return Cpu(
        mode="host-passthrough" if passthrough else None,
        features=tuple(
            CpuFeature(policy=policy, name=name)  # type: ignore[arg-type]
            for name, policy in features.items()
        ),
        numa=numa,
    )


def _numa(build: Part) -> Numa | None:
    cells = []
    nodes = build.parts("vnuma_nodes")
    for place, node in enumerate(nodes):
        vcpus = node.numbers("vcpus", most=LARGEST)
        distances = node.numbers("distances", most=255)[: len(nodes)]
        cells.append(
            NumaCell(
                id=place,
                cpus=compact(vcpus) or None,
                memory=node.count("memkb", 0, most=MOST_MEMORY),
                unit="KiB",
                distances=Distances(
                    siblings=tuple(Distance(id=i, value=far) for i, far in enumerate(distances))
                )
                if distances
                else None,
            )
        )
    return Numa(cells=tuple(cells)) if cells else None


def _clock(build: Part, kind: Part, guest: Kind) -> Clock:
    local: Any = "localtime" if build.truth("localtime") else "utc"
    timers = []
    mode = build.word("tsc_mode", _TSC_MODES)
    if mode is not None:
        timers.append(Timer(name="tsc", present=True, mode=mode))
    if guest == "hvm" and kind.truth("hpet") is not None:
        timers.append(Timer(name="hpet", present=kind.truth("hpet")))
    shift = build.count("rtc_timeoffset", 0, most=2**32 - 1) or 0
    shift = shift - 2**32 if shift >= 2**31 else shift
    if guest == "hvm" and shift:
        return Clock(offset="variable", adjustment=str(shift), basis=local, timers=tuple(timers))
    return Clock(offset=local, timers=tuple(timers))
