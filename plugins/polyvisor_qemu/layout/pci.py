"""PCI: which slot of which bus (qemuDomainAssignPCIAddresses).

The work is done twice: first to learn which buses are missing, then, with controllers added
for them, to place the devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices.address import PciAddress
from polyvisor_qemu.layout.buses import ORDER
from polyvisor_qemu.layout.plugs import Plugs
from polyvisor_qemu.layout.slots import EXPRESS, PCI, Plug, Slots

if TYPE_CHECKING:
    from polyvisor_qemu.layout.draft import Draft
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["assign_pci"]

#: In which order devices are placed, behind PCI controllers (qemuDomainAssignDevicePCISlots).
_PLACED = (
    "filesystems", "interfaces", "sounds", "controllers", "disks", "hostdevs", "memballoon",
    "rngs", "watchdogs", "videos", "shmems", "inputs", "serials", "iommu", "vsock", "memories",
)  # fmt: skip
#: Functions of a USB 2 controller and its companions.
_USB2 = {"ich9-ehci1": 7, "ich9-uhci1": 0, "ich9-uhci2": 1, "ich9-uhci3": 2}
#: What QEMU calls controllers (qemuDomainPCIControllerSetDefaultModelName).
_NAMES = {
    "pci-bridge": "pci-bridge",
    "dmi-to-pci-bridge": "i82801b11-bridge",
    "pcie-to-pci-bridge": "pcie-pci-bridge",
    "pcie-switch-upstream-port": "x3130-upstream",
    "pcie-switch-downstream-port": "xio3130-downstream",
    "pci-expander-bus": "pxb",
    "pcie-expander-bus": "pxb-pcie",
}


def assign_pci(draft: Draft, machine: Machine) -> None:
    """Give PCI devices their slots, adding controllers where they are missing.

    Raises:
        SemanticError: there is no place for one.
    """
    models = _models(draft)
    for kind, number, device in draft.of(*ORDER):
        if _is_placed(device.address):
            draft.put(kind, number, address=_filled(device.address))
    if not models:
        return
    express = "pcie-root" in models.values()
    first = _Pass(draft, machine, express=express, dry=True)
    first.chipset()
    if "pci-root" in models.values() and not all(bus.full for bus in first.slots.buses):
        # A place is kept for a bridge, should one be needed later.
        first.slots.next(PCI)
    first.devices()
    if max(models) == 0 and len(first.slots.buses) > 1 and express:
        # And one port, for a device that is plugged in later.
        first.slots.next(EXPRESS)
    for number, bus in enumerate(first.slots.buses):
        if number and number not in models:
            _add_controller(draft, number, bus.model)
            if not bus.model.endswith("-root"):
                first.slots.next(Plug(bus.model, auto=False, shares=bus.model == "pcie-root-port"))
    second = _Pass(draft, machine, express=express, dry=False)
    second.chipset()
    second.devices()
    if machine.z and machine.can("zpci"):
        _number(draft)
    _say_functions(draft)
    _name_controllers(draft, machine)


def _models(draft: Draft) -> dict[int, str]:
    return {
        controller.index or 0: controller.model
        for _, _, controller in draft.of("controllers")
        if controller.type == "pci" and controller.model is not None
    }


def _is_placed(address: Any) -> bool:
    return isinstance(address, PciAddress) and any(
        (address.domain, address.bus, address.slot, address.function)
    )


def _is_wanted(address: Any) -> bool:
    return address is None or (isinstance(address, PciAddress) and not _is_placed(address))


def _filled(address: PciAddress) -> PciAddress:
    return attrs.evolve(
        address,
        domain=address.domain or 0,
        bus=address.bus or 0,
        slot=address.slot or 0,
        function=address.function or 0,
    )


def _add_controller(draft: Draft, index: int, model: str) -> None:
    from polyvisor.model.devices.controller import Controller

    draft.lists["controllers"].append(Controller(type="pci", index=index, model=model))


class _Pass:
    """One time through all devices.

    Args:
        draft: the devices.
        machine: the machine.
        express: whether it has PCI Express.
        dry: whether buses are added and devices left as they are.
    """

    def __init__(self, draft: Draft, machine: Machine, *, express: bool, dry: bool) -> None:
        self.draft, self.machine, self.dry = draft, machine, dry
        self.plugs = Plugs(machine, express=express)
        fallback = "pcie-root-port" if express else "pci-bridge"
        self.slots = Slots(
            _models(draft),
            "pci-root" if machine.pseries else fallback,
            grows=dry,
            roots=machine.pseries,
            express_bridge=machine.can("pcie-pci-bridge"),
        )
        #: What was chosen in a dry run, where the devices do not say it.
        self.chosen: dict[tuple[str, int], PciAddress] = {}
        for kind, _, device in draft.of(*ORDER):
            address = device.address
            if _is_placed(address) and not self._is_built_in(kind, device) and kind != "consoles":
                plug = self.plugs.of(kind, device) or PCI
                place = address.bus or 0, address.slot or 0, address.function or 0
                self.slots.take(place, plug, told=True)

    def _is_built_in(self, kind: str, device: Any) -> bool:
        """Say whether it is the IDE or USB controller of a PC's chips."""
        address = device.address
        if kind != "controllers" or device.index != 0 or (address.bus or 0, address.slot) != (0, 1):
            return False
        usb = device.type == "usb" and device.model in {None, "piix3-uhci"}
        return (device.type == "ide" and address.function == 1) or (usb and address.function == 2)

    def address(self, kind: str, number: int) -> Any:
        """Return where a device is or was placed."""
        chosen = self.chosen.get((kind, number))
        return chosen or self.draft.lists[kind][number].address

    def put(
        self, kind: str, number: int, place: tuple[int, int, int], multifunction: bool | None = None
    ) -> None:
        """Place a device."""
        old = self.draft.lists[kind][number].address
        address = attrs.evolve(
            old or PciAddress(),
            domain=0,
            bus=place[0],
            slot=place[1],
            function=place[2],
            multifunction=multifunction if old is None else old.multifunction or multifunction,
        )
        if self.dry:
            self.chosen[kind, number] = address
        else:
            self.draft.put(kind, number, address=address)

    # The chips

    def chipset(self) -> None:
        """Place what is part of a PC's chips, and what QEMU places itself."""
        if self.machine.i440fx:
            self._piix3()
        elif self.machine.q35:
            self._ich9()

    def _piix3(self) -> None:
        for kind, number, controller in list(self.draft.of("controllers")):
            place = None
            if controller.index == 0 and controller.type == "ide":
                place = 0, 1, 1
            elif (
                controller.index == 0
                and controller.type == "usb"
                and controller.model in {None, "piix3-uhci"}
            ):
                place = 0, 1, 2
            if place is not None:
                if _is_wanted(controller.address):
                    self.put(kind, number, place)
                self.slots.take(place, PCI)
        for function in (0, 3):
            self.slots.take((0, 1, function), PCI)
        self._first_video(2, PCI)

    def _ich9(self) -> None:
        for kind, number, controller in list(self.draft.of("controllers")):
            slot = None
            if controller.type == "sata" and controller.index == 0:
                if _is_wanted(controller.address):
                    self.put(kind, number, (0, 0x1F, 2))
                    self.slots.take((0, 0x1F, 2), EXPRESS)
            elif controller.model == "ich9-uhci1" and controller.address is None:
                slot = next((one for one in (0x1D, 0x1A) if not self.slots.in_use(one)), None)
            elif controller.model == "dmi-to-pci-bridge" and controller.address is None:
                slot = None if self.slots.in_use(0x1E) else 0x1E
            if slot is not None:
                self.slots.take((0, slot, 0), EXPRESS)
                self.put(kind, number, (0, slot, 0), True if controller.type == "usb" else None)
        for function in (0, 3):
            self.slots.take((0, 0x1F, function), EXPRESS)
        self._first_video(1, EXPRESS)
        if not self.slots.in_use(0x1B):
            for kind, number, sound in list(self.draft.of("sounds")):
                if sound.model == "ich9" and _is_wanted(sound.address):
                    self.slots.take((0, 0x1B, 0), EXPRESS)
                    self.put(kind, number, (0, 0x1B, 0))
                    break

    def _first_video(self, slot: int, plug: Plug) -> None:
        """Place the first video card where QEMU does."""
        for kind, number, video in list(self.draft.of("videos"))[:1]:
            model = None if video.model is None else video.model.type
            if model in {"none", "ramfb"} or not _is_wanted(video.address):
                continue
            if self.slots.in_use(slot):
                self.put(kind, number, self.slots.next(self.plugs.of(kind, video) or PCI))
            else:
                self.slots.take((0, slot, 0), plug)
                self.put(kind, number, (0, slot, 0))

    # All others

    def devices(self) -> None:
        """Place all devices that have no place."""
        for kind, number, controller in list(self.draft.of("controllers")):
            if controller.type == "pci":
                self._place(kind, number, controller)
        for kind in _PLACED:
            if kind == "hostdevs":
                self._interfaces_of_host()
            for _, number, device in list(self.draft.of(kind)):
                if kind == "controllers":
                    first_ide = device.type == "ide" and device.index == 0
                    if device.type == "pci" or first_ide:
                        continue
                    if device.model in _USB2:
                        self._place_usb2(kind, number, device)
                        continue
                self._place(kind, number, device)

    def _interfaces_of_host(self) -> None:
        """Place interfaces that are devices of the host, which stand before other such."""
        for kind, number, interface in list(self.draft.of("interfaces")):
            if interface.type == "hostdev" and _is_wanted(self.address(kind, number)):
                self.put(kind, number, self.slots.next(self.plugs.express))

    def _place(self, kind: str, number: int, device: Any) -> None:
        plug = self.plugs.of(kind, device)
        if plug is not None and _is_wanted(self.address(kind, number)):
            self.put(kind, number, self.slots.next(plug))

    def _place_usb2(self, kind: str, number: int, controller: Any) -> None:
        """Place a USB 2 controller or companion in the slot of the others of its number."""
        if not _is_wanted(self.address(kind, number)):
            return
        function = _USB2[controller.model]
        multifunction = True if function == 0 else None
        for _, other, twin in self.draft.of("controllers"):
            there = self.address("controllers", other)
            if twin.model in _USB2 and twin.index == controller.index and _is_placed(there):
                place = there.bus or 0, there.slot or 0, function
                self.slots.take(place, PCI)
                self.put(kind, number, place, multifunction)
                return
        self.put(kind, number, self.slots.next(PCI, function), multifunction)


