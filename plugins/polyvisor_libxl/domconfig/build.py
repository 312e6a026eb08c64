"""A definition as ``libxl_domain_config``: the machine; :mod:`.build_devices` has its devices.

How libvirt does it: libxlMakeDomCreateInfo, libxlMakeDomBuildInfo and libxlMakeVnumaList,
src/libxl/libxl_conf.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import SpecError
from polyvisor.model.features import Features
from polyvisor_libxl.completion import Kind, completed, emulator_of, kind_of
from polyvisor_libxl.config.chardevs import chardev_text
from polyvisor_libxl.config.tables import CPU_FEATURES, USB_INPUTS
from polyvisor_libxl.config.writing import boot_letters, refuse
from polyvisor_libxl.config.xl_cpu import NESTED, distance
from polyvisor_libxl.cpusets import members
from polyvisor_libxl.domconfig.build_devices import devices, screens, video
from polyvisor_libxl.domconfig.cpuid import Bit, bit_of, policy_list
from polyvisor_libxl.domconfig.facts import HostFacts
from polyvisor_libxl.domconfig.words import ACTIONS, POOLS, TSC_MODES

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["to_json"]

#: What finds the kernel of a paravirtual guest that says nothing of it.
BOOTLOADER = "pygrub"
MIB = 1024


#: Architectures that Xen runs guests of (``ARCH_*`` of ``libxl_caps``).
ARCHITECTURES = ("x86_64", "i686", "aarch64", "armv7l")


def to_json(spec: DomainSpec, facts: HostFacts | None = None) -> dict[str, Any]:
    """Return a definition as libxl takes it.

    Args:
        spec: the definition, of type ``xen``; what it does not say gets Xen's defaults.
        facts: what to know of the host.

    Raises:
        SpecError: it has something that libxl does not have.
    """
    facts = facts or HostFacts()
    spec = completed(spec)
    arch = spec.os.type.arch if spec.os.type is not None else None
    if arch is not None and arch not in ARCHITECTURES:
        raise SpecError(
            f"domain {spec.name!r}: Xen has no guests of architecture {arch!r}; use one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    guest = kind_of(spec)
    config: dict[str, Any] = {"c_info": _create(spec, guest)}
    build = config["b_info"] = _build(spec, guest, facts)
    config.update(devices(spec, guest, facts))
    if guest == "hvm":
        hvm = build["type.hvm"]
        hvm.update(screens(spec, config.get("vfbs", []), facts))
        build.update(video(spec, hvm))
    for name in ("on_poweroff", "on_reboot", "on_crash"):
        action = ACTIONS[getattr(spec, name)]
        if action != "destroy":
            config[name] = action
    return config


def _create(spec: DomainSpec, guest: Kind) -> dict[str, Any]:
    create: dict[str, Any] = {"type": guest}
    features = spec.features or Features()
    if guest != "pv" and features.hap is not None:
        create["hap"] = _truth(features.hap)
    create["name"] = spec.name
    if spec.uuid is not None:
        create["uuid"] = str(spec.uuid)
    label = spec.seclabels[0] if spec.seclabels else None
    if label is not None and label.type == "static" and label.label:
        create["ssid_label"] = label.label
    place = None if spec.resource is None else spec.resource.partition
    if place is not None and place.startswith(POOLS):
        create["pool_name"] = place.removeprefix(POOLS)
    way = None if features.xen is None else features.xen.passthrough
    if way is not None and way.state is not None:
        create["passthrough"] = (way.mode or "enabled") if way.state else "disabled"
    return create


def _truth(value: bool) -> str:
    """Return a ``libxl_defbool`` that is not the default."""
    return "True" if value else "False"


def _build(spec: DomainSpec, guest: Kind, facts: HostFacts) -> dict[str, Any]:
    most = 1 if spec.vcpu is None else spec.vcpu.count
    # Xen counts in MiB.
    memory = -(-(spec.memory >> 10) // MIB) * MIB
    current = -(-((spec.current_memory or spec.memory) >> 10) // MIB) * MIB
    build: dict[str, Any] = {"max_vcpus": most, "avail_vcpus": list(range(spec.vcpus))}
    build.update(_affinity(spec, most, facts))
    build.update(_clock(spec, guest))
    build.update(
        max_memkb=memory, target_memkb=current, shadow_memkb=facts.shadow_memory(memory, most)
    )
    build.update(_numa(spec, facts))
    for controller in spec.devices.controllers:
        if controller.type == "xenbus":
            if controller.max_event_channels:
                build["event_channels"] = controller.max_event_channels
            if controller.max_grant_frames:
                build["max_grant_frames"] = controller.max_grant_frames
    build["sched_params"] = {}
    if spec.cputune is not None and spec.cputune.shares is not None:
        build["sched_params"]["weight"] = spec.cputune.shares
    if guest != "pv":
        build.update(_cpu(spec, facts))
    if spec.xen_commandline is not None and spec.xen_commandline.args:
        build["extra"] = list(spec.xen_commandline.args)
    build.update(_kernel(spec, guest))
    build[f"type.{guest}"] = {}
    if guest == "hvm":
        build.update(_firmware(spec))
        build["type.hvm"] = _hvm(spec)
    xen = None if spec.features is None else spec.features.xen
    if guest == "pv" and xen is not None and xen.e820_host is not None:
        build["type.pv"]["e820_host"] = _truth(xen.e820_host)
    balloon = spec.devices.memballoon
    if balloon is not None and balloon.model != "xen":
        refuse("devices/memballoon", f"Xen's balloon is not {balloon.model!r}", "use 'xen'")
    return build


def _affinity(spec: DomainSpec, most: int, facts: HostFacts) -> dict[str, Any]:
    """Return on which host CPUs virtual ones may run: their own, else those of all."""
    whole = None if spec.vcpu is None else spec.vcpu.cpuset
    tune = () if spec.cputune is None else spec.cputune.vcpupins
    pins = {pin.vcpu: pin.cpuset for pin in tune if pin.vcpu is not None and pin.vcpu < most}
    if not pins and whole is None:
        return {}
    highest = most - 1 if whole is not None else max(pins)
    everywhere = members(whole) if whole is not None else list(range(facts.cpus))
    masks = []
    for place in range(highest + 1):
        mask = pins.get(place)
        masks.append(everywhere if mask is None else members(mask) or [])
    # libxl is not to choose nodes where the definition chose CPUs.
    return {"vcpu_hard_affinity": masks, "numa_placement": _truth(False)}


def _clock(spec: DomainSpec, guest: Kind) -> dict[str, Any]:
    build: dict[str, Any] = {}
    clock = spec.clock
    if clock is None:
        return build
    offset = clock.offset or "utc"
    if offset not in {"utc", "localtime", "variable"}:
        refuse("clock", f"Xen has no clock with offset {offset!r}", "use utc or localtime")
    if offset == "localtime" or (offset == "variable" and clock.basis == "localtime"):
        build["localtime"] = _truth(True)
    if offset == "variable":
        shift = int(clock.adjustment or 0)
        if shift:
            build["rtc_timeoffset"] = shift % 2**32  # libxl's field has no sign
    for timer in clock.timers:
        if timer.name == "tsc":
            mode = TSC_MODES.get(timer.mode or "auto", "default")
            if mode != "default":
                build["tsc_mode"] = mode
        elif timer.name != "hpet" or guest != "hvm":
            refuse("clock/timer", f"a Xen guest of this kind has no timer {timer.name!r}")
    return build


def _numa(spec: DomainSpec, facts: HostFacts) -> dict[str, Any]:
    numa = None if spec.cpu is None else spec.cpu.numa
    if numa is None or not numa.cells:
        return {}
    count = len(numa.cells)
    nodes = []
    for place, cell in enumerate(numa.cells):
        vcpus = members(cell.cpus or "")
        if vcpus is None:
            refuse(f"cpu/numa/cell[{place}]", "it has no virtual CPUs", "add cpus")
        nodes.append(
            {
                "memkb": cell.memory or 0,
                "distances": [distance(numa, place, other) for other in range(count)],
                "pnode": place if count <= facts.nodes else 0,
                "vcpus": vcpus,
            }
        )
    return {"vnuma_nodes": nodes}


def _cpu(spec: DomainSpec, facts: HostFacts) -> dict[str, Any]:
    """Return CPU policy; only the host's CPU can be given, bit by bit taken from or added to."""
    held = spec.cpu
    if held is None or held.mode != "host-passthrough":
        return {}
    nested = facts.nested and facts.virtualisation in NESTED
    bits: dict[Bit, str] = {}
    for feature in held.features:
        if feature.policy == "optional":
            continue
        on = feature.policy not in {"disable", "forbid"}
        if feature.name in NESTED:
            nested = on  # for Xen this is no bit but a kind of guest
            continue
        name = CPU_FEATURES.get(feature.name or "", feature.name or "")
        bit = bit_of(name)
        if bit is None:
            refuse("cpu/feature", f"Xen knows no CPU feature {feature.name!r}", "leave it out")
        bits[bit] = "1" if on else "0"
    build: dict[str, Any] = {"nested_hvm": _truth(nested)}
    if bits:
        build["cpuid"] = policy_list(bits)
    return build


