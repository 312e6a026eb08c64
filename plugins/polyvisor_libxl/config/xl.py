"""``xen-xl``: the configurations of xl, as xl.cfg(5) has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices.controller import Controller
from polyvisor.model.namespaces import XenCommandline
from polyvisor.model.os import AcpiTable, Loader, OsAcpi
from polyvisor_libxl.completion import HVMLOADER, OVMF, Kind
from polyvisor_libxl.config import reading, writing
from polyvisor_libxl.config.grammar import Entry
from polyvisor_libxl.config.native import XenFormat
from polyvisor_libxl.config.xl_cpu import cpu, cpu_entries
from polyvisor_libxl.config.xl_devices import (
    channel_entries,
    channels,
    spice,
    spice_entries,
    usb_controllers,
    usb_entries,
    usb_hostdevs,
    video,
    video_entries,
)
from polyvisor_libxl.config.xl_disks import disk_text, disks

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.config.settings import Settings

__all__ = ["XlFormat"]

#: What an interface without an emulated twin is called.
FRONT = "vif"


class XlFormat(XenFormat):
    """Reads and writes ``xl.cfg``."""

    name = "xen-xl"

    def definition(self, settings: Settings, guest: Kind) -> DomainSpec:
        """Return the definition that a configuration states."""
        spec = reading.common(settings, guest, FRONT)
        held = spec.devices
        guest_cpu = cpu(settings, spec.vcpus if spec.vcpu is None else spec.vcpu.count, guest)
        args = tuple(atom.text for atom in settings.atoms("device_model_args") or ())
        spec = attrs.evolve(
            spec,
            cpu=guest_cpu,
            memory=_memory(spec, guest_cpu),
            xen_commandline=XenCommandline(args=args) if args else None,
            devices=attrs.evolve(
                held,
                disks=disks(settings, guest),
                controllers=(_xenbus(settings), *usb_controllers(settings)),
                hostdevs=held.hostdevs + usb_hostdevs(settings),
                channels=channels(settings),
                graphics=(spice(settings) if guest == "hvm" else ()) or held.graphics,
                videos=video(settings) if guest == "hvm" else (),
                inputs=_inputs(settings) if guest == "hvm" else (),
            ),
        )
        if guest != "hvm":
            return reading.kernel(settings, spec, _cmdline(settings))
        return _hvm_os(settings, spec)

    def entries(self, spec: DomainSpec, guest: Kind) -> dict[str, Entry]:
        """Return what to set for a completed definition."""
        entries = writing.common(spec, guest, FRONT)
        entries.update(_os_entries(spec, guest))
        entries.update(cpu_entries(spec, guest))
        for controller in spec.devices.controllers:
            if controller.type == "xenbus":
                if controller.max_event_channels:
                    entries["max_event_channels"] = controller.max_event_channels
                if controller.max_grant_frames:
                    entries["max_grant_frames"] = controller.max_grant_frames
        texts: list[Entry] = [
            disk_text(disk) for disk in spec.devices.disks if disk.device != "floppy"
        ]
        if texts:
            entries["disk"] = texts
        if guest == "hvm":
            entries.update(spice_entries(spec))
            entries.update(video_entries(spec))
            entries.update(_input_entries(spec))
        entries.update(usb_entries(spec))
        entries.update(channel_entries(spec))
        if spec.xen_commandline is not None and spec.xen_commandline.args:
            entries["device_model_args"] = list[Entry](spec.xen_commandline.args)
        return entries


def _cmdline(settings: Settings) -> str | None:
    """Return the kernel's command line; the newer name counts more than the older two."""
    whole = settings.text("cmdline")
    return reading.cmdline(settings) if whole is None else whole


def _hvm_os(settings: Settings, spec: DomainSpec) -> DomainSpec:
    if settings.text("bios") == "ovmf":
        loader = Loader(readonly=True, type="pflash", path=OVMF)
    else:
        loader = Loader(path=HVMLOADER)
    slic = settings.text("acpi_firmware")
    return attrs.evolve(
        spec,
        os=attrs.evolve(
            spec.os,
            loader=loader,
            kernel=settings.text("kernel"),
            initrd=settings.text("ramdisk"),
            cmdline=_cmdline(settings),
            boot=reading.boot_devices(settings),
            acpi=None if slic is None else OsAcpi(tables=(AcpiTable(type="slic", path=slic),)),
        ),
    )


def _os_entries(spec: DomainSpec, guest: Kind) -> dict[str, Entry]:
    if guest == "pvh":
        return {"type": "pvh", **writing.kernel(spec, "cmdline")}
    if guest == "pv":
        return writing.kernel(spec, "cmdline")
    held = spec.os
    efi = held.firmware_name == "efi" or (held.loader is not None and held.loader.type == "pflash")
    tables = () if held.acpi is None else held.acpi.tables
    said: dict[str, Entry | None] = {
        "builder": "hvm",
        "bios": "ovmf" if efi else None,
        "acpi_firmware": next((table.path for table in tables if table.type == "slic"), None),
        "kernel": held.kernel,
        "ramdisk": held.initrd,
        "cmdline": held.cmdline,
        "boot": writing.boot_letters(spec),
    }
    return {name: value for name, value in said.items() if value is not None}


def _memory(spec: DomainSpec, guest_cpu: Any) -> int:
    """Return the guest's memory: that of its NUMA nodes, if it has any."""
    if guest_cpu is None or guest_cpu.numa is None:
        return spec.memory
    return sum(cell.memory or 0 for cell in guest_cpu.numa.cells) << 10


def _xenbus(settings: Settings) -> Controller:
    return Controller(
        type="xenbus",
        index=0,
        max_event_channels=settings.number("max_event_channels", 0) or None,
        max_grant_frames=settings.number("max_grant_frames", 0) or None,
    )


def _inputs(settings: Settings) -> Any:
    listed = settings.atoms("usbdevice")
    if listed is None:
        return reading.usb_inputs(settings, [settings.text("usbdevice") or ""])
    return reading.usb_inputs(settings, [atom.text for atom in listed])


def _input_entries(spec: DomainSpec) -> dict[str, Entry]:
    names: list[Entry] = [
        one.type
        for one in spec.devices.inputs
        if one.bus == "usb" and one.type in {"mouse", "tablet", "keyboard"}
    ]
    if not names:
        return {}
    # One alone as text, as xl before 4.3 wanted it.
    return {"usb": 1, "usbdevice": names[0] if len(names) == 1 else names}
