"""Memory modules and their slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from polyvisor_qemu.layout.draft import Draft

__all__ = ["assign_memory_slots"]


def assign_memory_slots(draft: Draft) -> None:
    """Give each module the next free slot (qemuDomainAssignMemorySlots)."""
    from polyvisor.model.devices.address import DimmAddress

    modules = [
        (number, module)
        for _, number, module in draft.of("memories")
        if module.model in {"dimm", "nvdimm"}
    ]
    used = {
        module.address.slot
        for _, module in modules
        if isinstance(module.address, DimmAddress) and module.address.slot is not None
    }
    for number, module in modules:
        address = module.address
        if address is not None and (
            not isinstance(address, DimmAddress) or address.slot is not None
        ):
            continue
        slot = 0
        while slot in used:
            slot += 1
        used.add(slot)
        draft.put("memories", number, address=attrs.evolve(address or DimmAddress(), slot=slot))
