"""``xen-xm``: the configurations of xm, the toolstack before xl.

xm read them as Python; here they are data, in the language of
:mod:`polyvisor_libxl.config.grammar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices.disk import Disk, DiskDriver, DiskTarget
from polyvisor.model.devices.disk_source import DiskSource
from polyvisor.model.os import Loader
from polyvisor_libxl.config import reading, writing
from polyvisor_libxl.config.native import XenFormat
from polyvisor_libxl.config.writing import refuse
from polyvisor_libxl.config.xl_disks import bus_of

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.completion import Kind
    from polyvisor_libxl.config.grammar import Atom, Entry
    from polyvisor_libxl.config.settings import Settings

__all__ = ["XmFormat"]

#: What an interface without an emulated twin is called.
FRONT = "netfront"
#: What blktap calls raw images.
RAW = "aio"
#: Drivers that are blktap's; the format stands behind their name.
TAPS = frozenset({"tap", "tap2"})


class XmFormat(XenFormat):
    """Reads and writes configurations of xm."""

    name = "xen-xm"
    long_text = True

    def definition(self, settings: Settings, guest: Kind) -> DomainSpec:
        """Return the definition that a configuration states."""
        if settings.atoms("serial") is not None:
            settings.fail("serial", "serial is a list and xm had one serial port; use xen-xl")
        spec = reading.common(settings, guest, FRONT)
        disks = tuple(_disk(settings, atom, guest) for atom in settings.atoms("disk") or ())
        inputs = reading.usb_inputs(settings, [settings.text("usbdevice") or ""])
        spec = attrs.evolve(
            spec,
            devices=attrs.evolve(
                spec.devices, disks=disks, inputs=inputs if guest == "hvm" else ()
            ),
        )
        if guest != "hvm":
            return reading.kernel(settings, spec, reading.cmdline(settings))
        loader = settings.text("kernel")
        if loader is None:
            settings.fail("builder", "an HVM guest of xm needs its loader as kernel")
        boot = reading.boot_devices(settings)
        return attrs.evolve(spec, os=attrs.evolve(spec.os, loader=Loader(path=loader), boot=boot))

    def entries(self, spec: DomainSpec, guest: Kind) -> dict[str, Entry]:
        """Return what to set for a completed definition."""
        entries = writing.common(spec, guest, FRONT)
        if isinstance(entries.get("serial"), list):
            refuse("devices/serial", "xm had one serial port", "use xen-xl")
        if guest == "hvm":
            entries["builder"] = "hvm"
            if spec.os.loader is not None and spec.os.loader.path is not None:
                entries["kernel"] = spec.os.loader.path
            entries["boot"] = writing.boot_letters(spec)
        else:
            entries.update(writing.kernel(spec, "extra"))
        texts: list[Entry] = [
            _disk_text(disk) for disk in spec.devices.disks if disk.device != "floppy"
        ]
        if texts:
            entries["disk"] = texts
        for one in spec.devices.inputs if guest == "hvm" else ():
            if one.bus == "usb" and one.type in {"mouse", "tablet", "keyboard"}:
                entries.update({"usb": 1, "usbdevice": one.type})
                break
        return entries


def _disk(settings: Settings, atom: Atom, guest: Kind) -> Disk:
    """Return the disk of ``"DRIVER:SOURCE,NAME[:cdrom],MODE"``."""
    parts = atom.text.split(",")
    if len(parts) < 3:
        settings.fail(atom, f"disk {atom.text!r} should say source, name and mode: phy:X,hda,w")
    source: str | None = parts[0]
    name, _, kind = parts[1].removeprefix("ioemu:").partition(":")
    driver: str | None = None
    image = None
    if source:
        head, colon, rest = source.partition(":")
        if colon:
            driver, source = head, rest
        if driver in TAPS:
            image, colon, source = source.partition(":")
            if not colon or not image:
                settings.fail(atom, f"disk {atom.text!r} does not say its format: tap:aio:FILE")
            image = "raw" if image == RAW else image
    driver = driver or "phy"
    block = driver == "phy"
    mode = ",".join(parts[2:]).strip()
    where = DiskSource(**{"dev" if block else "file": source}) if source else None  # type: ignore[arg-type]
    return Disk(
        type="block" if block else "file",
        device="cdrom" if kind == "cdrom" else "disk",
        driver=DiskDriver(name=driver, type=image),
        source=where,
        target=DiskTarget(dev=name, bus=bus_of(name, guest)),
        readonly=mode in {"r", "ro"},
        shareable=mode in {"w!", "!"},
    )


def _disk_text(disk: Disk) -> str:
    driver: Any = disk.driver or DiskDriver()
    if disk.transient is not None:
        refuse("devices/disk/transient", "Xen has no disks that forget what is written")
    if disk.type not in {"file", "block"}:
        refuse("devices/disk", f"xm had no disks of type {disk.type!r}", "use xen-xl")
    source = None if disk.source is None else disk.source.file or disk.source.dev
    where = ""
    if source:
        name = driver.name
        if name in TAPS:
            where = f"{name}:{RAW if driver.type == 'raw' else driver.type}:{source}"
        elif name is not None:
            where = f"{name}:{source}"
        else:
            where = f"{'phy' if disk.type == 'block' else 'file'}:{source}"
    vdev = "" if disk.target is None else disk.target.dev or ""
    kind = ":cdrom" if disk.device == "cdrom" else ""
    mode = "r" if disk.readonly else "!" if disk.shareable else "w"
    return f"{where},{vdev}{kind},{mode}"
