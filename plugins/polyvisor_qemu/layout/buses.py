"""Addresses on virtio's serial bus, on POWER's and IBM Z's own buses, and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices.address import (
    CcwAddress,
    PciAddress,
    SpaprVioAddress,
    VirtioMmioAddress,
    VirtioSerialAddress,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor_qemu.layout.draft import Draft
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["assign_channels", "assign_mmio", "assign_spapr", "assign_z"]

#: Ports of a virtio serial controller when it says nothing (VIR_DOMAIN_VIRTIO_SERIAL_MAX_PORTS).
PORTS = 31
#: First registers of POWER's devices (VIO_ADDR_*, qemu_domain_address.c).
REGISTERS = {"interfaces": 0x1000, "controllers": 0x2000, "serials": 0x30000000} | {
    "nvram": 0x3000,
    "tpms": 0x4000,
}
#: Every kind of device, in the order in which libvirt goes through them.
ORDER = (
    "disks", "interfaces", "sounds", "hostdevs", "videos", "controllers", "smartcards", "serials",
    "parallels", "channels", "consoles", "inputs", "filesystems", "watchdogs", "memballoon",
    "rngs", "nvram", "hubs", "shmems", "tpms", "panics", "memories", "redirdevs", "iommu", "vsock",
)  # fmt: skip


# --- virtio serial ------------------------------------------------------------------------------


def _is_complete(address: Any) -> bool:
    return isinstance(address, VirtioSerialAddress) and bool(address.port)


def assign_channels(draft: Draft) -> None:
    """Give virtio consoles and channels their ports (qemuDomainAssignVirtioSerialAddresses)."""
    used: dict[int, set[int]] = {
        controller.index or 0: set()
        for _, _, controller in draft.of("controllers")
        if controller.type == "virtio-serial"
    }
    limits = {
        controller.index or 0: controller.ports or PORTS
        for _, _, controller in draft.of("controllers")
        if controller.type == "virtio-serial"
    }
    wanting = [
        (kind, number, one)
        for kind, number, one in draft.of("consoles", "channels")
        if one.target is not None and one.target.type == "virtio"
    ]
    for _, _, one in wanting:
        if _is_complete(one.address):
            used.setdefault(one.address.controller or 0, set()).add(one.address.port)
    for kind, number, one in wanting:
        address = one.address
        if _is_complete(address) or not (
            address is None or isinstance(address, VirtioSerialAddress)
        ):
            continue
        # Port 0 is for consoles.
        first = 0 if kind == "consoles" else 1
        candidates = sorted(used)
        if address is not None:
            first, candidates = 1, [address.controller or 0]
        for controller in candidates:
            port = first
            while port in used[controller]:
                port += 1
            if port < limits.get(controller, PORTS):
                break
        else:
            controller = 0
            while controller in used:
                controller += 1
            port = first
            _add_controller(draft, controller)
            used[controller] = set()
        used[controller].add(port)
        if kind == "consoles":
            # libvirt keeps the port for it, but does not say so.
            continue
        draft.put(
            kind,
            number,
            address=VirtioSerialAddress(controller=controller, bus=0, port=port),
        )


def _add_controller(draft: Draft, index: int) -> None:
    from polyvisor.model.devices.controller import Controller

    draft.lists["controllers"].append(Controller(type="virtio-serial", index=index))


# --- POWER --------------------------------------------------------------------------------------


def _on_spapr(kind: str, device: Any, machine: Machine) -> bool:
    """Say whether a device can only be on POWER's own bus."""
    if kind == "interfaces":
        return bool(device.model == "spapr-vlan")
    if kind == "controllers":
        return bool(device.type == "scsi" and device.model == "ibmvscsi")
    if kind == "serials":
        return device.target is not None and device.target.type == "spapr-vio-serial"
    return machine.pseries and getattr(device, "model", None) != "spapr-tpm-proxy"


