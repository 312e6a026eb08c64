"""Controllers: those that are stated, and those that devices need."""

from __future__ import annotations

from typing import Any

from polyvisor_qemu.builder import Builder

__all__ = ["Controllers"]

_USB_CONTROLLERS = {
    "qemu-xhci": "qemu-xhci",
    "nec-xhci": "nec-usb-xhci",
    "piix3-uhci": "piix3-usb-uhci",
    "ehci": "usb-ehci",
}
# ICH9's USB is one device of several functions: these, and ich9-ehci1 as the seventh.
_ICH9_UHCI = ("ich9-uhci1", "ich9-uhci2", "ich9-uhci3")
_ICH9_SLOT = "0x1d"


class Controllers(Builder):
    """Builds the controllers."""

    #: Whether there is a USB controller yet.
    _usb = False

    def controllers(self) -> None:
        """Add all controllers."""
        usb_wanted = True
        counts: dict[str, int] = {}
        for controller in self.spec.devices.controllers:
            kind = controller.type or ""
            number = controller.index if controller.index is not None else counts.get(kind, 0)
            counts[kind] = number + 1
            if kind == "usb":
                usb_wanted = False
                self.usb_controller(number, controller)
            elif kind == "pci":
                self.pci_controller(number, controller)
            elif kind == "scsi":
                model = controller.model or "lsilogic"
                driver = {"lsilogic": "lsi53c895a", "virtio-scsi": "virtio-scsi-pci"}.get(model)
                if driver is None:
                    raise self.refuse("controller", f"SCSI controller {model!r} is not supported")
                self.device(driver, controller, id=f"scsi{number}")
            elif kind == "virtio-serial":
                self.device("virtio-serial-pci", controller, id=f"virtio-serial{number}")
            elif kind in ("ide", "sata", "fdc", "isa"):
                continue  # part of the machine
            else:
                raise self.refuse("controller", f"a {kind} controller is not supported yet")
        held = self.spec.devices
        needs_usb = any(one.bus == "usb" for one in held.inputs) or any(
            disk.target is not None and disk.target.bus == "usb" for disk in held.disks
        )
        if usb_wanted and needs_usb:
            self.device("qemu-xhci" if self.q35 else "piix3-usb-uhci", id="usb")
            self._usb = True
        if held.channels and not counts.get("virtio-serial"):
            self.device("virtio-serial-pci", id="virtio-serial0")
        if not counts.get("scsi") and any(
            disk.target is not None and disk.target.bus == "scsi" for disk in held.disks
        ):
            self.device("lsi53c895a", id="scsi0")

    def usb_controller(self, number: int, controller: Any) -> None:
        """Add a USB controller; the first one's bus is ``usb.0``."""
        if controller.model == "none":
            return
        model = controller.model or ("qemu-xhci" if self.q35 else "piix3-uhci")
        if model.startswith("ich9-"):
            self.ich9_usb(number, model, controller)
            return
        driver = _USB_CONTROLLERS.get(model)
        if driver is None:
            raise self.refuse("controller", f"USB controller {model!r} is not supported yet")
        ports = controller.ports if model.endswith("xhci") else None
        self.device(
            driver,
            controller,
            id="usb" if not self._usb else f"usb{number}",
            p2=ports,
            p3=ports,
        )
        self._usb = True

    def ich9_usb(self, number: int, model: str, controller: Any) -> None:
        """Add one of the functions of ICH9's USB device; the slow ones serve the fast one's bus."""
        slow = model in _ICH9_UHCI
        if not slow and model != "ich9-ehci1":
            raise self.refuse("controller", f"USB controller {model!r} is not supported yet")
        function = _ICH9_UHCI.index(model) if slow else 7
        place: dict[str, Any] = {}
        if not self.address(controller):
            root = "pcie.0" if self.q35 else "pci.0"
            place = {"bus": root, "addr": f"{_ICH9_SLOT}.0x{function}"}
            if function == 0:
                place["multifunction"] = True
        master = controller.master_startport is not None
        self.device(
            model.replace("ich9-", "ich9-usb-"),
            controller,
            id="usb" if not self._usb else f"{model}-{number}",
            masterbus="usb.0" if master else None,
            firstport=controller.master_startport,
            **place,
        )
        self._usb = True

    def pci_controller(self, number: int, controller: Any) -> None:
        """Add a PCI bridge or port."""
        model = controller.model or "pcie-root-port"
        if model in ("pci-root", "pcie-root"):
            return
        target = controller.target
        if model == "pcie-root-port":
            self.device(
                "pcie-root-port",
                controller,
                id=f"pci.{number}",
                port=(target.port if target is not None else None) or number,
                chassis=(target.chassis if target is not None else None) or number,
            )
        elif model == "pci-bridge":
            chassis = (target.chassis_nr if target is not None else None) or number
            self.device("pci-bridge", controller, id=f"pci.{number}", chassis_nr=chassis)
        elif model == "pcie-to-pci-bridge":
            self.device("pcie-pci-bridge", controller, id=f"pci.{number}")
        else:
            raise self.refuse("controller", f"PCI controller {model!r} is not supported yet")
