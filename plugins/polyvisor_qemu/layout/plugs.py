"""How each device connects to PCI (qemuDomainDeviceCalculatePCIConnectFlags)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.layout.slots import EXPRESS, PCI, Plug

if TYPE_CHECKING:
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["Plugs"]


class Plugs:
    """Answers for the devices of one machine.

    Args:
        machine: the machine.
        express: whether it has PCI Express.
    """

    def __init__(self, machine: Machine, *, express: bool) -> None:
        self.express = EXPRESS if express else PCI
        self.virtio = self.express if machine.abilities.virtio_express else PCI

    def of(self, kind: str, device: Any) -> Plug | None:
        """Return how a device connects; None: not to PCI.

        Args:
            kind: the field of the devices that holds it.
            device: the device.
        """
        answer = getattr(self, f"_{kind}", None)
        plug: Plug | None = None if answer is None else answer(device)
        return plug

    def _by_model(self, model: str | None) -> Plug:
        return (
            PCI
            if (model or "").endswith("-transitional") and "non" not in (model or "")
            else self.virtio
        )

    def _controllers(self, controller: Any) -> Plug | None:
        model = controller.model
        if controller.type == "pci":
            if model in {None, "pci-root", "pcie-root"}:
                return None
            return Plug(model, auto=False, shares=model == "pcie-root-port")
        if controller.type in {"sata", "ide"}:
            return PCI
        if controller.type == "usb":
            if model in {"nec-xhci", "qemu-xhci"}:
                return self.express
            return None if model == "none" else PCI
        if controller.type == "scsi":
            if model in {None, "ncr53c90"}:
                return None
            return self._by_model(model) if model.startswith("virtio") else PCI
        return self._by_model(model) if controller.type == "virtio-serial" else None

    def _filesystems(self, filesystem: Any) -> Plug | None:
        driver = None if filesystem.driver is None else filesystem.driver.type
        if driver in {"loop", "nbd", "ploop"}:
            return None
        return self._by_model(filesystem.model)

    def _interfaces(self, interface: Any) -> Plug | None:
        model = interface.model
        if interface.type == "hostdev" or model == "usb-net":
            return None
        if model is not None and model.startswith("virtio"):
            return self._by_model(model)
        return self.express if model in {None, "e1000e"} else PCI

    def _sounds(self, sound: Any) -> Plug | None:
        return PCI if sound.model in {"es1370", "ac97", "ich6", "ich9"} else None

    def _disks(self, disk: Any) -> Plug | None:
        if disk.target is None or disk.target.bus != "virtio":
            return None
        return self._by_model(disk.model)

    def _hostdevs(self, hostdev: Any) -> Plug | None:
        if hostdev.mode != "subsystem":
            return None
        if hostdev.type == "scsi_host":
            return self._by_model(hostdev.model)
        if hostdev.type == "mdev":
            return self.express if hostdev.model == "vfio-pci" else None
        # What the host does not have, and most that it has, is PCI Express.
        return self.express if hostdev.type == "pci" else None

    def _memballoon(self, balloon: Any) -> Plug | None:
        return None if balloon.model in {"xen", "none"} else self._by_model(balloon.model)

    def _rngs(self, rng: Any) -> Plug | None:
        return self._by_model(rng.model)

    def _watchdogs(self, watchdog: Any) -> Plug | None:
        return PCI if watchdog.model == "i6300esb" else None

    def _videos(self, video: Any) -> Plug | None:
        model = None if video.model is None else video.model.type
        if model == "virtio":
            return self.virtio
        if model == "bochs":
            return self.express
        return None if model in {None, "default", "gop", "none", "ramfb"} else PCI

    def _shmems(self, _shmem: Any) -> Plug | None:
        return PCI

    def _inputs(self, one: Any) -> Plug | None:
        return self._by_model(one.model) if one.bus == "virtio" else None

    def _serials(self, serial: Any) -> Plug | None:
        kind = None if serial.target is None else serial.target.type
        return PCI if kind == "pci-serial" else None

    def _iommu(self, iommu: Any) -> Plug | None:
        if iommu.model != "virtio":
            return None
        return Plug(self.virtio.kind, integrated=True)

    def _vsock(self, vsock: Any) -> Plug | None:
        return None if vsock.model is None else self._by_model(vsock.model)

    def _memories(self, memory: Any) -> Plug | None:
        return self.virtio if memory.model in {"virtio-pmem", "virtio-mem"} else None