def _number(draft: Draft) -> None:
    """Give PCI devices of an IBM Z their numbers (virDomainZPCIAddressReserveNextAddr)."""
    from polyvisor.model.devices.address import Zpci

    placed = [
        (kind, number, device.address)
        for kind, number, device in draft.of(*ORDER)
        if _is_placed(device.address) and kind != "controllers"
    ]
    known = [address.zpci for _, _, address in placed if address.zpci is not None]
    uids, fids = {one.uid for one in known}, {one.fid for one in known}
    # Those that have one number get the other before those that have none.
    for kind, number, address in sorted(placed, key=lambda one: one[2].zpci is None):
        zpci = address.zpci or Zpci()
        uid, fid = zpci.uid, zpci.fid
        if uid is None:
            uid = next(one for one in range(1, 0x10000) if one not in uids)
            uids.add(uid)
        if fid is None:
            fid = next(one for one in range(0x10000) if one not in fids)
            fids.add(fid)
        draft.put(kind, number, address=attrs.evolve(address, zpci=Zpci(uid=uid, fid=fid)))


def _say_functions(draft: Draft) -> None:
    """Say of a slot's first function that there are others (virDomainPCIAddressSetAllMulti)."""
    places = [
        (device.address.bus, device.address.slot)
        for _, _, device in draft.of(*ORDER)
        if _is_placed(device.address) and device.address.function
    ]
    for kind, number, device in list(draft.of(*ORDER)):
        address = device.address
        if (
            _is_placed(address)
            and not address.function
            and (address.bus, address.slot) in places
            and address.multifunction is None
        ):
            draft.put(kind, number, address=attrs.evolve(address, multifunction=True))


