"""Where devices sit, what they are called and in which order they boot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.model._disk_places import PLACES, disk_bus, disk_index
from polyvisor.model.check._rule import Problem, Severity, at, placed, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices import Device
    from polyvisor.model.devices.controller import Controller
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]

#: How an alias starts that a user chose; others are given anew (USER_ALIAS_PREFIX).
OWN_ALIAS = "ua-"
#: They map sd names to units in a way of their own (VIR_DOMAIN_DEF_FEATURE_WIDE_SCSI).
WIDE_SCSI = frozenset({"vmware"})


@rule("alias-twice", "No two devices have the same alias.")
def _alias(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for tag, number, twins, device in placed(spec.devices):
        alias = device.alias
        # A console may be a serial port seen from the other side, and shares its alias.
        if alias is None or not alias.startswith(OWN_ALIAS) or tag == "console":
            continue
        where = at(tag, number, twins)
        if alias in seen:
            yield Problem(
                f"{where}/alias",
                f"the alias {alias!r} is that of {seen[alias]} already",
                "give each device an alias of its own",
            )
        seen.setdefault(alias, where)


def _is_hvm(spec: DomainSpec) -> bool:
    kind = spec.os.type.name if spec.os.type is not None else None
    return kind == "hvm" or (kind is None and spec.bootloader is None)


@rule("boot-order", "Devices boot in an order without equals, from 1, or <os><boot> says it.")
def _boot_order(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[int, str] = {}
    for tag, number, twins, device in placed(spec.devices):
        order = device.boot.order if device.boot is not None else None
        if order is None:
            continue
        where = at(tag, number, twins)
        if order == 0:
            yield Problem(f"{where}/boot", "the boot order is 0", "count from 1")
        elif order in seen and _is_hvm(spec):
            fault = f"the boot order {order} is that of {seen[order]} already"
            yield Problem(f"{where}/boot", fault, "give each device a number of its own")
        seen.setdefault(order, where)
    if seen and spec.os.boot and _is_hvm(spec):
        yield Problem(
            "domain/os/boot",
            f"<os><boot> stands beside the boot order of {next(iter(seen.values()))}",
            "use one of the two",
        )


@rule(
    "acpi-index-twice",
    "No two devices have the same ACPI index.",
    severity=Severity.WARNING,
)
def _acpi_index(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[int, str] = {}
    for tag, number, twins, device in placed(spec.devices):
        index = device.acpi_index
        if not index:
            continue
        where = at(tag, number, twins)
        if index in seen:
            fault = f"the ACPI index {index} is that of {seen[index]} already"
            yield Problem(f"{where}/acpi", fault, "give each device a number of its own")
        seen.setdefault(index, where)


@rule("address-unassigned", "Only devices of the host can be described and not given.")
def _unassigned(spec: DomainSpec) -> Iterator[Problem]:
    for tag, number, twins, device in placed(spec.devices):
        if device.address is not None and device.address.type == "unassigned" and tag != "hostdev":
            where = at(tag, number, twins)
            fault = "type='unassigned' is for host devices"
            yield Problem(f"{where}/address", fault, "remove the address")


# --- two devices at one place -----------------------------------------------------------------


def _pci(address: Any) -> Any:
    place = (address.domain or 0, address.bus or 0, address.slot or 0, address.function or 0)
    # Slot 0 of bus 0 is the root's own; libvirt takes it for no address at all.
    return place if any(place) else None


def _ccw(address: Any) -> Any:
    if address.devno is None:
        return None
    return (address.cssid or 0, address.ssid or 0, address.devno)


def _usb(address: Any) -> Any:
    return (address.bus or 0, address.port) if address.port else None


def _virtio_serial(address: Any) -> Any:
    if not address.port:
        return None
    return (address.controller or 0, address.bus or 0, address.port)


def _only(name: str) -> Callable[[Any], Any]:
    def place(address: Any) -> Any:
        value = getattr(address, name)
        return None if value is None else (value,)

    return place


#: How the place is read from an address, and how it is shown, by its type; drives are below.
_PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "pci": (_pci, "{:04x}:{:02x}:{:02x}.{:x}"),
    "ccw": (_ccw, "{:x}.{:x}.{:04x}"),
    "usb": (_usb, "bus {} port {}"),
    "virtio-serial": (_virtio_serial, "controller {} bus {} port {}"),
    "spapr-vio": (_only("reg"), "{:#x}"),
    "dimm": (_only("slot"), "slot {}"),
}


@rule("address-twice", "No two devices sit at the same address.")
def _address_twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[tuple[str, Any], tuple[str, int, Sequence[Device]]] = {}
    for tag, number, twins, device in placed(spec.devices):
        address = device.address
        # A console may be a serial port seen from the other side, and stands where that does.
        if address is None or address.type not in _PLACES or (tag == "console" and number == 0):
            continue
        read, form = _PLACES[address.type]
        place = read(address)
        if place is None:
            continue
        key = (address.type, place)
        if key in seen:
            other = at(*seen[key])
            fault = f"the {address.type} address {form.format(*place)} is that of {other} already"
            where = f"{at(tag, number, twins)}/address"
            yield Problem(where, fault, "leave one of the two out to have it chosen")
        else:
            seen[key] = (tag, number, twins)


#: How deep hubs can be put into each other (VIR_DOMAIN_DEVICE_USB_MAX_PORT_DEPTH).
USB_DEPTH = 4


def _usb_port(address: Any) -> str | None:
    if address is None or address.type != "usb":
        return None
    port: str | None = address.port
    return port


@rule("usb-port", "The place on a USB bus is up to four numbers, such as 1.2.")
def _usb_ports(spec: DomainSpec) -> Iterator[Problem]:
    for tag, number, twins, device in placed(spec.devices):
        port = _usb_port(device.address)
        if not port:
            continue
        steps = port.split(".")
        if len(steps) > USB_DEPTH or not all(step.isascii() and step.isdecimal() for step in steps):
            where = f"{at(tag, number, twins)}/address"
            yield Problem(where, f"{port!r} is no port of a USB bus", "use one such as 1 or 1.2")


@rule("zpci-id", "Numbers of the s390 side of a PCI address are not 0 and not used twice.")
def _zpci(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[tuple[str, int], str] = {}
    for tag, number, twins, device in placed(spec.devices):
        zpci = getattr(device.address, "zpci", None)
        if zpci is None:
            continue
        where = at(tag, number, twins)
        if zpci.uid == 0:
            yield Problem(f"{where}/address/zpci", "the uid is 0", "use 0x0001 to 0xffff")
        for name in ("uid", "fid"):
            value = getattr(zpci, name)
            if value is None:
                continue
            if (name, value) in seen:
                fault = f"the {name} {value:#x} is that of {seen[name, value]} already"
                yield Problem(f"{where}/address/zpci", fault, "use another, or leave it out")
            seen.setdefault((name, value), where)


def _drive(address: Any) -> tuple[int, int, int, int]:
    return (address.controller or 0, address.bus or 0, address.target or 0, address.unit or 0)


def _drive_of(disk: Disk, bus: str, spec: DomainSpec) -> tuple[int, int, int, int] | None:
    """Return a disk's drive address: the one given, or what its name implies."""
    if disk.address is not None:
        return _drive(disk.address) if disk.address.type == "drive" else None
    name = disk.target.dev if disk.target is not None else None
    index = disk_index(name)
    if bus not in PLACES or index < 0 or (bus == "scsi" and spec.type in WIDE_SCSI):
        return None
    on_controller, on_bus = PLACES[bus]
    return (index // on_controller, index % on_controller // on_bus, 0, index % on_bus)


@rule("drive-address-twice", "No two disks or SCSI host devices sit at the same drive address.")
def _drive_twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[tuple[str, tuple[int, int, int, int]], str] = {}

    def taken(bus: str, place: tuple[int, int, int, int], where: str) -> Iterator[Problem]:
        if (bus, place) in seen:
            shown = "controller {} bus {} target {} unit {}".format(*place)
            yield Problem(
                where,
                f"the drive address {shown} is that of {seen[bus, place]} already",
                "leave one of the two out, or use another unit",
            )
        seen.setdefault((bus, place), where)

    disks = spec.devices.disks
    for number, disk in enumerate(disks):
        bus = disk_bus(disk)
        place = _drive_of(disk, bus, spec)
        if place is not None:
            yield from taken(bus, place, at("disk", number, disks))
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        address = hostdev.address
        if hostdev.type == "scsi" and address is not None and address.type == "drive":
            yield from taken("scsi", _drive(address), at("hostdev", number, hostdevs))


# --- controllers ------------------------------------------------------------------------------


@rule("controller-twice", "No two controllers of a type have the same index, USB ones aside.")
def _controller_twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[tuple[str | None, int], str] = {}
    controllers = spec.devices.controllers
    for number, controller in enumerate(controllers):
        index = controller.index
        if index is None or controller.type == "usb":
            continue
        where = at("controller", number, controllers)
        key = (controller.type, index)
        if key in seen:
            fault = f"the index {index} of a {controller.type} controller is that of {seen[key]}"
            yield Problem(where, fault, "count them from 0, or leave the index out")
        seen.setdefault(key, where)


#: Roots have no place of their own.
ROOTS = ("pci-root", "pcie-root")
#: Ranges of the numbers by which a guest knows PCI controllers (virDomainControllerDefValidate).
_RANGES = {
    "index": (0, 30),
    "chassis_nr": (1, 255),
    "chassis": (0, 255),
    "port": (0, 255),
    "bus_nr": (1, 254),
}


@rule("controller-pci", "PCI controllers have numbers in range, and roots no place of their own.")
def _pci_controllers(spec: DomainSpec) -> Iterator[Problem]:
    controllers = spec.devices.controllers
    for number, controller in enumerate(controllers):
        if controller.type != "pci":
            continue
        where = at("controller", number, controllers)
        yield from _pci_controller(spec, controller, where)


def _pci_controller(spec: DomainSpec, controller: Controller, where: str) -> Iterator[Problem]:
    index, target = controller.index, controller.target
    # A pSeries guest has a root for each index (PHB).
    if controller.model in ROOTS:
        if controller.address is not None:
            yield Problem(f"{where}/address", f"a {controller.model} has no address", "remove it")
        pseries = (spec.os.machine or "").startswith("pseries") or target is not None
        if index and not pseries:
            yield Problem(where, f"a {controller.model} has the index 0, not {index}", "use 0")
    if index is not None and index > 255:
        yield Problem(where, f"the index {index} is out of range", "use 0 to 255")
    if target is None:
        return
    for name, (low, high) in _RANGES.items():
        value = getattr(target, name)
        # -1 is as if it were not there.
        if value is not None and value != -1 and not low <= value <= high:
            fault = f"{name.replace('_nr', 'Nr')} {value} is out of range"
            yield Problem(f"{where}/target", fault, f"use {low} to {high}")
    if (
        None not in {index, target.index}
        and target.index != -1
        and bool(index) is not bool(target.index)
    ):
        fault = "the first PCI controller, and no other, has the target index 0"
        yield Problem(f"{where}/target", fault, "use another target index")
    if index == 0 and target.node is not None and target.node >= 0:
        fault = "the first PCI controller is on no NUMA node"
        yield Problem(f"{where}/target/node", fault, "remove it")


@rule("usb-disabled", "Where USB is switched off there is nothing that needs it.")
def _usb_off(spec: DomainSpec) -> Iterator[Problem]:
    controllers = spec.devices.controllers
    usb = [number for number, one in enumerate(controllers) if one.type == "usb"]
    if not any(controllers[number].model == "none" for number in usb):
        return
    off = "USB is switched off by a controller of model 'none'"
    for number in usb:
        if controllers[number].model != "none":
            yield Problem(at("controller", number, controllers), off, "remove one of the two")
    for tag, number, twins, device in placed(spec.devices):
        bus = getattr(device, "bus", None)
        target = getattr(device, "target", None)
        needs = (
            (tag in {"input", "redirdev"} and bus == "usb")
            or tag == "hub"
            or (tag == "hostdev" and getattr(device, "type", None) == "usb")
            or (tag == "disk" and target is not None and target.bus == "usb")
        )
        if needs:
            yield Problem(at(tag, number, twins), off, "remove the device or that controller")


@rule("usb-companion", "A companion of a USB 2 controller has its master beside it.")
def _usb_companion(spec: DomainSpec) -> Iterator[Problem]:
    controllers = spec.devices.controllers
    masters = {
        one.index
        for one in controllers
        if one.type == "usb" and (one.model or "").startswith(("ich9-ehci", "ehci"))
    }
    for number, controller in enumerate(controllers):
        companion = controller.type == "usb" and controller.master_startport is not None
        if companion and not masters & {controller.index, None}:
            where = at("controller", number, controllers)
            fault = "there is no USB 2 controller of its index to be the companion of"
            yield Problem(where, fault, "add one of model 'ich9-ehci1'")


RULES = rules_of(vars())
