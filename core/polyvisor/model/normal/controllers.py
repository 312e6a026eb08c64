"""Controllers: their numbers and order, and those that other devices need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model._codecs import Fault
from polyvisor.model.devices.address import CcidAddress, DriveAddress, VirtioSerialAddress
from polyvisor.model.devices.controller import Controller
from polyvisor.model.normal.change import changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from polyvisor.model.devices.controller import ControllerType
    from polyvisor.model.devices.smartcard import Smartcard
    from polyvisor.model.domain import DomainSpec

__all__ = ["controllers"]


#: Controllers are added up to the number that a device names: here that ends.
MOST = 4095
#: First ports of a USB 2 controller's companions when they say none (virDomainControllerDefParse).
MASTER_PORTS = {"ich9-uhci1": 0, "ich9-uhci2": 2, "ich9-uhci3": 4}


def controllers(
    spec: DomainSpec,
    own: Callable[[tuple[Controller, ...]], Iterable[Controller]] | None = None,
) -> DomainSpec:
    """Number and order controllers, and add those that devices hang on.

    Args:
        spec: the definition.
        own: the controllers that the machine has by itself, given those that are stated.
    """
    smartcards = _on_readers(spec.devices.smartcards)
    spec = changed(spec, devices=changed(spec.devices, smartcards=smartcards))
    known = list(_ordered(spec.devices.controllers))
    if own is not None:
        known += own(tuple(known))
    there: set[tuple[str | None, int | None]] = {(one.type, one.index) for one in known}
    for kind, count in _needed(spec):
        if count > MOST:
            raise Fault(f"a device is on {kind} controller {count}", f"use one up to {MOST}")
        for index in range(count + 1) if kind not in {"virtio-serial", "ccid"} else [count]:
            if (kind, index) not in there:
                there.add((kind, index))
                known.append(Controller(type=kind, index=index))
    return changed(spec, devices=changed(spec.devices, controllers=tuple(known)))


def _ordered(given: Iterable[Controller]) -> list[Controller]:
    """Return controllers in libvirt's order, each with its number."""
    known: list[Controller] = []
    for controller in given:
        port = MASTER_PORTS.get(controller.model or "")
        if controller.type == "usb" and controller.master_startport is None and port is not None:
            controller = changed(controller, master_startport=port)
        _insert(known, controller)
    return _numbered(known)


def _insert(known: list[Controller], new: Controller) -> None:
    """Put one where libvirt does: by number among its type (virDomainControllerInsert)."""
    place = None
    for number in range(len(known) - 1, -1, -1):
        here = known[number]
        if here.type != new.type:
            continue
        if new.index is None:
            place = number + 1
            break
        index = -1 if here.index is None else here.index
        if index > new.index or (
            index == new.index
            and new.master_startport is None
            and here.master_startport is not None
        ):
            place = number
        elif place is None:
            place = number + 1
    known.insert(len(known) if place is None else place, new)


#: Companions of a USB 2 controller share its number (virDomainAssignControllerIndexes).
COMPANIONS = {"ich9-uhci1", "ich9-uhci2", "ich9-uhci3"}


def _numbered(known: list[Controller]) -> list[Controller]:
    result: list[Controller] = []
    used = {(c.type, c.index) for c in known if c.index is not None}
    free: dict[str | None, int] = {}
    for place, controller in enumerate(known):
        if controller.index is None:
            index = None
            if controller.type == "usb" and (controller.model or "") in COMPANIONS | {"ich9-ehci1"}:
                index = _shared(controller, result[:place])
            if index is None:
                index = free.get(controller.type, 0)
                while (controller.type, index) in used:
                    index += 1
                free[controller.type] = index
            used.add((controller.type, index))
            controller = changed(controller, index=index)
        result.append(controller)
    return result


def _shared(controller: Controller, before: list[Controller]) -> int | None:
    """Return the number of the USB controller before it that lacks this companion."""
    for other in reversed(before):
        if other.type == "usb" and other.model in COMPANIONS | {"ich9-ehci1"}:
            alike = any(c.index == other.index and c.model == controller.model for c in before)
            return None if alike else other.index
    return None


def _needed(spec: DomainSpec) -> Iterator[tuple[ControllerType, int]]:
    """Yield type and number of controllers that devices hang on."""
    held = spec.devices
    kinds: tuple[ControllerType, ...] = ("scsi", "fdc", "ide", "sata")
    for kind in kinds:
        highest = _highest(
            disk.address.controller
            for disk in held.disks
            if disk.target is not None
            and disk.target.bus == kind
            and isinstance(disk.address, DriveAddress)
        )
        if highest >= 0:
            yield kind, highest
    for device in (*held.channels, *held.consoles):
        if device.target is not None and device.target.type == "virtio":
            address = device.address
            on = address.controller if isinstance(address, VirtioSerialAddress) else 0
            yield "virtio-serial", on or 0
    for card in held.smartcards:
        if isinstance(card.address, CcidAddress):
            yield "ccid", card.address.controller or 0
    highest = _highest(
        hostdev.address.controller
        for hostdev in held.hostdevs
        if hostdev.type == "scsi" and isinstance(hostdev.address, DriveAddress)
    )
    if highest >= 0:
        yield "scsi", highest


def _highest(numbers: Iterable[int | None]) -> int:
    return max((number or 0 for number in numbers), default=-1)


def _on_readers(cards: tuple[Smartcard, ...]) -> tuple[Smartcard, ...]:
    """Give smart cards their slots (virDomainDefMaybeAddSmartcardController)."""
    slots = [
        c.address.slot or 0
        for c in cards
        if isinstance(c.address, CcidAddress) and not c.address.controller
    ]
    highest = max(slots, default=-1)
    result = []
    for card in cards:
        if card.address is None:
            highest += 1
            card = changed(card, address=CcidAddress(controller=0, slot=highest))
        result.append(card)
    return tuple(result)
