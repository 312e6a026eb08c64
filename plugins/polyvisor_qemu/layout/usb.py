"""USB: which port of which bus (qemuDomainAssignUSBAddresses)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import SemanticError
from polyvisor.model.devices.address import UsbAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor_qemu.layout.draft import Draft

__all__ = ["assign_usb"]

#: Ports of a hub (VIR_DOMAIN_USB_HUB_PORTS), and how deep hubs can stand.
HUB_PORTS, DEEPEST = 8, 4
#: Ports of a controller by model (virDomainUSBAddressControllerModelToPorts).
PORTS = {"ehci": 6, "ich9-ehci1": 6, "pci-ohci": 3, "nec-xhci": 4, "qemu-xhci": 4, "none": 0} | {
    f"ich9-uhci{number}": 0 for number in (1, 2, 3)
}


class _Hub:
    def __init__(self, ports: int) -> None:
        self.ports = ports
        self.below: dict[int, _Hub | None] = {}

    def free(self, depth: int = 0) -> list[int] | None:
        """Return the way to the first free port, of this hub before those on it."""
        for port in range(1, self.ports + 1):
            if port not in self.below:
                return [port]
        if depth + 1 < DEEPEST:
            for port in sorted(self.below):
                hub = self.below[port]
                if hub is not None and (way := hub.free(depth + 1)) is not None:
                    return [port, *way]
        return None

    def take(self, way: list[int], hub: _Hub | None = None) -> None:
        """Mark a port as taken, by a hub or a device.

        Raises:
            SemanticError: there is no such port.
        """
        here: _Hub = self
        for depth, port in enumerate(way):
            said = ".".join(map(str, way[: depth + 1]))
            if not 1 <= port <= here.ports:
                raise _no_port(f"USB port {said} is not there: there are {here.ports}")
            if depth == len(way) - 1:
                break
            below = here.below.get(port)
            if below is None:
                raise _no_port(f"there is no hub at USB port {said}")
            here = below
        here.below[way[-1]] = hub


def _devices(draft: Draft) -> Iterator[tuple[str, int, Any]]:
    """Go through devices on USB except hubs (virDomainUSBDeviceDefForeach)."""
    tests: dict[str, Any] = {
        "hostdevs": lambda one: one.type == "usb",
        "disks": lambda one: one.target is not None and one.target.bus == "usb",
        "controllers": lambda one: one.type == "ccid",
        "inputs": lambda one: one.bus == "usb",
        "serials": lambda one: one.target is not None and one.target.type == "usb-serial",
        "sounds": lambda one: one.model == "usb",
        "redirdevs": lambda one: one.bus == "usb",
    }
    for kind, test in tests.items():
        for _, number, device in draft.of(kind):
            if test(device):
                yield kind, number, device


def _way(address: Any) -> list[int] | None:
    if not isinstance(address, UsbAddress) or not address.port:
        return None
    return [int(part) for part in address.port.split(".")]


def _add_hubs(draft: Draft, ports: int) -> None:
    """Add hubs until there is a port for every device (qemuDomainUSBAddressAddHubs)."""
    from polyvisor.model.devices.hub import Hub

    hubs = draft.lists["hubs"]
    wanted = len(list(_devices(draft))) + len(hubs)
    there = ports + HUB_PORTS * len(hubs)
    if wanted > there:
        hubs += [Hub(type="usb")] * -(-(wanted - there + 1) // (HUB_PORTS - 1))


def assign_usb(draft: Draft) -> None:
    """Give USB devices their ports.

    Raises:
        SemanticError: there is none left.
    """
    buses: dict[int, _Hub] = {}
    total = 0
    for _, _, controller in draft.of("controllers"):
        if controller.type == "usb":
            ports = PORTS.get(controller.model or "", 2)
            if controller.model in {"nec-xhci", "qemu-xhci"} and controller.ports is not None:
                ports = controller.ports
            total += ports
            if ports:
                buses[controller.index or 0] = _Hub(ports)
    if not buses:
        return
    _add_hubs(draft, total)
    placed = [(d.address, _Hub(HUB_PORTS)) for _, _, d in draft.of("hubs") if _way(d.address)]
    for address, placed_hub in sorted(placed, key=lambda pair: len(_way(pair[0]) or [])):
        _reserve(buses, address, placed_hub)
    for _, _, device in _devices(draft):
        if _way(device.address):
            _reserve(buses, device.address, None)
    for kind, number, device in [*draft.of("hubs"), *_devices(draft)]:
        address = device.address
        if _way(address) or not (address is None or isinstance(address, UsbAddress)):
            continue
        hub = _Hub(HUB_PORTS) if kind == "hubs" else None
        draft.put(kind, number, address=_place(buses, address, hub))


def _reserve(buses: dict[int, _Hub], address: UsbAddress, hub: _Hub | None) -> None:
    bus = buses.get(address.bus or 0)
    if bus is not None:
        bus.take(_way(address) or [], hub)


def _place(buses: dict[int, _Hub], address: UsbAddress | None, hub: _Hub | None) -> UsbAddress:
    wanted = sorted(buses) if address is None else [address.bus or 0]
    for number in wanted:
        bus = buses.get(number)
        if bus is not None and (way := bus.free()) is not None:
            bus.take(way, hub)
            port = ".".join(map(str, way))
            return attrs.evolve(address or UsbAddress(), bus=number, port=port)
    raise _no_port("there is no free USB port")


def _no_port(fault: str) -> SemanticError:
    return SemanticError(
        f"cannot place the devices: {fault}; add a USB controller or a hub",
        element="domain/devices",
        fault=fault,
    )
