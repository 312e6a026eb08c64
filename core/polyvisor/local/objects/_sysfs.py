"""The devices of this machine, as Linux tells of them below ``/sys``, and libvirt's names for them.

The files are those of the kernel's ABI/testing: sysfs-bus-pci, sysfs-bus-usb, sysfs-class-net,
sysfs-block, sysfs-bus-vfio-mdev.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any
from uuid import UUID

import attrs

from polyvisor.local.objects._ethtool import offloads
from polyvisor.model.devices.hostdev import HostPciAddress
from polyvisor.model.interface import InterfaceLink
from polyvisor.model.node_device import DevNode, NodeDeviceParent, NodeDeviceSpec, NodeDriver
from polyvisor.model.node_device_capability import (
    DeviceId,
    DrmCapability,
    NetCapability,
    NetKindCapability,
    StorageCapability,
    SystemCapability,
    SystemFirmware,
    SystemHardware,
    UsbDeviceCapability,
    UsbInterfaceCapability,
)
from polyvisor.model.node_device_mdev import MdevCapability, MdevType, MdevTypesCapability
from polyvisor.model.node_device_pci import (
    BridgeCapability,
    IommuGroup,
    PciCapability,
    PhysFunctionCapability,
    VirtFunctionsCapability,
)

__all__ = ["COMPUTER", "Device", "devices", "spec", "text"]

#: The name of the machine itself.
COMPUTER = "computer"
_ADDRESS = re.compile(r"([0-9a-f]{4,}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$")
#: Block devices that are drives, by how their names begin.
_DRIVES = (("sr", "cdrom"), ("fd", "floppy"), ("vd", "disk"), ("sd", "disk"), ("xvd", "disk"),
           ("nvme", "disk"), ("mmcblk", "sd"))  # fmt: skip
#: Classes of bridges: to PCI, to CardBus (PCI's code and ID assignment specification).
_BRIDGES: dict[int, Any] = {0x0604: "pci-bridge", 0x0607: "cardbus-bridge"}
_ETHERNET = "1"


@attrs.frozen
class Device:
    """A device that is there.

    Attributes:
        name: libvirt's name for it.
        kind: what it is, as in ``<capability type=``.
        path: its folder; that of the machine is ``""``.
    """

    name: str
    kind: str
    path: str


def devices(root: str = "/") -> dict[str, Device]:
    """Return all devices by name.

    Args:
        root: where ``sys`` is.
    """
    found = [Device(COMPUTER, "system", "")]
    found += [
        Device(_named("pci", os.path.basename(path)), "pci", path)
        for path in _below(f"{root}sys/bus/pci/devices")
    ]
    for path in _below(f"{root}sys/bus/usb/devices"):
        kind = "usb" if ":" in os.path.basename(path) else "usb_device"
        found.append(Device(_named("usb", os.path.basename(path)), kind, path))
    for path in _below(f"{root}sys/class/net"):
        mac = text(f"{path}/address")
        found.append(Device(_named("net", os.path.basename(path), mac), "net", path))
    for path in _below(f"{root}sys/block"):
        if _drive(path, root) is not None:
            serial = _udev(path, root).get("ID_SERIAL", "")
            found.append(Device(_named("block", os.path.basename(path), serial), "storage", path))
    found += [
        Device(_named("drm", os.path.basename(path)), "drm", path)
        for path in _below(f"{root}sys/class/drm")
        if re.match(r"(card|renderD)\d+$", os.path.basename(path))
    ]
    for path in _below(f"{root}sys/bus/mdev/devices"):
        parent = os.path.basename(os.path.dirname(path))
        found.append(Device(_named("mdev", os.path.basename(path), parent), "mdev", path))
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def spec(device: Device, others: dict[str, Device], root: str = "/") -> NodeDeviceSpec:
    """Return what is known of a device.

    Args:
        device: the device.
        others: all devices, of which one is its parent.
        root: where ``sys`` and ``dev`` are.
    """
    if device.kind == "system":
        return NodeDeviceSpec(name=COMPUTER, capabilities=(_system(root),))
    nodes = _nodes(device, root)
    driver = _link(f"{device.path}/driver")
    return NodeDeviceSpec(
        name=device.name,
        path="/" + device.path.removeprefix(root),
        devnodes=tuple(DevNode(type="dev", path=one) for one in nodes),
        parent=NodeDeviceParent(name=parent(device, others)),
        driver=NodeDriver(name=driver) if driver else None,
        capabilities=(_CAPABILITIES[device.kind](device.path, root),),
    )


def parent(device: Device, others: dict[str, Device]) -> str | None:
    """Return the name of the device that it hangs on."""
    if device.kind == "system":
        return None
    by_path = {one.path: one.name for one in others.values() if one.path}
    path = os.path.dirname(device.path)
    while len(path) > 1:
        if path in by_path:
            return by_path[path]
        path = os.path.dirname(path)
    return COMPUTER


def text(path: str) -> str:
    """Return what a file says; nothing where there is none, or it may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def _number(path: str, base: int = 10) -> int | None:
    try:
        return int(text(path), base)
    except ValueError:
        return None


