"""Controllers (qemuBuildControllersCommandLine)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["controllers"]

_SCSI = {"lsilogic": "lsi", "buslogic": "buslogic", "lsisas1068": "mptsas1068",
         "vmpvscsi": "pvscsi",
         "ibmvscsi": "spapr-vscsi", "lsisas1078": "megasas", "am53c974": "am53c974",
         "dc390": "dc-390"}  # fmt: skip
_VIRTIO_SCSI = ("virtio-scsi", "virtio-transitional", "virtio-non-transitional")
_USB = {"piix3-uhci": "piix3-usb-uhci", "piix4-uhci": "piix4-usb-uhci", "ehci": "usb-ehci",
        "ich9-ehci1": "ich9-usb-ehci1", "ich9-uhci1": "ich9-usb-uhci1",
        "ich9-uhci2": "ich9-usb-uhci2", "ich9-uhci3": "ich9-usb-uhci3", "pci-ohci": "pci-ohci",
        "nec-xhci": "nec-usb-xhci", "qemu-xhci": "qemu-xhci"}  # fmt: skip
_PCI = {"pci-bridge": "pci-bridge", "pci-expander-bus": "pxb", "pcie-root-port": "pcie-root-port",
        "pcie-expander-bus": "pxb-pcie", "pcie-to-pci-bridge": "pcie-pci-bridge",
        "dmi-to-pci-bridge": "i82801b11-bridge",
        "pcie-switch-upstream-port": "x3130-upstream",
        "pcie-switch-downstream-port": "xio3130-downstream"}  # fmt: skip
#: In which order kinds of controller are added: buses before what hangs on them.
_ORDER = ("pci", "usb", "scsi", "ide", "sata", "virtio-serial", "ccid", "fdc")


def controllers(c: Context) -> None:
    """Add all controllers that are no part of the machine itself."""
    held = c.spec.devices.controllers
    for one in held:
        if one.type not in (*_ORDER, "isa"):
            raise c.refuse("controller", f"QEMU has no controller of type {one.type!r}")
    for kind in _ORDER:
        ones = [one for one in held if one.type == kind]
        if kind == "usb":
            ones.sort(key=lambda one: one.master_startport is not None)
        for one in ones:
            _MAKERS[kind](c, one)


def _pci(c: Context, one: Any) -> None:
    model, target = one.model or "pcie-root-port", one.target
    if model in ("pci-root", "pcie-root"):
        if one.pcihole64 is not None:
            chip = "q35-pcihost" if c.machine.q35 else "i440FX-pcihost"
            c.line.add("global", f"{chip}.pci-hole64-size={one.pcihole64 >> 10}K")
        return
    driver = _PCI.get(model)
    if driver is None:
        raise c.refuse("controller", f"PCI controller {model!r} is not supported by QEMU")
    named = {"ioh3420": "ioh3420"}.get(one.model_name or "", driver)
    name = c.names.controller("pci", one.index)
    values: dict[str, Any] = {}
    if model == "pci-bridge":
        values = {"chassis_nr": (target.chassis_nr if target else None) or one.index}
    elif model in ("pcie-root-port", "pcie-switch-downstream-port"):
        values = {
            "port": target.port if target is not None and target.port is not None else one.index,
            "chassis": (target.chassis if target is not None else None) or one.index,
        }
        if target is not None and target.hotplug is not None:
            values["hotplug"] = target.hotplug
    elif model in ("pci-expander-bus", "pcie-expander-bus"):
        values = {"bus_nr": target.bus_nr if target is not None else None,
                  "numa_node": target.node if target is not None else None}  # fmt: skip
    c.device(named, one, name, **values)


def _usb(c: Context, one: Any) -> None:
    if one.model == "none":
        return
    model = one.model or "piix3-uhci"
    driver = _USB.get(model)
    if driver is None:
        raise c.refuse("controller", f"USB controller {model!r} is not supported by QEMU")
    name = c.names.controller("usb", one.index)
    values: dict[str, Any] = {}
    if one.ports is not None and model.endswith("xhci"):
        values = {"p2": one.ports, "p3": one.ports}
    if one.master_startport is not None:
        c.device(driver, one, None, masterbus=f"{name}.0", firstport=one.master_startport)
    else:
        c.device(driver, one, name, **values)


def _scsi(c: Context, one: Any) -> None:
    name = c.names.controller("scsi", one.index)
    if one.model in _VIRTIO_SCSI:
        driver = one.driver
        values: dict[str, Any] = {}
        if driver is not None:
            values = {
                "iothread": f"iothread{driver.iothread}" if driver.iothread else None,
                "num_queues": driver.queues, "cmd_per_lun": driver.cmd_per_lun,
                "max_sectors": driver.max_sectors, "ioeventfd": driver.ioeventfd,
            }  # fmt: skip
        c.virtio("virtio-scsi", one, name, **values)
        return
    kind = _SCSI.get(one.model or "")
    if kind is None:
        raise c.refuse("controller", f"SCSI controller {one.model!r} is not supported by QEMU")
    c.device(kind, one, name)


def _ide(c: Context, one: Any) -> None:
    if one.index and not (c.machine.i440fx):
        raise c.refuse("controller", "the machine has one IDE controller; use sata")


def _sata(c: Context, one: Any) -> None:
    if one.index or not c.machine.q35:
        c.device("ahci", one, c.names.controller("sata", one.index))


def _serial(c: Context, one: Any) -> None:
    name = c.names.controller("virtio-serial", one.index)
    c.virtio("virtio-serial", one, name, max_ports=one.ports, vectors=one.vectors)


def _ccid(c: Context, one: Any) -> None:
    c.device("usb-ccid", one, c.names.controller("ccid", one.index))


def _fdc(c: Context, one: Any) -> None:
    from polyvisor_qemu.cmdline.disks import floppies

    floppies(c)


_MAKERS = {"pci": _pci, "usb": _usb, "scsi": _scsi, "ide": _ide, "sata": _sata,
           "virtio-serial": _serial, "ccid": _ccid, "fdc": _fdc}  # fmt: skip
