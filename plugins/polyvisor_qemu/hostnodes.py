"""Where devices of the host that guests get are to be found: their files below ``/dev``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_usb", "device_files"]

_USB, _PCI, _MDEV = "/sys/bus/usb/devices", "/sys/bus/pci/devices", "/sys/bus/mdev/devices"


def device_files(hostdev: Any) -> Iterator[str]:
    """Give the files through which QEMU drives a device; none if it is not there.

    Args:
        hostdev: what stands in ``<hostdev>``, or an interface of that type.
    """
    source = hostdev.source
    at = getattr(source, "address", None)
    if hostdev.type == "usb" and source is not None:
        yield from _usb(source)
    elif hostdev.type == "mdev" and source is not None:
        yield from _group(f"{_MDEV}/{source.uuid}")
    elif at is not None and getattr(at, "slot", None) is not None:
        where = f"{at.domain or 0:04x}:{at.bus or 0:02x}:{at.slot:02x}.{at.function or 0:x}"
        yield from _group(f"{_PCI}/{where}")


def _group(device: str) -> Iterator[str]:
    """Give the file of the group that a device is isolated in (Linux's driver-api/vfio.rst)."""
    try:
        yield f"/dev/vfio/{os.path.basename(os.readlink(f'{device}/iommu_group'))}"
    except OSError:
        return


def _usb(source: Any) -> Iterator[str]:
    at = source.address
    if at is not None and at.bus is not None and at.device is not None:
        yield f"/dev/bus/usb/{at.bus:03d}/{at.device:03d}"
        return
    try:
        names = sorted(os.listdir(_USB))
    except FileNotFoundError:
        return
    wanted = (source.vendor_id, source.product_id)
    for name in names:
        told = [_read(f"{_USB}/{name}/{one}", base) for one, base in (
            ("idVendor", 16), ("idProduct", 16), ("busnum", 10), ("devnum", 10),
        )]  # fmt: skip
        if tuple(told[:2]) == wanted and told[2] is not None and told[3] is not None:
            yield f"/dev/bus/usb/{told[2]:03d}/{told[3]:03d}"


def _read(path: str, base: int) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read(), base)
    except (OSError, ValueError):
        return None


def check_usb(hostdev: Any, operation: str) -> None:
    """Refuse a USB device that is not there: QEMU would wait for it without a word.

    Raises:
        NotFound: names the device.
    """
    source = hostdev.source
    if hostdev.type != "usb" or source is None or source.startup_policy == "optional":
        return
    if not any(os.path.exists(path) for path in device_files(hostdev)):
        at = source.address
        name = (
            f"{source.vendor_id:04x}:{source.product_id or 0:04x}"
            if source.vendor_id is not None
            else f"at bus {at.bus if at else None}, device {at.device if at else None}"
        )
        raise NotFound(f"{operation}: this host has no USB device {name}", key=name)
