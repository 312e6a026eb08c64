"""Devices that a machine has, or that libvirt gives it, without being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import SemanticError
from polyvisor_qemu.layout.machines import panic_model, usb_model

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices import Devices
    from polyvisor.model.devices.controller import Controller
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["own_controllers", "with_default_devices"]


def with_default_devices(spec: DomainSpec, machine: Machine) -> DomainSpec:
    """Add the devices of the machine (qemuDomainDefAddDefaultDevices)."""
    held = _with_inputs(spec.devices, machine)
    if held.memballoon is None and not (machine.arm or machine.arch == "sparc"):
        from polyvisor.model.devices.memballoon import Memballoon

        held = attrs.evolve(held, memballoon=Memballoon(model="virtio"))
    if machine.pseries or machine.z:
        held = _with_panic(held, machine)
    if not held.audios and (audio := _audio(held)) is not None:
        held = attrs.evolve(held, audios=(audio,))
    return attrs.evolve(spec, devices=held)


def _with_inputs(held: Devices, machine: Machine) -> Devices:
    from polyvisor.model.devices.input import Input

    wanted: list[tuple[Any, Any]] = []
    if machine.x86:
        wanted = [("mouse", "ps2"), ("keyboard", "ps2")]
    elif machine.power and held.graphics:
        tablet = any(one.type == "tablet" and one.bus == "usb" for one in held.inputs)
        wanted = [("keyboard", "usb"), *([] if tablet else [("mouse", "usb")])]
    inputs = held.inputs
    for kind, bus in wanted:
        if not any(one.type == kind and one.bus == bus for one in inputs):
            inputs = (*inputs, Input(type=kind, bus=bus))
    return attrs.evolve(held, inputs=inputs)


def own_controllers(
    stated: tuple[Controller, ...], machine: Machine, *, new: bool
) -> list[Controller]:
    """Return the controllers that the machine has by itself and that are not stated.

    Args:
        stated: those that are.
        machine: the machine.
        new: whether the domain is defined for the first time.

    Raises:
        SemanticError: its first PCI controller is stated to be another one.
    """
    from polyvisor.model.devices.controller import Controller

    def has(kind: str) -> bool:
        return any(one.type == kind and one.index == 0 for one in stated)

    added = [] if has("usb") else _usb(machine, new=new)
    if machine.q35 and not has("sata"):
        added.append(Controller(type="sata", index=0))
    root = _root(machine)
    if root is not None and not has("pci"):
        added.append(Controller(type="pci", index=0, model=root))
    for one in stated:
        if root is not None and one.type == "pci" and one.index == 0 and one.model != root:
            fault = f"the PCI controller with index 0 is {one.model!r}"
            raise SemanticError(
                f"{fault}, but a machine {machine.name!r} has {root!r}; use that",
                element="domain/devices/controller",
                fault=fault,
            )
    return added


def _usb(machine: Machine, *, new: bool) -> list[Controller]:
    """Return the USB controllers that a machine has by itself."""
    from polyvisor.model.devices.controller import Controller

    if machine.arm or machine.riscv or machine.z or machine.arch == "sparc":
        return []
    if machine.name == "isapc":
        return []
    if not machine.q35:
        return [Controller(type="usb", index=0, model=usb_model(machine, new=new))]
    for device, model in (("qemu-xhci", "qemu-xhci"), ("nec-usb-xhci", "nec-xhci")):
        if machine.can(device):
            return [Controller(type="usb", index=0, model=model)]
    if not machine.can("ich9-usb-ehci1"):
        return []
    return [
        Controller(type="usb", index=0, model="ich9-ehci1"),
        *(
            Controller(type="usb", index=0, model=f"ich9-uhci{n + 1}", master_startport=n * 2)
            for n in range(3)
        ),
    ]


def _root(machine: Machine) -> str | None:
    """Return the model of the machine's own PCI controller."""
    if machine.q35 or (machine.virt and machine.can("gpex")):
        return "pcie-root"
    plain = {"alpha", "ppc", "ppcemb", "sh4", "sh4eb", "sparc64", "ppc64", "ppc64le"}
    if (
        machine.i440fx
        or machine.arch in plain
        or (machine.z and machine.can("zpci"))
        or (machine.arch == "armv6l" and machine.name == "versatilepb")
        or (machine.arch.startswith("mips") and machine.name == "malta")
    ):
        return "pci-root"
    return None


def _with_panic(held: Devices, machine: Machine) -> Devices:
    from polyvisor.model.devices.panic import Panic

    model = panic_model(machine)
    if any(one.model in {None, model} for one in held.panics):
        return held
    return attrs.evolve(held, panics=(*held.panics, Panic(model=model)))


def _audio(held: Devices) -> Any:
    """Return where sound goes (qemuDomainDefSuggestDefaultAudioBackend)."""
    from polyvisor.model.devices.sound import Audio

    kinds = [one.type for one in held.graphics if one.type in {"vnc", "spice", "sdl"}]
    if held.graphics and (not kinds or kinds[-1] == "sdl"):
        # SDL's own sound is used only where the host's settings name it.
        return None
    kind: Any = "spice" if kinds and kinds[-1] == "spice" else "none"
    return Audio(id=1, type=kind)
