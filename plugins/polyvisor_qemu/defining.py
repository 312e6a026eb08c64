"""What becomes of definitions when they are defined, and what stands in the way of a start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import HypervisorError, SemanticError, StorageError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["check_start", "complete", "emulator_of", "fill_in"]


def complete(hypervisor: QemuHypervisor, spec: DomainSpec) -> DomainSpec:
    """Fill in what is left open; refuse what QEMU is not given yet."""
    from polyvisor_qemu.cmdline import build

    spec = fill_in(hypervisor, spec)
    build(spec, "qemu", hypervisor.host())
    return spec


def fill_in(hypervisor: QemuHypervisor, spec: DomainSpec) -> DomainSpec:
    """Fill in architecture and machine type.

    With ``layout = "libvirt"`` in the plugin's settings, also all that libvirt's QEMU
    driver would make explicit.
    """
    from polyvisor_qemu.cmdline.context import refused
    from polyvisor_qemu.layout.machines import PREFERRED

    if spec.type not in hypervisor.domain_types:
        raise SemanticError(
            f"domain {spec.name!r}: type {spec.type!r} is not run by QEMU; use "
            f"{' or '.join(hypervisor.domain_types)}",
            domain=spec.name,
            element="domain@type",
            fault=f"type is {spec.type!r}",
        )
    from polyvisor.model.os import OsType

    kind = spec.os.type or OsType(name="hvm")
    if kind.name not in ("hvm", None):
        raise refused(spec, "domain/os/type", f"QEMU runs 'hvm', not {kind.name!r}")
    import platform

    arch = kind.arch or platform.machine()
    kind = attrs.evolve(
        kind,
        arch=arch,
        name="hvm",
        machine=_machine(hypervisor, spec, arch, kind.machine or PREFERRED.get(arch, "virt")),
    )
    spec = attrs.evolve(
        spec,
        os=attrs.evolve(spec.os, type=kind),
        on_poweroff=spec.on_poweroff or "destroy",
        on_reboot=spec.on_reboot or "restart",
        on_crash=spec.on_crash or "destroy",
    )
    if any(one.mac is None or one.virtualport for one in spec.devices.interfaces):
        from polyvisor_qemu.naming import with_identity

        named = tuple(map(with_identity, spec.devices.interfaces))
        spec = attrs.evolve(spec, devices=attrs.evolve(spec.devices, interfaces=named))
    if hypervisor.settings.get("layout") == "libvirt":
        spec = _as_libvirt(spec)
    return spec


def _machine(hypervisor: QemuHypervisor, spec: DomainSpec, arch: str, name: str) -> str:
    """Return the machine type that an alias such as ``pc`` stands for now.

    A guest keeps its machine when QEMU is upgraded and the alias means another one.
    """
    from polyvisor_qemu.layout.machines import PREFERRED

    if name not in {*PREFERRED.values(), "q35"}:
        return name
    from polyvisor_qemu.probe import emulator_for

    path = spec.devices.emulator or emulator_for(arch, hypervisor.settings)
    if path is None or not os.access(path, os.X_OK):
        return name
    try:
        found = hypervisor.known(path).machine(name)
    except HypervisorError:
        # A start will say what is wrong with it.
        return name
    return found.name if found is not None else name


def _as_libvirt(spec: DomainSpec) -> DomainSpec:
    """Place devices as libvirt does, so that guests can move between it and here."""
    from polyvisor_qemu.layout import laid_out

    emulator = spec.devices.emulator
    spec = laid_out(spec)
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, emulator=emulator))


def check_start(hypervisor: QemuHypervisor, spec: DomainSpec) -> None:
    """Refuse missing disk images and emulators, and KVM where it does not work."""
    emulator = emulator_of(hypervisor, spec)
    if spec.type == "kvm":
        from polyvisor_qemu.probe import kvm_works

        works, why = kvm_works(emulator, hypervisor.cache_dir)
        if not works:
            raise HypervisorError(
                f"start {spec.name!r}: KVM does not work here: {why}; use type 'qemu' for "
                f"software emulation",
                domain=spec.name,
            )
    for disk in spec.devices.disks:
        source = disk.source
        path = None if source is None else source.file or source.dev
        if path is not None and not os.path.exists(path):
            raise StorageError(
                f"start {spec.name!r}: the disk image {path} is missing",
                path=path,
                domain=spec.name,
            )


def emulator_of(hypervisor: QemuHypervisor, spec: DomainSpec) -> str:
    """Return the path of the emulator that a definition names, or else of the one to be found.

    Raises:
        StorageError: the one that it names is missing.
        PluginUnusable: none for its architecture is installed.
    """
    from polyvisor.errors import PluginUnusable
    from polyvisor_qemu.probe import emulator_for, usable

    named = spec.devices.emulator
    if named is not None:
        if not os.access(named, os.X_OK):
            raise StorageError(
                f"start {spec.name!r}: the emulator {named} is missing; leave <emulator> "
                f"out to have it found",
                path=named,
                domain=spec.name,
            )
        return named
    architecture = spec.os.arch or "x86_64"
    found = emulator_for(architecture, hypervisor.settings)
    if found is None:
        answer = usable()
        raise PluginUnusable(
            f"start {spec.name!r}: no QEMU for {architecture} is installed; "
            f"{answer.remedy or 'install it'}",
            domain=spec.name,
        )
    return found
