"""What Xen adds to a definition that does not say it.

libvirt's generic parser comes first and last (``DomainSpec.normalised``); between them
stands what its Xen driver does after parsing: libxlDomainDeviceDefPostParse and
libxlDomainDefPostParse, src/libxl/libxl_domain.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import attrs

from polyvisor.errors import SemanticError
from polyvisor.model.devices.chardev import ChardevTarget, Console
from polyvisor.model.devices.controller import Controller
from polyvisor.model.devices.disk import Disk, DiskDriver
from polyvisor.model.devices.input import Input
from polyvisor.model.devices.interface import Interface, InterfaceDriver
from polyvisor.model.devices.memballoon import Memballoon
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor.model.features import Features
from polyvisor.model.os import Os, OsType

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.clock import Clock
    from polyvisor.model.devices import Devices
    from polyvisor.model.devices.hostdev import Hostdev

__all__ = [
    "HVMLOADER",
    "MOST_VCPUS",
    "OVMF",
    "Kind",
    "completed",
    "emulator_of",
    "kind_of",
]

#: What libxl calls the types of its guests (libxl_domain_type, libxl_types.idl).
Kind = Literal["pv", "pvh", "hvm"]

#: Where Xen keeps firmware (its ``LIBEXEC_BIN`` and firmware folder, unless built otherwise).
HVMLOADER = "/usr/lib/xen/boot/hvmloader"
OVMF = "/usr/lib/xen/boot/ovmf.bin"

#: The name of the machine type that goes with each kind of guest.
MACHINES: dict[Kind, str] = {"pv": "xenpv", "pvh": "xenpvh", "hvm": "xenfv"}

#: More virtual CPUs than a guest of Xen can have (8192, of paravirtual ones).
MOST_VCPUS = 8192

#: Least video memory in KiB, by card, with QEMU and with the device model before it.
VIDEO_MEMORY = {
    "vga": {"qemu_xen": 16384, "qemu_xen_traditional": 8192},
    "xen": {"qemu_xen": 16384, "qemu_xen_traditional": 8192},
    "cirrus": {"qemu_xen": 8192, "qemu_xen_traditional": 4096},
    "qxl": {"qemu_xen": 131072, "qemu_xen_traditional": 131072},
}


def kind_of(spec: DomainSpec) -> Kind:
    """Return what kind of Xen guest a definition describes."""
    name = None if spec.os.type is None else spec.os.type.name
    if name is None:
        name = "hvm" if spec.bootloader is None else "xen"
    kinds: dict[str, Kind] = {"hvm": "hvm", "xenpvh": "pvh"}
    return kinds.get(name, "pv")


def emulator_of(spec: DomainSpec) -> Literal["qemu_xen", "qemu_xen_traditional"]:
    """Return which device model serves an HVM guest, by the name of its program."""
    path = spec.devices.emulator
    if kind_of(spec) == "hvm" and path is not None and path.rpartition("/")[2] == "qemu-dm":
        return "qemu_xen_traditional"
    return "qemu_xen"


def completed(spec: DomainSpec) -> DomainSpec:
    """Return a definition with all that libvirt's Xen driver would make explicit.

    Raises:
        SchemaError: it says something that libvirt's parser cannot follow.
        SemanticError: it has more virtual CPUs than there can be, or
            a clock that is set off by something else than seconds.
    """
    kind = kind_of(spec)
    vcpu = spec.vcpu
    if vcpu is not None and (vcpu.count > MOST_VCPUS or (vcpu.current or 0) > vcpu.count):
        most = min(vcpu.count, MOST_VCPUS)
        fault = f"{max(vcpu.count, spec.vcpus)} virtual CPUs are more than the {most} there can be"
        raise SemanticError(f"domain {spec.name!r}: {fault}", element="vcpu", fault=fault)
    held = spec.devices
    spec = attrs.evolve(
        spec,
        os=_os(spec.os, kind),
        features=_features(spec, kind),
        clock=_clock(spec.clock),
        devices=attrs.evolve(
            held,
            disks=tuple(_disk(disk) for disk in held.disks),
            interfaces=tuple(_interface(one) for one in held.interfaces),
            hostdevs=tuple(_hostdev(one) for one in held.hostdevs),
            consoles=_consoles(held, kind),
            inputs=_inputs(held, kind),
            videos=_videos(spec, kind),
            controllers=_controllers(held),
            memballoon=held.memballoon or Memballoon(model="xen"),
        ),
    )
    return spec.normalised()


def _os(held: Os, kind: Kind) -> Os:
    given = held.type or OsType()
    named = given.name or {"pv": "linux", "pvh": "xenpvh", "hvm": "hvm"}[kind]
    new = attrs.evolve(
        given,
        name=named,
        arch=given.arch or "x86_64",
        machine=given.machine or MACHINES[kind],
    )
    return attrs.evolve(held, type=new)


def _features(spec: DomainSpec, kind: Kind) -> Features | None:
    arch = spec.os.arch or "x86_64"
    if kind != "hvm" or arch != "x86_64":
        return spec.features
    numa = spec.cpu is not None and spec.cpu.numa is not None and bool(spec.cpu.numa.cells)
    features = spec.features or Features()
    return attrs.evolve(features, pae=True, acpi=features.acpi or numa)


def _clock(clock: Clock | None) -> Clock | None:
    """Take a clock that is set off by seconds as libvirt does (virDomainClockDefParseXML)."""
    text = None if clock is None else clock.adjustment
    if clock is None or text is None or clock.offset not in {"utc", "localtime", "variable"}:
        return clock
    if clock.offset == "utc" or clock.offset == "localtime":
        if text == "reset":
            return clock
        clock = attrs.evolve(clock, offset="variable", basis=clock.offset)
    try:
        shift = int(text[:12] or "0")
    except ValueError:
        shift = 1 << 31
    if not -(1 << 31) <= shift < 1 << 31:
        fault = f"a clock cannot be set off by {text[:20]!r} seconds"
        raise SemanticError(fault, element="clock", fault=fault)
    return attrs.evolve(clock, adjustment=str(shift))


def _disk(disk: Disk) -> Disk:
    driver = disk.driver or DiskDriver()
    name = "qemu" if driver.name is None and disk.type == "network" else driver.name
    return attrs.evolve(disk, driver=attrs.evolve(driver, name=name, type=driver.type or "raw"))


def _interface(interface: Interface) -> Interface:
    if interface.type != "hostdev":
        return interface
    driver = interface.driver or InterfaceDriver()
    return attrs.evolve(interface, driver=attrs.evolve(driver, name=driver.name or "xen"))


def _hostdev(hostdev: Hostdev) -> Hostdev:
    if hostdev.type != "pci" or hostdev.mode == "capabilities":
        return hostdev
    return attrs.evolve(hostdev, driver=hostdev.driver or "xen")


def _consoles(held: Devices, kind: Kind) -> tuple[Console, ...]:
    if kind == "hvm":
        return held.consoles
    if not held.consoles:
        return (Console(type="pty", target=ChardevTarget(type="xen", port=0)),)
    return tuple(
        console
        if console.target is not None and console.target.type is not None
        else attrs.evolve(
            console, target=attrs.evolve(console.target or ChardevTarget(), type="xen")
        )
        for console in held.consoles
    )


def _inputs(held: Devices, kind: Kind) -> tuple[Input, ...]:
    bus: Literal["ps2", "xen"] = "ps2" if kind == "hvm" else "xen"
    # A mouse or keyboard without a bus is on this one.
    known = {(one.type, one.bus or bus) for one in held.inputs}
    kinds = cast("tuple[Literal['mouse', 'keyboard'], ...]", ("mouse", "keyboard"))
    added = tuple(Input(type=one, bus=bus) for one in kinds if (one, bus) not in known)
    return held.inputs + added


def _videos(spec: DomainSpec, kind: Kind) -> tuple[Video, ...]:
    videos = spec.devices.videos
    if not videos and spec.devices.graphics:
        videos = (Video(),)
    emulator = emulator_of(spec)
    return tuple(_video(video, kind, emulator) for video in videos)


def _video(video: Video, kind: Kind, emulator: str) -> Video:
    model = video.model or VideoModel()
    if model.type in {None, "default"}:
        model = attrs.evolve(model, type="xen" if kind == "pv" else "cirrus")
    if kind == "hvm" and not model.vram and model.type in VIDEO_MEMORY:
        model = attrs.evolve(model, vram=VIDEO_MEMORY[model.type][emulator])
    return attrs.evolve(video, model=model)


def _controllers(held: Devices) -> tuple[Controller, ...]:
    if any(controller.type == "xenbus" for controller in held.controllers):
        return held.controllers
    return (*held.controllers, Controller(type="xenbus", index=0))