def _link(path: str) -> str:
    """Return the name of what a link leads to; nothing where there is none."""
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return ""


def _below(folder: str) -> Iterator[str]:
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            yield os.path.realpath(f"{folder}/{name}")


def _named(*words: str) -> str:
    """Return libvirt's name for a device (udevGenerateDeviceName)."""
    return re.sub(r"[^A-Za-z0-9]", "_", "_".join(word for word in words if word))


def _udev(path: str, root: str) -> dict[str, str]:
    """Return what udev keeps of a block device, by its names; nothing where it does not run."""
    rows = text(f"{root}run/udev/data/b{text(f'{path}/dev')}").splitlines()
    pairs = (row.removeprefix("E:").partition("=") for row in rows if row.startswith("E:"))
    return {name: value for name, _, value in pairs}


def _drive(path: str, root: str) -> str | None:
    """Return what kind of drive a block device is; ``None``: it is none."""
    name, told = os.path.basename(path), _udev(path, root).get("ID_TYPE")
    kinds = (kind for begin, kind in _DRIVES if re.match(rf"{begin}[a-z0-9]", name))
    return told or next(kinds, None)


def _nodes(device: Device, root: str) -> list[str]:
    """Return its files below ``/dev``."""
    for line in text(f"{device.path}/uevent").splitlines():
        if line.startswith("DEVNAME="):
            return [f"/dev/{line.partition('=')[2]}"]
    return []


def _address(name: str) -> HostPciAddress | None:
    found = _ADDRESS.match(name)
    if found is None:
        return None
    domain, bus, slot, function = (int(part, 16) for part in found.groups())
    return HostPciAddress(domain=domain, bus=bus, slot=slot, function=function)


def _system(root: str) -> SystemCapability:
    dmi = f"{root}sys/class/dmi/id"
    uuid = None
    with suppress(ValueError):
        uuid = UUID(text(f"{dmi}/product_uuid"))
    return SystemCapability(
        product=text(f"{dmi}/product_name") or None,
        hardware=SystemHardware(
            vendor=text(f"{dmi}/sys_vendor") or None,
            version=text(f"{dmi}/product_version") or None,
            serial=text(f"{dmi}/product_serial") or None,
            uuid=uuid,
        ),
        firmware=SystemFirmware(
            vendor=text(f"{dmi}/bios_vendor") or None,
            version=text(f"{dmi}/bios_version") or None,
            release_date=text(f"{dmi}/bios_date") or None,
        ),
    )


def _pci(path: str, root: str) -> PciCapability:
    at = _address(os.path.basename(path))
    assert at is not None
    kind = _number(f"{path}/class", 16)
    vendor, product = _number(f"{path}/vendor", 16), _number(f"{path}/device", 16)
    names = _names(f"{root}usr/share/misc/pci.ids")
    nested: list[Any] = []
    if (physical := _address(_link(f"{path}/physfn"))) is not None:
        nested.append(PhysFunctionCapability(address=physical))
    most = _number(f"{path}/sriov_totalvfs")
    if most:
        nested.append(VirtFunctionsCapability(max_count=most, addresses=_functions(path)))
    if kind is not None and kind >> 8 in _BRIDGES:
        nested.append(BridgeCapability(type=_BRIDGES[kind >> 8]))
    if types := _mdev_types(path):
        nested.append(MdevTypesCapability(types=types))
    node = _number(f"{path}/numa_node")
    return PciCapability(
        pci_class=kind,
        domain=at.domain or 0,
        bus=at.bus or 0,
        slot=at.slot or 0,
        function=at.function or 0,
        product=DeviceId(id=product, name=names.get((vendor, product))),
        vendor=DeviceId(id=vendor, name=names.get((vendor, None))),
        capabilities=tuple(nested),
        iommu_group=_group(path),
        numa_node=node if node is not None and node >= 0 else None,
    )


def _functions(path: str) -> tuple[HostPciAddress, ...]:
    """Return the virtual functions that a device has, in their order."""
    with suppress(OSError):
        numbers = sorted(
            int(name.removeprefix("virtfn"))
            for name in os.listdir(path)
            if name.startswith("virtfn")
        )
        found = (_address(_link(f"{path}/virtfn{number}")) for number in numbers)
        return tuple(one for one in found if one is not None)
    return ()


