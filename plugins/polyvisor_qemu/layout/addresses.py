"""Where every device sits (qemuDomainAssignAddresses)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import SemanticError
from polyvisor_qemu.layout.buses import assign_channels, assign_mmio, assign_spapr, assign_z
from polyvisor_qemu.layout.draft import Draft
from polyvisor_qemu.layout.memory import assign_memory_slots
from polyvisor_qemu.layout.pci import assign_pci
from polyvisor_qemu.layout.usb import assign_usb

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["addressed"]


def addressed(spec: DomainSpec, machine: Machine, *, new: bool) -> DomainSpec:
    """Return a definition whose devices all have their addresses.

    Args:
        spec: the definition.
        machine: its machine.
        new: whether USB devices get their ports.

    Raises:
        SemanticError: there is no place for one.
    """
    _check_nodes(spec)
    draft = Draft(spec.devices)
    assign_channels(draft)
    assign_spapr(draft, machine)
    assign_z(draft, machine)
    assign_mmio(draft, machine)
    assign_pci(draft, machine)
    if new:
        assign_usb(draft)
    if spec.max_memory is not None:
        assign_memory_slots(draft)
    _let_twins_be_equal(draft)
    return attrs.evolve(spec, devices=draft.done())


def _check_nodes(spec: DomainSpec) -> None:
    """Refuse a PCI controller at a NUMA cell that the guest has not."""
    numa = None if spec.cpu is None else spec.cpu.numa
    cells = 0 if numa is None else len(numa.cells)
    for controller in spec.devices.controllers:
        node = None if controller.target is None else controller.target.node
        if node is not None and node >= cells:
            fault = f"the {controller.model} {controller.index} is at NUMA node {node}"
            raise SemanticError(
                f"cannot place the devices: {fault}, and the guest has {cells} cells; add one to "
                f"<cpu><numa> or remove <node>",
                element="domain/devices/controller/target/node",
                fault=fault,
            )


def _let_twins_be_equal(draft: Draft) -> None:
    """Let the first console, where it is a serial port's other name, be at its address."""
    consoles, serials = draft.lists["consoles"], draft.lists["serials"]
    if consoles and serials:
        target = consoles[0].target
        if target is not None and target.type == "serial":
            draft.put("consoles", 0, address=serials[0].address)
