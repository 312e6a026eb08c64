"""What ``xl.cfg`` and ``xm`` have in common, read into parts of a definition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.model import DomainSpec
from polyvisor.model.clock import Clock, Timer
from polyvisor.model.devices import Devices
from polyvisor.model.devices.chardev import ChardevTarget, Console, Parallel, Serial
from polyvisor.model.devices.graphics import Graphics
from polyvisor.model.devices.hostdev import HostPciAddress, PciHostdev, PciSource
from polyvisor.model.devices.input import Input
from polyvisor.model.devices.sound import Sound
from polyvisor.model.domain import Vcpu
from polyvisor.model.features import Apic, Features, XenFeatures, XenPassthrough
from polyvisor.model.os import Os, OsType
from polyvisor.model.tuning import CpuTune, VcpuPin
from polyvisor_libxl.completion import MOST_VCPUS
from polyvisor_libxl.config.chardevs import chardev
from polyvisor_libxl.config.settings import Settings, number
from polyvisor_libxl.config.tables import (
    ACTIONS,
    BOOT,
    KIND_NAMES,
    SOUNDS,
    TSC_MODES,
    USB_INPUTS,
)
from polyvisor_libxl.config.vifs import interface
from polyvisor_libxl.cpusets import compact, members

if TYPE_CHECKING:
    from polyvisor_libxl.completion import Kind
    from polyvisor_libxl.config.grammar import Atom

__all__ = ["boot_devices", "cmdline", "common", "kernel", "kind", "usb_inputs"]

#: In MiB, what a guest gets that does not say (libvirt's MIN_XEN_GUEST_SIZE, twice).
DEFAULT_MEMORY = 128
MOST_MEMORY = 1 << 40
MIB = 1 << 20

_PCI = re.compile(
    r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])"
    r"(?:@[0-9a-fA-F]{1,2})?"
)


def kind(settings: Settings) -> Kind:
    """Return what kind of guest it is."""
    if "type" in settings:
        found = settings.words("type", {"pv": "pv", "pvh": "pvh", "hvm": "hvm"}, "pv")
    else:
        found = "hvm" if settings.text("builder") == "hvm" else "pv"
    return found  # type: ignore[return-value]


def common(settings: Settings, guest: Kind, front: str) -> DomainSpec:
    """Return a definition with all that both formats say in the same way.

    Args:
        settings: the configuration.
        guest: what kind of guest it is.
        front: as for :func:`polyvisor_libxl.config.vifs.interface`.
    """
    memory = settings.number("memory", DEFAULT_MEMORY, least=1, most=MOST_MEMORY)
    most = settings.number("maxmem", memory, least=1, most=MOST_MEMORY)
    events = {
        name: settings.words(name, ACTIONS, default)
        for name, default in (
            ("on_poweroff", "destroy"),
            ("on_reboot", "restart"),
            ("on_crash", "restart"),
        )
    }
    vcpu, pins = _vcpus(settings)
    return DomainSpec(
        type="xen",
        name=_name(settings),
        uuid=_uuid(settings),
        memory=most * MIB,
        current_memory=memory * MIB,
        vcpu=vcpu,
        cputune=CpuTune(vcpupins=pins) if pins else None,
        os=Os(type=OsType(name=KIND_NAMES[guest])),
        features=_features(settings, guest),
        clock=_clock(settings, guest),
        devices=Devices(
            emulator=settings.text("device_model_override"),
            interfaces=tuple(
                interface(settings, atom, front) for atom in settings.atoms("vif") or ()
            ),
            hostdevs=tuple(_pci(settings, atom) for atom in settings.atoms("pci") or ()),
            sounds=_sounds(settings) if guest == "hvm" else (),
            graphics=_hvm_screen(settings) if guest == "hvm" else _pv_screen(settings),
            **_chardevs(settings, guest),
        ),
        **events,  # type: ignore[arg-type]
    )


def _name(settings: Settings) -> str:
    name = settings.text("name")
    if not name:
        settings.fail("name", 'the guest has no name; add name = "NAME"')
    if "/" in name or "\n" in name or name.isspace():
        settings.fail("name", f"{name!r} cannot be the name of a guest")
    return name


def _uuid(settings: Settings) -> UUID | None:
    text = settings.text("uuid")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        settings.fail("uuid", f"{text!r} is not a UUID")


def _vcpus(settings: Settings) -> tuple[Vcpu, tuple[VcpuPin, ...]]:
    count = settings.number("vcpus", 1, least=1, most=MOST_VCPUS)
    most = settings.number("maxvcpus", count, least=1, most=MOST_VCPUS)
    listed = settings.atoms("cpus")
    cpuset = None
    pins: tuple[VcpuPin, ...] = ()
    if listed is not None:
        pins = tuple(
            VcpuPin(vcpu=place, cpuset=_cpuset(settings, atom.text))
            for place, atom in enumerate(listed[:most])
            if atom.text not in {"all", ""}
        )
    elif (text := settings.text("cpus")) not in {None, "", "all"}:
        cpuset = _cpuset(settings, text or "")
    current = count if count < most else None
    return Vcpu(placement="static", cpuset=cpuset, current=current, count=most), pins


def _cpuset(settings: Settings, text: str) -> str:
    """Return a set of host CPUs in its shortest form."""
    found = members(text)
    if found is None:
        settings.fail("cpus", f"cpus: {text!r} is not a set of CPUs, such as 0-3,^2,8")
    return compact(found)


def _features(settings: Settings, guest: Kind) -> Features | None:
    fields: dict[str, Any] = {}
    xen: dict[str, Any] = {}
    mode = settings.text("passthrough")
    if mode is not None:
        known: dict[str, XenPassthrough] = {
            "disabled": XenPassthrough(state=False),
            "enabled": XenPassthrough(state=True),
            "sync_pt": XenPassthrough(state=True, mode="sync_pt"),
            "share_pt": XenPassthrough(state=True, mode="share_pt"),
        }
        if mode not in known:
            settings.fail("passthrough", f"passthrough is {mode!r} and can be {', '.join(known)}")
        xen["passthrough"] = known[mode]
    if guest == "hvm":
        fields = {
            "pae": settings.truth("pae") is not False,
            "acpi": settings.truth("acpi") is not False,
            "apic": Apic() if settings.truth("apic") is not False else None,
            "hap": False if settings.truth("hap") is False else None,
            "viridian": bool(settings.atoms("viridian")) or _viridian(settings),
        }
    elif settings.truth("e820_host"):
        xen["e820_host"] = True
    if xen:
        fields["xen"] = XenFeatures(**xen)
    return Features(**fields) if fields else None


def _viridian(settings: Settings) -> bool:
    """Whether enlightenments are on; a list of groups (xl.cfg(5)) is asked for before."""
    return settings.atoms("viridian") is None and bool(settings.truth("viridian"))


def _clock(settings: Settings, guest: Kind) -> Clock:
    local: Any = "localtime" if settings.truth("localtime") else "utc"
    timers: list[Timer] = []
    if "tsc_mode" in settings:
        mode: Any = settings.words("tsc_mode", TSC_MODES, "default")
        timers.append(Timer(name="tsc", present=True, mode=mode))
    if guest != "hvm":
        # The guest has no clock of its own that could be set.
        return Clock(offset=local, adjustment="reset", timers=tuple(timers))
    hpet = settings.truth("hpet")
    if hpet is not None:
        timers.append(Timer(name="hpet", present=hpet))
    shift = settings.number("rtc_timeoffset", 0, least=-(2**31), most=2**32 - 1)
    shift = shift - 2**32 if shift >= 2**31 else shift
    return Clock(offset="variable", adjustment=str(shift), basis=local, timers=tuple(timers))


def _pci(settings: Settings, atom: Atom) -> PciHostdev:
    place, *options = atom.text.split(",")
    found = _PCI.fullmatch(place.strip())
    if found is None:
        settings.fail(atom, f"{place!r} is not the place of a PCI device, such as 0000:01:1f.0")
    filtering = None
    for key, value in (option.split("=", 1) for option in options if "=" in option):
        if key.strip() == "permissive":
            flag = number(value)
            if flag is None:
                settings.fail(atom, f"permissive is {value!r} and should be 0 or 1")
            filtering = not flag
    domain, bus, slot, function = (int(part or "0", 16) for part in found.groups())
    if slot > 31:
        settings.fail(atom, f"{place!r}: a PCI bus has slots up to 1f")
    address = HostPciAddress(domain=domain, bus=bus, slot=slot, function=function)
    return PciHostdev(
        mode="subsystem",
        managed=False,
        source=PciSource(write_filtering=filtering, address=address),
    )


def _sounds(settings: Settings) -> tuple[Sound, ...]:
    text = settings.text("soundhw")
    if not text:
        return ()
    names = ["sb16", "es1370"] if text == "all" else text.split(",")
    for name in names:
        if name not in SOUNDS:
            settings.fail("soundhw", f"soundhw: {name!r} can be {', '.join(SOUNDS)}")
    return tuple(Sound(model=SOUNDS[name]) for name in names)


def _hvm_screen(settings: Settings) -> tuple[Graphics, ...]:
    if settings.truth("vnc"):
        automatic = settings.truth("vncunused") is not False
        port = 5900 + settings.number("vncdisplay", 0, most=59635)
        return (
            Graphics(
                type="vnc",
                autoport=automatic,
                port=None if automatic else port,
                listen=settings.text("vnclisten"),
                passwd=settings.text("vncpasswd"),
                keymap=settings.text("keymap"),
            ),
        )
    if settings.truth("sdl"):
        display, xauth = settings.text("display"), settings.text("xauthority")
        return (Graphics(type="sdl", display=display, xauth=xauth),)
    return ()


def _pv_screen(settings: Settings) -> tuple[Graphics, ...]:
    screens = settings.atoms("vfb")
    if not screens:
        return ()
    said = dict(settings.pairs(screens[0]))
    if said.get("type", "").startswith("sdl") or said.get("sdl") == "1":
        display, xauth = said.get("display"), said.get("xauthority")
        return (Graphics(type="sdl", display=display, xauth=xauth),)
    port = None
    if "vncdisplay" in said:
        display_number = number(said["vncdisplay"])
        if display_number is None or not 0 <= display_number <= 59635:
            settings.fail(screens[0], f"vncdisplay is {said['vncdisplay']!r}, not a number")
        port = display_number + 5900
    # xl looks for a free port unless told which.
    automatic = said.get("vncunused", "0" if port is not None else "1") == "1"
    return (
        Graphics(
            type="vnc",
            autoport=automatic,
            port=None if automatic else port,
            listen=said.get("vnclisten"),
            passwd=said.get("vncpasswd"),
            keymap=said.get("keymap"),
        ),
    )


def _chardevs(settings: Settings, guest: Kind) -> dict[str, Any]:
    if guest != "hvm":
        return {"consoles": (Console(type="pty", target=ChardevTarget(type="xen", port=0)),)}
    parallel = settings.text("parallel")
    listed = settings.atoms("serial")
    if listed is not None:
        serials = [atom.text for atom in listed]
    else:
        serials = [settings.text("serial") or "none"]
    return {
        "parallels": ()
        if parallel in {None, "", "none"}
        else (
            chardev(
                Parallel,
                parallel or "",
                ChardevTarget(port=0),
                lambda fault: settings.fail("parallel", fault),
            ),
        ),
        "serials": tuple(
            chardev(
                Serial, text, ChardevTarget(port=port), lambda fault: settings.fail("serial", fault)
            )
            for port, text in enumerate(serials)
            if text not in {"none", ""}
        ),
    }


def boot_devices(settings: Settings) -> tuple[Any, ...]:
    """Return from what an HVM guest boots, in order."""
    letters = settings.text("boot") or "c"
    return tuple(BOOT.get(letter, "hd") for letter in letters[:4])


def cmdline(settings: Settings) -> str | None:
    """Return the kernel's command line of ``root`` and ``extra``."""
    root, extra = settings.text("root"), settings.text("extra")
    parts = [] if root is None else [f"root={root}"]
    if extra is not None:
        parts.append(extra)
    return " ".join(parts) if parts else None


def kernel(settings: Settings, spec: DomainSpec, line: str | None) -> DomainSpec:
    """Add what a paravirtual guest boots."""
    return attrs.evolve(
        spec,
        bootloader=settings.text("bootloader"),
        bootloader_args=settings.text("bootargs"),
        os=attrs.evolve(
            spec.os,
            kernel=settings.text("kernel"),
            initrd=settings.text("ramdisk"),
            cmdline=line,
        ),
    )


def usb_inputs(settings: Settings, names: list[str]) -> tuple[Input, ...]:
    """Return emulated USB input devices; other emulated USB devices have no place here."""
    return tuple(Input(type=USB_INPUTS[name], bus="usb") for name in names if name in USB_INPUTS)
