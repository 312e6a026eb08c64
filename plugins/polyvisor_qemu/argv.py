"""QEMU's command line, subject by subject, from a definition.

Every value that comes from a definition goes into JSON (``-device``, ``-blockdev``,
``-netdev``, ``-object``), where it cannot become an option of its own; the few options that
know only ``key=value`` get their commas doubled.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polyvisor.errors import SemanticError
from polyvisor_qemu import devices

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["DEFAULT_MACHINE", "build", "keyval"]

#: Machine type where a definition names none; libvirt takes the same.
DEFAULT_MACHINE = {"x86_64": "pc", "i686": "pc", "aarch64": "virt", "riscv64": "virt"}

_POWEROFF = {"destroy": "poweroff", "preserve": "pause"}
_REBOOT = {"restart": "reset", "destroy": "shutdown"}
_CRASH = {"destroy": "shutdown", "preserve": "pause"}


def keyval(value: object) -> str:
    """Return a value as it stands in ``key=value,…``."""
    return str(value).replace(",", ",,")


def refuse(spec: DomainSpec, element: str, fault: str) -> SemanticError:
    """Return the error for what this driver cannot run."""
    return SemanticError(
        f"domain {spec.name!r}: {element}: {fault}", domain=spec.name, element=element, fault=fault
    )


def build(spec: DomainSpec, emulator: str) -> list[str]:
    """Return the command line of a machine, stopped at its first instruction.

    Args:
        spec: a definition that the driver completed.
        emulator: path of QEMU.

    Raises:
        SemanticError: it asks for what the driver cannot do; names the element.
    """
    return [
        emulator,
        "-name", f"guest={keyval(spec.name)},debug-threads=on",
        "-S",
        "-uuid", str(spec.uuid),
        "-no-user-config",
        "-nodefaults",
        "-display", "none",
        *_machine(spec),
        *_cpu(spec),
        *_memory(spec),
        *_clock(spec),
        *_boot(spec),
        *_actions(spec),
        *devices.build(spec),
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-msg", "timestamp=on",
    ]  # fmt: skip


def architecture(spec: DomainSpec) -> str:
    """Return the guest's architecture."""
    return (spec.os.type.arch if spec.os.type else None) or "x86_64"


def machine(spec: DomainSpec) -> str:
    """Return the machine type."""
    named = spec.os.type.machine if spec.os.type else None
    return named or DEFAULT_MACHINE.get(architecture(spec), "virt")


def _machine(spec: DomainSpec) -> list[str]:
    options = [machine(spec), "usb=off", "dump-guest-core=off", "memory-backend=ram"]
    features = spec.features
    if features is not None:
        if features.vmport is not None:
            options.append(f"vmport={'on' if features.vmport else 'off'}")
        if features.smm is not None:
            options.append(f"smm={'off' if features.smm.state is False else 'on'}")
    if architecture(spec) in ("x86_64", "i686") and not (features and features.acpi):
        # libvirt's rule for x86: no <acpi/>, no ACPI.
        options.append("acpi=off")
    timers = spec.clock.timers if spec.clock is not None else ()
    if any(timer.name == "hpet" and timer.present is False for timer in timers):
        options.append("hpet=off")
    return ["-machine", ",".join(keyval(option) for option in options), "-accel", _accel(spec)]


def _accel(spec: DomainSpec) -> str:
    return "kvm" if spec.type == "kvm" else "tcg"


def _cpu(spec: DomainSpec) -> list[str]:
    args = ["-smp", _topology(spec)]
    cpu = spec.cpu
    if cpu is None:
        return args
    if cpu.mode in ("host-passthrough", "host-model", "maximum"):
        # Software emulation has no host CPU to pass through: all that it can emulate.
        model = "host" if spec.type == "kvm" and cpu.mode != "maximum" else "max"
    elif cpu.model is not None and cpu.model.name:
        model = cpu.model.name
    else:
        model = "qemu64" if architecture(spec) == "x86_64" else "max"
    words = [model]
    for feature in cpu.features:
        if feature.name:
            state = "off" if feature.policy in ("disable", "forbid") else "on"
            words.append(f"{feature.name}={state}")
    if cpu.numa is not None:
        raise refuse(spec, "domain/cpu/numa", "NUMA cells cannot be given to QEMU yet; remove them")
    return [*args, "-cpu", ",".join(keyval(word) for word in words)]


