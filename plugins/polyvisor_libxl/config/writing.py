"""What ``xl.cfg`` and ``xm`` have in common, written; in the order in which libvirt does.

Everything here takes a completed definition (:mod:`polyvisor_libxl.completion`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from polyvisor.errors import SpecError
from polyvisor.model.devices.hostdev import PciHostdev
from polyvisor.model.features import Features
from polyvisor_libxl.config.chardevs import chardev_text
from polyvisor_libxl.config.grammar import Entry
from polyvisor_libxl.config.tables import BOOT_LETTERS
from polyvisor_libxl.config.vifs import interface_text

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.clock import Timer
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor_libxl.completion import Kind

__all__ = ["boot_letters", "common", "kernel", "refuse"]

MIB = 1 << 20
TSC_WORDS = {"native": "native", "paravirt": "native_paravirt", "emulate": "always_emulate"}


def refuse(element: str, fault: str, advice: str = "") -> NoReturn:
    """Raise ``SpecError`` for what the format cannot say.

    Args:
        element: where in the definition.
        fault: what it is.
        advice: what to do.
    """
    raise SpecError(
        f"cannot write {element}: {fault}{f'; {advice}' if advice else ''}",
        element=element,
        fault=fault,
    )


def common(spec: DomainSpec, guest: Kind, front: str) -> dict[str, Entry]:
    """Return all that both formats say in the same way.

    Args:
        spec: the definition, completed.
        guest: what kind of guest it is.
        front: as for :func:`polyvisor_libxl.config.vifs.interface`.
    """
    held = spec.devices
    entries: dict[str, Entry] = {"name": spec.name}
    if spec.uuid is not None:
        entries["uuid"] = str(spec.uuid)
    entries["maxmem"] = -(-spec.memory // MIB)
    entries["memory"] = -(-(spec.current_memory or spec.memory) // MIB)
    _vcpus(spec, entries)
    _features(spec, guest, entries)
    _timers(spec, guest, entries)
    _clock(spec, guest, entries)
    for name in ("on_poweroff", "on_reboot", "on_crash"):
        entries[name] = getattr(spec, name)
    if held.emulator is not None:
        entries["device_model_override"] = held.emulator
    if len(held.graphics) == 1 and held.graphics[0].type != "spice":
        _screen(held.graphics[0], guest, entries)
    if held.interfaces:
        entries["vif"] = [interface_text(one, front, hvm=guest == "hvm") for one in held.interfaces]
    devices = [_pci(one) for one in held.hostdevs if isinstance(one, PciHostdev)]
    if devices:
        entries["pci"] = list[Entry](devices)
    if guest == "hvm":
        _chardevs(spec, entries)
        if held.sounds:
            entries["soundhw"] = ",".join(sound.model or "" for sound in held.sounds)
    return entries


def _vcpus(spec: DomainSpec, entries: dict[str, Entry]) -> None:
    vcpu = spec.vcpu
    if vcpu is not None and spec.vcpus < vcpu.count:
        entries["maxvcpus"] = vcpu.count
    entries["vcpus"] = spec.vcpus
    if vcpu is not None and vcpu.cpuset:
        entries["cpus"] = vcpu.cpuset
    elif spec.cputune is not None and spec.cputune.vcpupins:
        # By place; who is not pinned runs anywhere.
        pins = {pin.vcpu: pin.cpuset for pin in spec.cputune.vcpupins}
        highest = max((place or 0 for place in pins), default=-1)
        if highest < (vcpu.count if vcpu is not None else 1):
            entries["cpus"] = [pins.get(place) or "all" for place in range(highest + 1)]


def _features(spec: DomainSpec, guest: Kind, entries: dict[str, Entry]) -> None:
    features = spec.features or Features()
    xen = features.xen
    if guest == "hvm":
        entries["pae"] = int(features.pae)
        entries["acpi"] = int(features.acpi)
        entries["apic"] = int(features.apic is not None)
        if features.hap is False:
            entries["hap"] = 0
        entries["viridian"] = int(features.viridian)
    elif xen is not None and xen.e820_host:
        entries["e820_host"] = 1
    way = None if xen is None else xen.passthrough
    if way is not None and way.state is not None:
        entries["passthrough"] = (way.mode or "enabled") if way.state else "disabled"


def _timers(spec: DomainSpec, guest: Kind, entries: dict[str, Entry]) -> None:
    for timer in () if spec.clock is None else spec.clock.timers:
        if timer.name == "tsc":
            entries["tsc_mode"] = TSC_WORDS.get(timer.mode or "", "default")
        elif timer.name == "hpet" and guest == "hvm":
            entries["hpet"] = int(timer.present is not False)
        else:
            _no_timer(timer)


def _no_timer(timer: Timer) -> NoReturn:
    refuse(
        "clock/timer",
        f"a Xen guest of this kind has no timer {timer.name!r}",
        "leave it out; all have tsc, fully virtualised ones hpet",
    )


def _clock(spec: DomainSpec, guest: Kind, entries: dict[str, Entry]) -> None:
    clock = spec.clock
    offset = "utc" if clock is None else clock.offset or "utc"
    if offset not in {"utc", "localtime", "variable"} or (guest != "hvm" and offset == "variable"):
        refuse("clock", f"Xen has no clock with offset {offset!r}", "use utc or localtime")
    local = offset == "localtime"
    if guest == "hvm":
        shift = 0
        adjustment = None if clock is None else clock.adjustment
        if offset == "variable":
            local = clock is not None and clock.basis == "localtime"
            shift = int(adjustment or 0)
        elif adjustment == "reset":
            refuse("clock", "adjustment 'reset' is for guests without a clock of their own")
        entries["rtc_timeoffset"] = shift
    entries["localtime"] = int(local)


def _screen(graphics: Graphics, guest: Kind, entries: dict[str, Entry]) -> None:
    said: list[tuple[str, Entry | None]]
    if graphics.type == "sdl":
        said = [("display", graphics.display), ("xauthority", graphics.xauth)]
        first: dict[str, Entry] = {"sdl": 1, "vnc": 0}
    elif graphics.type == "vnc":
        automatic = bool(graphics.autoport)
        said = [
            ("vncunused", int(automatic)),
            ("vncdisplay", None if automatic else (graphics.port or 5900) - 5900),
            ("vnclisten", graphics.listens[0].address if graphics.listens else None),
            ("vncpasswd", graphics.passwd),
            ("keymap", graphics.keymap),
        ]
        first = {"sdl": 0, "vnc": 1}
    else:
        refuse("devices/graphics", f"Xen has no screen of type {graphics.type!r}", "use vnc")
    shown = [(key, value) for key, value in said if value is not None]
    if guest == "hvm":
        entries.update(first)
        entries.update(shown)
    else:
        pairs = [("type", graphics.type), *shown]
        entries["vfb"] = [",".join(f"{key}={value}" for key, value in pairs)]


def _pci(device: PciHostdev) -> str:
    source = device.source
    address = None if source is None else source.address
    if source is None or address is None:
        refuse("devices/hostdev", "it has no address on the host", "add source/address")
    place = (
        f"{address.domain or 0:04x}:{address.bus or 0:02x}"
        f":{address.slot or 0:02x}.{address.function or 0:x}"
    )
    if source.write_filtering is None:
        return place
    return f"{place},permissive={int(not source.write_filtering)}"


def _chardevs(spec: DomainSpec, entries: dict[str, Entry]) -> None:
    held = spec.devices
    entries["parallel"] = chardev_text(held.parallels[0]) if held.parallels else "none"
    texts = {
        0 if serial.target is None else serial.target.port or 0: chardev_text(serial)
        for serial in reversed(held.serials)
    }
    highest = max(texts, default=0)
    if highest > 15:
        refuse("devices/serial", f"port {highest} is more than a machine has", "use 0 to 3")
    if highest:
        entries["serial"] = [texts.get(port, "none") for port in range(highest + 1)]
    else:
        entries["serial"] = texts.get(0, "none")


def boot_letters(spec: DomainSpec) -> str:
    """Return from what an HVM guest boots, as letters."""
    return "".join(BOOT_LETTERS.get(device, "c") for device in spec.os.boot) or "c"


def kernel(spec: DomainSpec, line: str) -> dict[str, Entry]:
    """Return what a paravirtual guest boots.

    Args:
        spec: the definition.
        line: the name for the kernel's command line.
    """
    said = {
        "bootloader": spec.bootloader,
        "bootargs": spec.bootloader_args,
        "kernel": spec.os.kernel,
        "ramdisk": spec.os.initrd,
        line: spec.os.cmdline,
    }
    return {name: value for name, value in said.items() if value is not None}
