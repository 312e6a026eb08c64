"""What a running QEMU has in it: its definition with every address, and devices' names.

Names and addresses are chosen when a guest starts, from all of its devices. Of a guest that
has changed they cannot be told from what is left, so they are kept among its runtime facts
from the first change on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec

__all__ = ["Plugged", "devices_of", "with_devices"]


class Plugged:
    """The devices of one guest, kept in its runtime facts.

    Args:
        guest: the guest, locked.

    Attributes:
        spec: its definition; every device has its address.
    """

    def __init__(self, guest: Guest) -> None:
        from polyvisor.model import DomainSpec
        from polyvisor_qemu.layout import laid_out

        self._guest = guest
        kept = guest.runtime.get("plugged")
        if kept is None:
            self.spec = laid_out(guest.spec, live=True)
            self._names = _names(self.spec)
            self._behind: dict[str, list[list[str]]] = {}
        else:
            self.spec = DomainSpec.from_xml(kept["xml"])
            # Copies: what is recorded must not change before it is recorded anew.
            self._names = {kind: list(names) for kind, names in kept["names"].items()}
            self._behind = dict(kept.get("behind", {}))

    def name(self, kind: str, device: Any) -> str:
        """Return what QEMU calls a device of the guest's live definition.

        Raises:
            HypervisorError: it has no name, since it is a part of the machine.
        """
        if device.alias is not None:
            return str(device.alias)
        names = self._names.get(kind, [])
        place = self._place(kind, device)
        if place >= len(names):
            raise HypervisorError(f"{self._guest.name!r}: QEMU has no name for such a device")
        return str(names[place])

    def add(self, kind: str, device: Any, behind: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Note that a device, with address and name, has come.

        Args:
            kind: the field of ``devices`` that holds it.
            device: the device.
            behind: the options that stand behind it, in their order.
        """
        there = devices_of(self.spec, kind)
        self._behind[device.alias] = [
            [option, key, values[key]]
            for option, values in behind
            for key in ("id", "node-name")
            if key in values
        ]
        self._keep(with_devices(self.spec, kind, (*there, device)))

    def change(self, kind: str, name: str, device: Any) -> None:
        """Note that a device of that name is another one now; its place stays its own."""
        names = iter(self._names.get(kind, ()))
        changed = tuple(
            attrs.evolve(device, address=one.address, alias=one.alias)
            if (one.alias or next(names, None)) == name
            else one
            for one in devices_of(self.spec, kind)
        )
        self._keep(with_devices(self.spec, kind, changed))

    def behind(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what stands behind a device that has come, in the order in which it came."""
        return [(option, {key: value}) for option, key, value in self._behind.pop(name, [])]

    def remove(self, kind: str, device: Any) -> None:
        """Note that a device of the live definition has gone."""
        there = devices_of(self.spec, kind)
        if device.alias is not None:
            left = tuple(one for one in there if one.alias != device.alias)
        else:
            place = self._place(kind, device)
            unnamed = [one for one in there if one.alias is None]
            gone = unnamed[place]
            left = tuple(one for one in there if one is not gone)
            del self._names[kind][place]
        self._keep(with_devices(self.spec, kind, left))

    def _place(self, kind: str, device: Any) -> int:
        """Return the place among the devices that have been there from the start."""
        live = [one for one in devices_of(self._guest.spec, kind) if one.alias is None]
        return live.index(device)

    def _keep(self, spec: DomainSpec) -> None:
        self.spec = spec
        self._guest.runtime["plugged"] = {
            "xml": spec.to_xml(),
            "names": self._names,
            "behind": self._behind,
        }


def devices_of(spec: DomainSpec, kind: str) -> tuple[Any, ...]:
    """Return the devices of a kind; of some there is one at most."""
    found: tuple[Any, ...] | None = getattr(spec.devices, kind)
    if isinstance(found, tuple):
        return found
    return () if found is None else (found,)


def with_devices(spec: DomainSpec, kind: str, devices: tuple[Any, ...]) -> DomainSpec:
    """Return a definition with other devices of a kind."""
    held: Any = devices
    if not isinstance(getattr(spec.devices, kind), tuple):
        held = devices[0] if devices else None
    changes: dict[str, Any] = {kind: held}
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, **changes))


def _names(spec: DomainSpec) -> dict[str, list[str]]:
    from polyvisor_qemu.cmdline.names import COUNTED, Names
    from polyvisor_qemu.layout import MODERN
    from polyvisor_qemu.layout.machines import Machine

    machine = Machine.of(spec, MODERN)
    names = Names(spec, "pcie.0" if machine.q35 or machine.virt else "pci.0")
    held = spec.devices
    found = {
        kind: [
            names.counted(kind, place, one)
            for place, one in enumerate(getattr(held, kind))
            if one.alias is None
        ]
        for kind in COUNTED
        if kind != "interfaces"
    }
    found["disks"] = [names.disk(one) for one in held.disks if one.alias is None]
    hostdevs = len(held.hostdevs)
    found["interfaces"] = [
        names.interface(place, one, hostdevs)
        for place, one in enumerate(held.interfaces)
        if one.alias is None
    ]
    found["controllers"] = [
        names.controller(one.type or "", one.index) for one in held.controllers if one.alias is None
    ]
    # As qemuAssignDeviceAliases of libvirt's qemu_alias.c calls them.
    for kind, name in (("vsock", "vsock0"), ("memballoon", "balloon0")):
        found[kind] = [name for one in devices_of(spec, kind) if one.alias is None]
    found["memories"] = [
        names.module(one, place) for place, one in enumerate(held.memories) if one.alias is None
    ]
    return found
