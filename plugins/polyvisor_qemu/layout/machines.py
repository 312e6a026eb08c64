"""Kinds of machine, and what an emulator can do, as far as a layout depends on them."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Self

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["MODERN", "Abilities", "Machine", "panic_model", "scsi_model", "usb_model"]


@attrs.frozen
class Abilities:
    """What an emulator can do; the defaults are those of QEMU 6 and later."""

    #: Devices that are chosen only where they are compiled in.
    devices: frozenset[str] = frozenset(
        {
            "piix3-usb-uhci", "qemu-xhci", "nec-usb-xhci", "ich9-usb-ehci1", "pci-ohci",
            "pcie-root-port", "ioh3420", "pcie-pci-bridge", "gpex", "zpci", "virtio-mmio",
            "lsi", "virtio-scsi", "cirrus", "vga", "rtl8139", "e1000", "vfio-ccw",
        }
    )  # fmt: skip
    #: Whether virtio devices sit in PCI Express slots.
    virtio_express: bool = True
    #: Whether a CPU can say that it may be migrated.
    migratable: bool = True
    #: Version of the interrupt controller under KVM on ARM.
    gic: str = "3"
    #: Whether the default CPU of a machine is known.
    default_cpus: bool = True


MODERN = Abilities()

#: The machine type of a definition that names none, by architecture.
PREFERRED = {"x86_64": "pc", "i686": "pc", "s390x": "s390-ccw-virtio"} | {
    "ppc64": "pseries",
    "ppc64le": "pseries",
    "aarch64": "virt",
    "riscv64": "virt",
}


@attrs.frozen
class Machine:
    """The machine that a domain gets."""

    hypervisor: str
    arch: str
    name: str
    abilities: Abilities

    @classmethod
    def of(cls, spec: DomainSpec, abilities: Abilities) -> Self:
        """Return the machine of a definition."""
        kind = spec.os.type
        arch = (kind.arch if kind is not None else None) or platform.machine()
        name = (kind.machine if kind is not None else None) or PREFERRED.get(arch, "")
        return cls(spec.type, arch, name, abilities)

    def can(self, *devices: str) -> bool:
        """Say whether the emulator has all these devices."""
        return self.abilities.devices.issuperset(devices)

    @property
    def x86(self) -> bool:
        """Whether it is a PC."""
        return self.arch in {"x86_64", "i686"}

    @property
    def arm(self) -> bool:
        """Whether it has an ARM CPU."""
        return self.arch in {"armv6l", "armv7l", "aarch64"}

    @property
    def riscv(self) -> bool:
        """Whether it has a RISC-V CPU."""
        return self.arch in {"riscv32", "riscv64"}

    @property
    def power(self) -> bool:
        """Whether it has a 64-bit POWER CPU."""
        return self.arch in {"ppc64", "ppc64le"}

    @property
    def z(self) -> bool:
        """Whether it is an IBM Z."""
        return self.arch in {"s390", "s390x"}

    @property
    def i440fx(self) -> bool:
        """Whether its chips are those of a PC with PCI (qemuDomainMachineIsI440FX)."""
        return self.x86 and (
            self.name == "pc" or self.name.startswith(("pc-0.", "pc-1.", "pc-i440", "rhel"))
        )

    @property
    def q35(self) -> bool:
        """Whether its chips are those of a PC with PCI Express."""
        return self.x86 and (self.name == "q35" or self.name.startswith("pc-q35"))

    @property
    def virt(self) -> bool:
        """Whether it is the machine that exists in software only, of ARM or RISC-V."""
        return ((self.arm and self.arch != "armv6l") or self.riscv) and (
            self.name == "virt" or self.name.startswith("virt-")
        )

    @property
    def pseries(self) -> bool:
        """Whether it is a POWER guest of a hypervisor."""
        return self.power and (self.name == "pseries" or self.name.startswith("pseries-"))

    @property
    def version(self) -> tuple[int, ...]:
        """The version at the end of its name; of none, a high one."""
        digits = self.name.rpartition("-")[2].split(".")
        return tuple(map(int, digits)) if all(d.isdecimal() for d in digits) else (99,)

    @property
    def default_cpu(self) -> str | None:
        """The model of its CPU when none is said, as QEMU has it; ``"host"``: the host's."""
        if not self.abilities.default_cpus:
            return None
        if self.x86:
            return "qemu64"
        if self.z:
            return "host" if self.hypervisor == "kvm" else "qemu"
        if self.pseries:
            if self.hypervisor == "kvm" or self.version >= (4, 0):
                return "POWER9"
            return "POWER7" if self.version < (2, 8) else "POWER8"
        if self.arm:
            return "cortex-a9" if self.name == "vexpress-a9" else "cortex-a15"
        return None


def scsi_model(machine: Machine) -> str:
    """Return the model of a SCSI controller without one (qemuDomainGetSCSIControllerModel)."""
    if machine.pseries:
        return "ibmvscsi"
    if machine.z or not machine.can("lsi"):
        return "virtio-scsi"
    return "lsilogic"


def usb_model(machine: Machine, *, new: bool, placed: object = None) -> str | None:
    """Return the model of a USB controller without one (qemuDomainControllerDefPostParse).

    Args:
        machine: the machine.
        new: whether the domain is defined for the first time.
        placed: its address.
    """
    if machine.z:
        return "none" if placed is None else None
    if (machine.power and new) or machine.arch == "aarch64":
        for device, model in (("qemu-xhci", "qemu-xhci"), ("nec-usb-xhci", "nec-xhci")):
            if machine.can(device):
                return model
    if machine.power:
        return "pci-ohci" if machine.can("pci-ohci") else None
    return "piix3-uhci" if machine.can("piix3-usb-uhci") else None


def panic_model(machine: Machine) -> Any:
    """Return the model of a panic device without one."""
    return "pseries" if machine.pseries else "s390" if machine.z else "isa"
