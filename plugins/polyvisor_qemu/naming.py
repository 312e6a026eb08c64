"""What QEMU calls the devices of a running guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.interface import Interface

__all__ = ["disk_names", "interface_device", "qdev_name", "with_identity"]


#: The bus that the first letters of a target stand for (virDiskNameToBusDeviceIndex).
_BUSES = {"hd": "ide", "sd": "scsi", "vd": "virtio", "fd": "fdc"}


def disk_names(disk: Disk) -> Iterator[str]:
    """Give the names that a disk's device may have, the likeliest first."""
    if disk.alias is not None:
        yield disk.alias
    bus: str | None = disk.target.bus if disk.target is not None else None
    place = disk.address
    if place is not None and place.__class__.__name__ == "DriveAddress":
        where = [getattr(place, name) or 0 for name in ("controller", "bus", "target", "unit")]
        if bus != "scsi":
            del where[2]
        yield f"{bus}{'-'.join(map(str, where))}"
    elif disk.target is not None and disk.target.dev is not None:
        index = _index(disk.target.dev)
        bus = bus or _BUSES.get(disk.target.dev[:2])
        # virDomainDiskDefAssignAddress of libvirt's domain_conf.c.
        if bus == "ide":
            yield f"ide{index // 4}-{index % 4 // 2}-{index % 2}"
        elif bus == "sata":
            yield f"sata{index // 6}-0-{index % 6}"
        elif bus == "fdc":
            yield f"fdc{index // 2}-0-{index % 2}"
        elif bus == "scsi":
            yield f"scsi{index // 7}-0-0-{index % 7}"
            yield f"scsi{index // 15}-0-{index % 15 + (index % 15 > 6)}-0"
            yield f"scsi{index // 15}-0-0-{index % 15 + (index % 15 > 6)}"
        yield f"{bus}-disk{index}"


def qdev_name(backend: dict[str, Any]) -> str:
    """Return the name of the device that a block backend belongs to, as QEMU tells of it."""
    path = str(backend.get("qdev") or backend.get("device") or "")
    return path.split("/")[3] if path.startswith("/machine/peripheral/") else path


def interface_device(interface: Interface) -> str | None:
    """Return the host's network device behind an interface, or ``None``."""
    return None if interface.type == "user" else interface.target


def with_identity(interface: Interface) -> Interface:
    """Return an interface with what it is known by.

    That is a MAC, of QEMU's and KVM's range if it has none, and for a port of Open vSwitch a
    UUID (virNetDevVPortProfileParse).
    """
    import os

    import attrs

    from polyvisor.model.devices.interface import Mac, VirtualPortParameters

    port = interface.virtualport
    told = port.parameters if port is not None else None
    if port is not None and port.type == "openvswitch" and (told is None or not told.interfaceid):
        from uuid import uuid4

        told = attrs.evolve(told or VirtualPortParameters(), interfaceid=str(uuid4()))
        interface = attrs.evolve(interface, virtualport=attrs.evolve(port, parameters=told))
    if interface.mac is not None and interface.mac.address:
        return interface
    octets = bytes((0x52, 0x54, 0x00)) + os.urandom(3)
    mac = attrs.evolve(interface.mac or Mac(), address=octets.hex(":"))
    return attrs.evolve(interface, mac=mac)


def _index(name: str) -> int:
    """Return the number that a target's letters stand for: ``vda`` 0, ``vdaa`` 26."""
    number = 0
    for letter in name[2:].rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1
