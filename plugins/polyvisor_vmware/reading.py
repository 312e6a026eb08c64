"""The machine that a ``vmx`` file describes (virVMXParseConfig)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model import DomainSpec
from polyvisor.model.cpu import Cpu, CpuTopology
from polyvisor.model.domain import Vcpu
from polyvisor.model.os import Os, OsType
from polyvisor.model.tuning import CpuTune, MemoryTune
from polyvisor_vmware.reading_devices import devices

if TYPE_CHECKING:
    from polyvisor_vmware.settings import Settings

__all__ = ["definition"]

MIB = 1 << 20
#: Memory in MiB where nothing is said; it is counted in fours.
DEFAULT_MEMORY, STEP = 32, 4
MOST_MEMORY = 1 << 40
MOST_VCPUS = 8192
MOST_CPU = 65535
#: The only version of the language, and the oldest of machines.
VERSION, OLDEST_HARDWARE = 8, 4
#: Shares of each virtual CPU by word (SharesInfo of the vSphere API).
SHARES = {"low": 500, "normal": 1000, "high": 2000}


def definition(settings: Settings, source: Callable[[str], str]) -> DomainSpec:
    """Return what a file describes.

    Args:
        settings: what it sets.
        source: gives the place of an image by the name in the file.
    """
    version = settings.number("config.version", 0)
    if version != VERSION:
        settings.fail("config.version", f"config.version is {version} and should be {VERSION}")
    hardware = settings.number("virtualHW.version", 0)
    if hardware < OLDEST_HARDWARE:
        fault = f"virtualHW.version is {hardware} and should be {OLDEST_HARDWARE} or more"
        settings.fail("virtualHW.version", fault)
    name = settings.text("displayName", percent=True)
    if not name:
        settings.fail("displayName", 'the machine has no name; add displayName = "NAME"')
    vcpus = settings.number("numvcpus", 1)
    if not 0 < vcpus <= MOST_VCPUS:
        settings.fail("numvcpus", f"numvcpus is {vcpus} and can be 1 to {MOST_VCPUS}")
    spec = DomainSpec(
        type="vmware",
        name=name,
        uuid=settings.uuid("uuid.bios"),
        genid=_genid(settings),
        description=settings.text("annotation"),
        vcpu=Vcpu(placement="static", count=vcpus, cpuset=_affinity(settings, vcpus)),
        cpu=_cpu(settings, vcpus),
        cputune=_shares(settings, vcpus),
        on_poweroff="destroy",
        on_reboot="restart",
        on_crash="destroy",
        os=_os(settings),
        **_memory(settings),
    )
    spec = attrs.evolve(spec, devices=devices(settings, source, hardware)).normalised()
    # VMware has a boot order of its own, and a card's heads are not said.
    held = spec.devices
    videos = tuple(
        attrs.evolve(one, model=one.model and attrs.evolve(one.model, heads=None))
        for one in held.videos
    )
    return attrs.evolve(
        spec,
        os=attrs.evolve(spec.os, boot=()),
        devices=attrs.evolve(held, videos=videos),
    )


def _memory(settings: Settings) -> dict[str, Any]:
    memory = settings.number("memsize", DEFAULT_MEMORY)
    if not 0 < memory <= MOST_MEMORY or memory % STEP:
        settings.fail("memsize", f"memsize is {memory} and should be a multiple of {STEP}")
    most = settings.number("sched.mem.max", memory)
    least = min(max(settings.number("sched.mem.minsize", 0), 0), memory)
    return {
        "memory": memory * MIB,
        "current_memory": (memory if most < 0 else min(most, memory)) * MIB,
        "memtune": MemoryTune(min_guarantee=least * MIB) if least else None,
    }


def _genid(settings: Settings) -> str | None:
    """Return the generation id: two numbers of 64 bits with sign."""
    halves = [settings.number(name, 0) for name in ("vm.genid", "vm.genidX")]
    if not any(halves):
        return None
    digits = "".join(f"{half % 2**64:016x}" for half in halves)
    return re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", digits)


def _affinity(settings: Settings, vcpus: int) -> str | None:
    text = settings.text("sched.cpu.affinity")
    if text is None or text.lower() == "all":
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(w.isdecimal() and w.isascii() and int(w[:9]) <= MOST_CPU for w in words):
        settings.fail("sched.cpu.affinity", f"sched.cpu.affinity is {text!r}, not a list of CPUs")
    if len(words) < vcpus:
        fault = f"sched.cpu.affinity has {len(words)} CPUs and should have {vcpus} or more"
        settings.fail("sched.cpu.affinity", fault)
    ranges: list[list[int]] = []
    for one in sorted({int(word) for word in words}):
        if ranges and one == ranges[-1][1] + 1:
            ranges[-1][1] = one
        else:
            ranges.append([one, one])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in ranges)


def _cpu(settings: Settings, vcpus: int) -> Cpu | None:
    cores = settings.number("cpuid.coresPerSocket", 1)
    if cores <= 1:
        return None
    if cores > vcpus:
        settings.fail("cpuid.coresPerSocket", f"{cores} cores are more than the {vcpus} CPUs")
    return Cpu(topology=CpuTopology(sockets=vcpus // cores, dies=1, cores=cores, threads=1))


def _shares(settings: Settings, vcpus: int) -> CpuTune | None:
    text = settings.text("sched.cpu.shares")
    if text is None:
        return None
    shares = SHARES.get(text.lower())
    if shares is not None:
        return CpuTune(shares=shares * vcpus)
    number = settings.number("sched.cpu.shares", 0)
    if number < 0:
        settings.fail("sched.cpu.shares", f"{text!r} can be a number, low, normal or high")
    return CpuTune(shares=number)


def _os(settings: Settings) -> Os:
    wide = (settings.text("guestOS") or "").endswith("-64")
    return Os(
        type=OsType(name="hvm", arch="x86_64" if wide else "i686"),
        firmware_name="efi" if settings.word("firmware", ("efi", "bios")) == "efi" else None,
        smbios="host" if settings.truth("smbios.reflecthost", False) else None,
    )