def _kernel(spec: DomainSpec, guest: Kind) -> dict[str, Any]:
    bootloader = spec.bootloader
    if guest == "pv" and not bootloader and not spec.os.kernel:
        bootloader = BOOTLOADER
    said: dict[str, Any] = {
        "kernel": spec.os.kernel,
        "cmdline": spec.os.cmdline,
        "ramdisk": spec.os.initrd,
    }
    if guest != "hvm":
        said["bootloader"] = bootloader
        said["bootloader_args"] = (spec.bootloader_args or "").split() or None
    return {name: value for name, value in said.items() if value}


def _firmware(spec: DomainSpec) -> dict[str, Any]:
    features = spec.features or Features()
    build: dict[str, Any] = {
        "apic": _truth(features.apic is not None),
        "acpi": _truth(features.acpi),
    }
    if spec.devices.emulator:
        build["device_model_version"] = emulator_of(spec)
        build["device_model"] = spec.devices.emulator
    return build


def _hvm(spec: DomainSpec) -> dict[str, Any]:
    features = spec.features or Features()
    held = spec.devices
    hvm: dict[str, Any] = {"pae": _truth(features.pae)}
    if features.viridian:
        hvm["viridian"] = _truth(True)
    loader = spec.os.loader
    if spec.os.firmware_name == "efi" or (loader is not None and loader.type == "pflash"):
        if loader is not None and loader.secure:
            refuse("os/loader", "Xen's firmware has no secure boot", "leave secure out")
        hvm["bios"] = "ovmf"
    tables = () if spec.os.acpi is None else spec.os.acpi.tables
    for table in tables:
        if table.path:
            hvm["acpi_firmware"] = table.path
    for timer in () if spec.clock is None else spec.clock.timers:
        if timer.name == "hpet" and timer.present is not None:
            hvm["hpet"] = _truth(timer.present)
    if held.sounds:
        # libxl has one card, and QEMU's name for that of the ICH6.
        model = held.sounds[0].model
        if model not in {"ich6", "es1370", "ac97", "sb16"}:
            refuse("devices/sound", f"Xen has no sound card {model!r}", "use ich6 or ac97")
        hvm["soundhw"] = "hda" if model == "ich6" else model
    if held.parallels:
        refuse("devices/parallel", "Xen has no parallel ports", "leave it out")
    serials = [chardev_text(serial, bind_port="0") for serial in held.serials]
    if len(serials) == 1:
        hvm["serial"] = serials[0]
    elif serials:
        hvm["serial_list"] = serials
    hvm["boot"] = boot_letters(spec)
    inputs = [one.type for one in held.inputs if one.bus == "usb" and one.type is not None]
    for name in inputs:
        if name not in USB_INPUTS:
            refuse("devices/input", f"Xen has no USB input {name!r}", "use mouse or tablet")
    if inputs:
        hvm["usbdevice_list"] = inputs
    return hvm
