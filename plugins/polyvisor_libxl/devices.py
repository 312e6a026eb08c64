"""Changing guests while Xen runs them: devices, virtual CPUs, memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from polyvisor.local import ChangesGuests
from polyvisor_libxl.hypervisor import LibxlHypervisor

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec

__all__ = ["ChangingLibxl"]

#: The lists of a definition's devices that can change, with libxl's name for what is in
#: them and the field of its configuration that has them.
_LISTS = {
    "disks": ("disk", "disks"),
    "interfaces": ("nic", "nics"),
    "hostdevs": ("pci", "pcidevs"),
}


class ChangingLibxl(LibxlHypervisor, ChangesGuests):
    """Xen with disks, network interfaces and PCI devices of the host that come and go."""

    changeable: ClassVar[tuple[str, ...]] = tuple(_LISTS)

    def attach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
        """Have libxl add it, as it numbers it among all devices of the new definition."""
        place = len(getattr(spec.devices, kind)) - 1
        self._change(guest, "attach a device", kind, self._native(spec, kind, place), add=True)
        return device

    def detach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """Have libxl remove it, as it is numbered in the definition that has it."""
        before = guest.spec
        place = getattr(before.devices, kind).index(device)
        self._change(guest, "detach a device", kind, self._native(before, kind, place), add=False)

    def set_vcpus(self, guest: Guest, count: int) -> None:
        """Tell the guest which of its virtual CPUs are on."""
        self.context.set_vcpus(self.domid(guest, "set vCPUs"), guest.name, count)

    def set_memory(self, guest: Guest, size: int) -> None:
        """Set the target of the guest's balloon."""
        self.context.set_memory(self.domid(guest, "set memory"), guest.name, size)

    def _change(self, guest: Guest, what: str, kind: str, text: str, *, add: bool) -> None:
        domid = self.domid(guest, what)
        self.context.change_device(domid, guest.name, _LISTS[kind][0], text, add=add)

    def _native(self, spec: DomainSpec, kind: str, place: int) -> str:
        """Return a device as libxl's JSON, out of a definition that has it."""
        return json.dumps(json.loads(self.native(spec))[_LISTS[kind][1]][place])