def _topology(spec: DomainSpec) -> str:
    most = spec.vcpu.count if spec.vcpu else 1
    now = spec.vcpus
    words = [f"{now},maxcpus={most}" if now != most else str(most)]
    shape = spec.cpu.topology if spec.cpu is not None else None
    if shape is not None:
        sockets, cores, threads = shape.sockets or 1, shape.cores or 1, shape.threads or 1
        dies = shape.dies or 1
        if sockets * dies * cores * threads != most:
            raise refuse(
                spec,
                "domain/cpu/topology",
                f"{sockets} sockets × {dies} dies × {cores} cores × {threads} threads are not "
                f"the {most} vCPUs of <vcpu>",
            )
        words.append(f"sockets={sockets},dies={dies},cores={cores},threads={threads}")
    return ",".join(words)


def _memory(spec: DomainSpec) -> list[str]:
    if spec.max_memory is not None:
        raise refuse(spec, "domain/maxMemory", "memory cannot be plugged in yet; remove it")
    backing = spec.memory_backing
    ram: dict[str, Any] = {"qom-type": "memory-backend-ram", "id": "ram", "size": spec.memory}
    if backing is not None and getattr(backing, "hugepages", None) is not None:
        raise refuse(spec, "domain/memoryBacking/hugepages", "huge pages are not supported yet")
    size = spec.memory
    words = [f"size={size // 1024}k"]
    return ["-m", ",".join(words), "-object", json.dumps(ram)]


def _clock(spec: DomainSpec) -> list[str]:
    base = "utc"
    args: list[str] = []
    if spec.clock is not None:
        if spec.clock.offset == "localtime":
            base = "localtime"
        for timer in spec.clock.timers:
            if timer.name == "pit" and timer.tickpolicy == "delay":
                args += ["-global", "kvm-pit.lost_tick_policy=delay"]
    return ["-rtc", f"base={base}", *args]


def _boot(spec: DomainSpec) -> list[str]:
    args: list[str] = []
    os = spec.os
    if os.firmware_name is not None or (os.loader is not None and os.loader.type == "pflash"):
        raise refuse(spec, "domain/os/loader", "UEFI firmware is not supported yet; use BIOS")
    if os.loader is not None and os.loader.path:
        args += ["-bios", os.loader.path]
    if os.kernel:
        args += ["-kernel", os.kernel]
    if os.initrd:
        args += ["-initrd", os.initrd]
    if os.cmdline:
        args += ["-append", os.cmdline]
    if os.dtb:
        args += ["-dtb", os.dtb]
    boot = ["strict=on"]
    if os.bootmenu is not None and os.bootmenu.enable is not None:
        boot.append(f"menu={'on' if os.bootmenu.enable else 'off'}")
        if os.bootmenu.timeout:
            boot.append(f"splash-time={os.bootmenu.timeout}")
    return [*args, "-boot", ",".join(boot)]


def _actions(spec: DomainSpec) -> list[str]:
    """Say what QEMU does of itself when the guest ends, so that nobody need watch."""
    words = []
    for element, wanted, known, key in (
        ("on_poweroff", spec.on_poweroff or "destroy", _POWEROFF, "shutdown"),
        ("on_reboot", spec.on_reboot or "restart", _REBOOT, "reboot"),
    ):
        if wanted not in known:
            raise refuse(
                spec,
                f"domain/{element}",
                f"{wanted!r} is not supported; use {' or '.join(known)}",
            )
        words.append(f"{key}={known[wanted]}")
    # Only a panic device tells QEMU of a crash.
    if spec.devices.panics:
        wanted = spec.on_crash or "destroy"
        if wanted not in _CRASH:
            raise refuse(
                spec,
                "domain/on_crash",
                f"{wanted!r} is not supported; use {' or '.join(_CRASH)}",
            )
        words.append(f"panic={_CRASH[wanted]}")
    return ["-action", ",".join(words)]
