"""This machine's devices: what is there, and giving PCI devices away for guests."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import uuid4

from polyvisor.driver import NodeDevices
from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationFailed,
    SemanticError,
    Unsupported,
)
from polyvisor.local.objects import _sysfs
from polyvisor.model.node_device_mdev import MdevCapability
from polyvisor.objects import ObjectSummary

if TYPE_CHECKING:
    from polyvisor.model import NodeDeviceSpec

__all__ = ["MachineDevices"]

#: Linux's driver that hands devices to guests (driver-api/vfio.rst).
_VFIO = "vfio-pci"
#: Seconds after which devices are looked for anew.
_FRESH = 1.0
_UNSUPPORTED, _ARGUMENT_UNSUPPORTED = 67, 74


class MachineDevices(NodeDevices):
    """The devices that Linux tells of below ``/sys``.

    Args:
        root: where ``sys`` is.
    """

    def __init__(self, *, root: str = "/") -> None:
        self._root = root

    def summaries(self) -> Sequence[ObjectSummary]:
        """Return a line for each device."""
        return [ObjectSummary(name, name) for name in self._devices]

    def by_name(self, name: str) -> ObjectSummary:
        """Return the device called ``name``."""
        return self.get(name)

    def get(self, key: str) -> ObjectSummary:
        """Return the device called ``key``."""
        self._device(key)
        return ObjectSummary(key, key)

    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Return its document, as it is now."""
        return _sysfs.spec(self._device(key), self._devices, self._root).to_xml()

    def parent(self, key: str) -> str | None:
        """Return the name of the device that it hangs on."""
        return _sysfs.parent(self._device(key), self._devices)

    def capabilities(self, key: str) -> Sequence[str]:
        """Return what it is, and what can be made of it."""
        device = self._device(key)
        more = device.kind == "pci" and os.path.isdir(f"{device.path}/mdev_supported_types")
        return [device.kind, "mdev_types"] if more else [device.kind]

    def detach(self, key: str, driver: str | None = None) -> None:
        """See :meth:`polyvisor.driver.NodeDevices.detach`."""
        path = self._pci(key, "detach")
        wanted = _VFIO if driver in (None, "vfio") else str(driver)
        if wanted != _VFIO and not wanted.startswith("vfio"):
            raise InvalidArgument(f"unknown driver name '{driver}'")
        if not os.path.isdir(f"{self._root}sys/bus/pci/drivers/{wanted}"):
            raise Unsupported(
                f"VFIO device assignment is currently not supported on this system: the driver "
                f"{wanted} is not there; run 'modprobe {wanted}'",
                feature="node-devices",
                libvirt_number=_ARGUMENT_UNSUPPORTED,
            )
        self._bind(path, wanted)
        now = os.path.basename(os.path.realpath(f"{path}/driver"))
        if now != wanted:
            raise OperationFailed(
                f"detach {key}: {wanted} does not take the device; is there an IOMMU that is on?"
            )

    def reattach(self, key: str) -> None:
        """See :meth:`polyvisor.driver.NodeDevices.reattach`."""
        path = self._pci(key, "re-attach")
        if os.path.basename(os.path.realpath(f"{path}/driver")).startswith("vfio"):
            self._bind(path, "")

    def reset(self, key: str) -> None:
        """See :meth:`polyvisor.driver.NodeDevices.reset`."""
        path = self._pci(key, "reset")
        if not os.path.exists(f"{path}/reset"):
            raise HypervisorError(
                f"Unable to reset PCI device {os.path.basename(path)}: no FLR, PM reset or bus "
                f"reset available",
                libvirt_number=1,
            )
        _write(f"{path}/reset", "1")

    def create(self, spec: NodeDeviceSpec) -> str:
        """See :meth:`polyvisor.driver.NodeDevices.create`; mediated devices can be."""
        wanted = next((one for one in spec.capabilities if isinstance(one, MdevCapability)), None)
        if wanted is None:
            raise _no_kind("create a node device")
        if spec.parent_name is None or wanted.mdev_type is None:
            raise SemanticError(
                "create a node device: a mediated device needs a parent and a type",
                element="device/capability",
            )
        parent = self._device(spec.parent_name)
        place = f"{parent.path}/mdev_supported_types/{os.path.basename(wanted.mdev_type)}"
        if not os.path.isdir(place):
            raise NotFound(
                f"create a node device: {parent.name} has no type {wanted.mdev_type!r}",
                kind="node device",
                key=wanted.mdev_type,
            )
        uuid = str(wanted.uuid or uuid4())
        _write(f"{place}/create", uuid)
        _looked.cache_clear()
        for name, device in self._devices.items():
            if device.kind == "mdev" and os.path.basename(device.path) == uuid:
                return name
        raise OperationFailed(f"create a node device: {parent.name} has made none")

    def destroy(self, key: str) -> None:
        """See :meth:`polyvisor.driver.NodeDevices.destroy`; mediated devices can be."""
        device = self._device(key)
        if device.kind != "mdev":
            raise _no_kind(f"destroy {key}")
        _write(f"{device.path}/remove", "1")
        _looked.cache_clear()

    @property
    def _devices(self) -> dict[str, _sysfs.Device]:
        return _looked(self._root, int(time.monotonic() / _FRESH))

    def _device(self, key: str) -> _sysfs.Device:
        found = self._devices.get(key)
        if found is None:
            raise NotFound(
                f"no node device with matching name '{key}'", kind="node device", key=key
            )
        return found

    def _pci(self, key: str, operation: str) -> str:
        """Return the folder of a PCI device."""
        device = self._device(key)
        if device.kind != "pci":
            raise InvalidArgument(f"device {key} is not a PCI device")
        return device.path

    def _bind(self, path: str, driver: str) -> None:
        """Have a device driven by another driver; by ``""``, whichever is its own."""
        _write(f"{path}/driver_override", driver or "\n")
        if os.path.exists(f"{path}/driver"):
            _write(f"{path}/driver/unbind", os.path.basename(path))
        _write(f"{self._root}sys/bus/pci/drivers_probe", os.path.basename(path))


@lru_cache(maxsize=2)
def _looked(root: str, moment: int) -> dict[str, _sysfs.Device]:
    """Return all devices, as they were at a moment: those who ask for many ask for each alone."""
    return _sysfs.devices(root)


def _no_kind(operation: str) -> Unsupported:
    return Unsupported(
        f"{operation}: Unsupported device type: only mediated devices come and go here",
        feature="node-devices",
        libvirt_number=_UNSUPPORTED,
    )


def _write(path: str, value: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise HypervisorError(
            f"node device: {path}: {error.strerror}", native_code=error.errno, libvirt_number=38
        ) from error
