"""Devices of running guests: as libxl takes them, one at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["CHANGEABLE", "attach", "detach"]

#: The lists of a definition's devices that can change, with libxl's name for what is in
#: them and the field of its configuration that has them.
CHANGEABLE = {
    "disks": ("disk", "disks"),
    "interfaces": ("nic", "nics"),
    "hostdevs": ("pci", "pcidevs"),
}


def attach(hypervisor: LibxlHypervisor, guest: Guest, kind: str, spec: DomainSpec) -> None:
    """Have libxl add the last device of a kind, as it is numbered in the new definition."""
    domid = hypervisor.domid(guest, "attach a device")
    place = len(getattr(spec.devices, kind)) - 1
    text = _native(hypervisor, spec, kind, place)
    hypervisor.context.change_device(domid, guest.name, CHANGEABLE[kind][0], text, add=True)


def detach(hypervisor: LibxlHypervisor, guest: Guest, kind: str, device: Any) -> None:
    """Have libxl remove a device, as it is numbered in the definition that has it."""
    domid = hypervisor.domid(guest, "detach a device")
    place = getattr(guest.spec.devices, kind).index(device)
    text = _native(hypervisor, guest.spec, kind, place)
    hypervisor.context.change_device(domid, guest.name, CHANGEABLE[kind][0], text, add=False)


def _native(hypervisor: LibxlHypervisor, spec: DomainSpec, kind: str, place: int) -> str:
    """Return a device as libxl's JSON, out of a definition that has it."""
    return json.dumps(json.loads(hypervisor.native(spec))[CHANGEABLE[kind][1]][place])