def assign_spapr(draft: Draft, machine: Machine) -> None:
    """Give POWER's devices their registers (qemuDomainAssignSpaprVIOAddresses)."""
    used = {
        device.address.reg
        for _, _, device in draft.of(*ORDER)
        if isinstance(device.address, SpaprVioAddress) and device.address.reg is not None
    }
    for kind, first in REGISTERS.items():
        for _, number, device in list(draft.of(kind)):
            address = device.address
            if _on_spapr(kind, device, machine) and not isinstance(address, SpaprVioAddress):
                address = SpaprVioAddress()
            if not isinstance(address, SpaprVioAddress):
                continue
            if address.reg is None:
                reg = first
                while reg in used:
                    reg += 0x1000
                used.add(reg)
                address = attrs.evolve(address, reg=reg)
            draft.put(kind, number, address=address)


# --- virtio devices on other buses than PCI -----------------------------------------------------


def _virtio(draft: Draft, *, ccw: bool = False) -> Iterator[tuple[str, int]]:
    """Go through virtio devices without address (qemuDomainPrimeVirtioDeviceAddresses)."""
    tests: dict[str, Any] = {
        "disks": lambda one: one.target is not None and one.target.bus == "virtio",
        "interfaces": lambda one: (one.model or "").startswith("virtio"),
        "videos": lambda one: one.model is not None and one.model.type == "virtio",
        "inputs": lambda one: one.bus == "virtio",
        "controllers": lambda one: one.type in {"virtio-serial", "scsi"},
        "hostdevs": lambda one: one.type == "scsi_host",
        "memballoon": lambda one: one.model != "none",
        "rngs": lambda one: True,
        "memories": lambda one: one.model in {"virtio-pmem", "virtio-mem"},
    }
    if ccw:
        tests |= {"filesystems": lambda one: True, "vsock": lambda one: True}
    for kind, test in tests.items():
        for _, number, device in draft.of(kind):
            if device.address is None and test(device):
                yield kind, number


def assign_z(draft: Draft, machine: Machine) -> None:
    """Give IBM Z's devices their channels (qemuDomainAssignS390Addresses)."""
    if not machine.z or not machine.name.startswith("s390-ccw"):
        return
    if machine.can("vfio-ccw"):
        for kind, number, device in list(draft.of("hostdevs")):
            if device.type == "mdev" and device.model == "vfio-ccw" and device.address is None:
                draft.put(kind, number, address=CcwAddress())
    for kind, number in list(_virtio(draft, ccw=True)):
        draft.put(kind, number, address=CcwAddress())
    used = {
        (device.address.cssid, device.address.ssid, device.address.devno)
        for _, _, device in draft.of(*ORDER)
        if isinstance(device.address, CcwAddress)
    }
    devno = 0
    for kind, number, device in list(draft.of(*ORDER)):
        address = device.address
        if not isinstance(address, CcwAddress) or address.devno is not None:
            continue
        while (0xFE, 0, devno) in used:
            devno += 1
        used.add((0xFE, 0, devno))
        draft.put(kind, number, address=CcwAddress(cssid=0xFE, ssid=0, devno=devno))


def assign_mmio(draft: Draft, machine: Machine) -> None:
    """Let virtio devices of ARM and RISC-V be on PCI, or else in memory."""
    if not machine.virt and not (machine.arm and machine.name.startswith("vexpress-")):
        return
    express = any(one.model == "pcie-root" for _, _, one in draft.of("controllers"))
    already = any(isinstance(one.address, VirtioMmioAddress) for _, _, one in draft.of(*ORDER))
    ports = machine.can("pcie-root-port") or machine.can("ioh3420")
    if express and ports and not already:
        address: Any = PciAddress()
    elif machine.can("virtio-mmio"):
        address = VirtioMmioAddress()
    else:
        return
    for kind, number in list(_virtio(draft)):
        draft.put(kind, number, address=address)