def _group(path: str) -> IommuGroup | None:
    number = _link(f"{path}/iommu_group")
    if not number.isdigit():
        return None
    names = [os.path.basename(one) for one in _below(f"{path}/iommu_group/devices")]
    found = [one for one in map(_address, names) if one is not None]
    return IommuGroup(number=int(number), addresses=tuple(found))


def _mdev_types(path: str) -> tuple[MdevType, ...]:
    found = []
    for one in _below(f"{path}/mdev_supported_types"):
        interface: Any = text(f"{one}/device_api") or None
        found.append(
            MdevType(
                id=os.path.basename(one),
                name=text(f"{one}/name") or None,
                device_api=interface,
                available_instances=_number(f"{one}/available_instances"),
            )
        )
    return tuple(found)


@cache
def _names(path: str) -> dict[tuple[int | None, int | None], str]:
    """Return names of vendors and their products (pci.ids, usb.ids: one form)."""
    found: dict[tuple[int | None, int | None], str] = {}
    vendor = None
    for line in text(path).splitlines():
        if line.startswith("C "):
            break  # Classes follow.
        entry = re.match(r"(\t?)([0-9a-f]{4})  (.+)", line)
        if entry is None:
            continue
        number = int(entry[2], 16)
        if entry[1]:
            found[vendor, number] = entry[3]
        else:
            vendor = number
            found[vendor, None] = entry[3]
    return found


def _usb_device(path: str, root: str) -> UsbDeviceCapability:
    return UsbDeviceCapability(
        bus=_number(f"{path}/busnum"),
        device=_number(f"{path}/devnum"),
        product=DeviceId(id=_number(f"{path}/idProduct", 16), name=text(f"{path}/product") or None),
        vendor=DeviceId(
            id=_number(f"{path}/idVendor", 16), name=text(f"{path}/manufacturer") or None
        ),
    )


def _usb(path: str, root: str) -> UsbInterfaceCapability:
    return UsbInterfaceCapability(
        number=_number(f"{path}/bInterfaceNumber", 16),
        usb_class=_number(f"{path}/bInterfaceClass", 16),
        subclass=_number(f"{path}/bInterfaceSubClass", 16),
        protocol=_number(f"{path}/bInterfaceProtocol", 16),
        description=text(f"{path}/interface") or None,
    )


def _net(path: str, root: str) -> NetCapability:
    state: Any = text(f"{path}/operstate") or None
    speed = _number(f"{path}/speed")
    wireless = os.path.isdir(f"{path}/wireless") or os.path.isdir(f"{path}/phy80211")
    kinds: list[NetKindCapability] = []
    if wireless:
        kinds.append(NetKindCapability(type="80211"))
    elif text(f"{path}/type") in (_ETHERNET, "772"):  # ARPHRD_LOOPBACK has frames like Ethernet's
        kinds.append(NetKindCapability(type="80203"))
    return NetCapability(
        interface=os.path.basename(path),
        address=text(f"{path}/address") or None,
        link=InterfaceLink(speed=speed if speed is not None and speed > 0 else None, state=state),
        features=offloads(os.path.basename(path)) if root == "/" else (),
        capabilities=tuple(kinds),
    )


def _storage(path: str, root: str) -> StorageCapability:
    block = _number(f"{path}/queue/logical_block_size")
    sectors = _number(f"{path}/size")  # of 512 bytes, always
    kept = _udev(path, root)
    size = None if sectors is None else sectors * 512
    return StorageCapability(
        block=f"/dev/{os.path.basename(path).replace('!', '/')}",
        bus=kept.get("ID_BUS"),
        drive_type=_drive(path, root),
        model=text(f"{path}/device/model") or None,
        vendor=text(f"{path}/device/vendor") or None,
        serial=kept.get("ID_SERIAL"),
        size=size,
        logical_block_size=block,
        num_blocks=size // block if size is not None and block else None,
    )


def _drm(path: str, root: str) -> DrmCapability:
    primary = os.path.basename(path).startswith("card")
    return DrmCapability(kind="primary" if primary else "render")


def _mdev(path: str, root: str) -> MdevCapability:
    return MdevCapability(
        mdev_type=_link(f"{path}/mdev_type"),
        uuid=UUID(os.path.basename(path)),
        parent_addr=os.path.basename(os.path.dirname(path)),
        iommu_group=_group(path),
    )


_CAPABILITIES: dict[str, Any] = {
    "pci": _pci,
    "usb_device": _usb_device,
    "usb": _usb,
    "net": _net,
    "storage": _storage,
    "drm": _drm,
    "mdev": _mdev,
}