def _name_controllers(draft: Draft, machine: Machine) -> None:
    """Say what QEMU calls each controller and by which numbers the guest knows it."""
    from polyvisor.model.devices.controller import ControllerTarget

    for kind, number, controller in list(draft.of("controllers")):
        if controller.type != "pci":
            continue
        model = controller.model
        name = controller.model_name or _NAMES.get(model or "")
        target = controller.target or ControllerTarget()
        slot = (controller.address.slot or 0) if _is_placed(controller.address) else 0
        if model == "pci-bridge":
            target = _set(target, chassis_nr=controller.index)
        elif model == "pcie-root-port":
            name = name or ("pcie-root-port" if machine.can("pcie-root-port") else "ioh3420")
            function = (controller.address.function or 0) if controller.address else 0
            target = _set(target, chassis=controller.index, port=(slot << 3) + function)
        elif model == "pcie-switch-downstream-port":
            target = _set(target, chassis=controller.index, port=slot)
        elif model in {"pci-expander-bus", "pcie-expander-bus"}:
            target = _set(target, bus_nr=_free_bus_number(draft))
        elif model == "pci-root" and machine.pseries:
            name = name or "spapr-pci-host-bridge"
            target = _set(target, index=_free_index(draft) if controller.index else 0)
        held = controller.target if target == ControllerTarget() else target
        draft.put(kind, number, model_name=name, target=held)


def _set(target: Any, **fields: int | None) -> Any:
    missing = {name: value for name, value in fields.items() if getattr(target, name) is None}
    return attrs.evolve(target, **missing) if missing else target


def _free_index(draft: Draft) -> int:
    """Return the lowest target index that no host bridge has."""
    used = {one.target.index for _, _, one in draft.of("controllers") if one.target is not None}
    return next(number for number in range(1, 32) if number not in used)


def _free_bus_number(draft: Draft) -> int:
    """Return a bus number for an expander (qemuDomainAddressFindNewBusNr)."""
    lowest = min(
        (
            one.target.bus_nr
            for _, _, one in draft.of("controllers")
            if one.target is not None and one.target.bus_nr is not None
        ),
        default=256,
    )
    return lowest - 2
