"""The devices that a ``vmx`` file describes (virVMXParseDisk and its like)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from polyvisor.model.devices import Devices
from polyvisor.model.devices.address import DriveAddress
from polyvisor.model.devices.chardev import (
    ChardevSource,
    ChardevTarget,
    Parallel,
    Serial,
)
from polyvisor.model.devices.controller import Controller
from polyvisor.model.devices.disk import Disk, DiskDriver, DiskTarget, Transient
from polyvisor.model.devices.disk_source import DiskSource
from polyvisor.model.devices.filesystem import Filesystem, FilesystemSource
from polyvisor.model.devices.graphics import Graphics
from polyvisor.model.devices.interface import Interface, InterfaceSource, Mac
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor_vmware.completion import disk_name

if TYPE_CHECKING:
    from polyvisor_vmware.settings import Settings

__all__ = ["MODELS", "SCSI_MODELS", "devices"]

Source = Callable[[str], str]

#: libvirt's names of SCSI controllers.
SCSI_MODELS = {
    "buslogic": "buslogic",
    "lsilogic": "lsilogic",
    "lsisas1068": "lsisas1068",
    "pvscsi": "vmpvscsi",
}
MODELS = ("vlance", "vmxnet", "vmxnet3", "e1000", "e1000e")
#: What makes the interface vmxnet the one that libvirt calls vmxnet2.
VMXNET2_FEATURES = 15
CONTROLLERS, SCSI_OWN, SATA_UNITS = 4, 7, 30
#: How many units a SCSI controller has, before and from version 13 of the machine on.
SCSI_UNITS, WIDE_SCSI_UNITS, WIDE_FROM = 16, 64, 13
#: Where ESX has the drives of the host, by which a disc in one is recognised.
CDROM_FOLDER = "/vmfs/devices/cdrom/"
EMPTY, AUTODETECT = "emptybackingstring", "auto detect"
#: In bytes.
DEFAULT_VIDEO_MEMORY = 4 << 20
MOST_FOLDERS, MOST_INTERFACES = 64, 1000

_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?:[:-][0-9A-Fa-f]{1,2}){5}")
_URI = re.compile(r"(?:([A-Za-z0-9+]+)://)?(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]*):([0-9]{1,5})/?")
#: Protocols of serial ports over a network, by scheme (VirtualSerialPortURIBackingInfo).
PROTOCOLS = {
    "": "raw", "tcp": "raw", "tcp4": "raw", "tcp6": "raw",
    "telnet": "telnet", "telnets": "telnets",
    "ssl": "tls", "tcp+ssl": "tls", "tcp4+ssl": "tls", "tcp6+ssl": "tls",
}  # fmt: skip


def devices(settings: Settings, source: Source, hardware: int) -> Devices:
    """Return all devices."""
    disks, controllers = _disks(settings, source, hardware)
    vram = -(-settings.number("svga.vramSize", DEFAULT_VIDEO_MEMORY) // 1024)
    if not 0 <= vram < 1 << 31:
        settings.fail("svga.vramSize", "svga.vramSize is out of range")
    return Devices(
        disks=tuple(disks),
        controllers=tuple(controllers),
        filesystems=tuple(_folders(settings)),
        interfaces=tuple(_interfaces(settings)),
        serials=tuple(
            Serial(target=ChardevTarget(port=port), **_port(settings, source, f"serial{port}"))
            for port in range(4)
            if settings.truth(f"serial{port}.present", False)
        ),
        parallels=tuple(
            Parallel(target=ChardevTarget(port=port), **_port(settings, source, f"parallel{port}"))
            for port in range(3)
            if settings.truth(f"parallel{port}.present", False)
        ),
        graphics=tuple(_screen(settings)),
        videos=(Video(model=VideoModel(type="vmvga", vram=vram)),),
    )


def _screen(settings: Settings) -> Iterator[Graphics]:
    if not settings.truth("RemoteDisplay.vnc.enabled", False):
        return
    port = settings.number("RemoteDisplay.vnc.port", -1)
    if port > 65535:
        settings.fail("RemoteDisplay.vnc.port", f"{port} is no TCP port")
    yield Graphics(
        type="vnc",
        port=port if port > 0 else None,
        autoport=port < 0,
        listen=settings.text("RemoteDisplay.vnc.ip"),
        keymap=settings.text("RemoteDisplay.vnc.keymap"),
        passwd=settings.text("RemoteDisplay.vnc.password"),
    )


# --- disks --------------------------------------------------------------------------------------


def _disks(
    settings: Settings, source: Source, hardware: int
) -> tuple[list[Disk], list[Controller]]:
    found: list[Disk] = []
    controllers: list[Controller] = []
    units = WIDE_SCSI_UNITS if hardware >= WIDE_FROM else SCSI_UNITS
    models: list[str | None] = []
    for number in range(CONTROLLERS):
        present = settings.truth(f"scsi{number}.present", False)
        word = settings.word(f"scsi{number}.virtualDev", SCSI_MODELS) if present else None
        models.append(SCSI_MODELS[word] if word is not None else None)
        for unit in range(units) if present else ():
            if unit != SCSI_OWN:
                place = number * 15 + unit - (unit > SCSI_OWN)
                found += _disk(settings, source, "scsi", number, unit, place)
    # Those up to the last that has a disk.
    controllers += [
        Controller(type="scsi", index=number, model=models[number])
        for number in range(_last(found, "scsi") + 1)
    ]
    for number in range(CONTROLLERS):
        if settings.truth(f"sata{number}.present", False):
            for unit in range(SATA_UNITS):
                place = number * SATA_UNITS + unit
                found += _disk(settings, source, "sata", number, unit, place)
    controllers += [
        Controller(type="sata", index=number) for number in range(_last(found, "sata") + 1)
    ]
    for bus in range(2):
        for unit in range(2):
            found += _disk(settings, source, "ide", bus, unit, bus * 2 + unit)
    for unit in range(2):
        found += _floppy(settings, source, unit)
    return found, controllers


def _last(disks: list[Disk], bus: str) -> int:
    return max(
        (
            disk.address.controller or 0
            for disk in disks
            if isinstance(disk.address, DriveAddress)
            and disk.target is not None
            and disk.target.bus == bus
        ),
        default=-1,
    )


def _disk(
    settings: Settings, source: Source, bus: Any, number: int, unit: int, place: int
) -> Iterator[Disk]:
    prefix = f"{bus}{number}:{unit}"
    # What sits at the client's machine cannot be said.
    if not settings.truth(f"{prefix}.present", False) or settings.truth(
        f"{prefix}.clientDevice", False
    ):
        return
    name = settings.text(f"{prefix}.fileName")
    kind = (settings.text(f"{prefix}.deviceType") or "").lower()
    fields = _image(settings, source, bus, prefix, name, kind)
    if fields is None:
        return
    cache: Any = "writethrough" if settings.truth(f"{prefix}.writeThrough", False) else None
    mode = (settings.text(f"{prefix}.mode") or "").lower()
    transient = fields["device"] == "disk" and mode == "independent-nonpersistent"
    yield Disk(
        target=DiskTarget(dev=disk_name("hd" if bus == "ide" else "sd", place), bus=bus),
        driver=DiskDriver(cache=cache) if cache and fields["device"] == "disk" else None,
        transient=Transient() if transient else None,
        address=DriveAddress(
            controller=0 if bus == "ide" else number,
            bus=number if bus == "ide" else 0,
            target=0,
            unit=unit,
        ),
        **fields,
    )


def _image(
    settings: Settings, source: Source, bus: str, prefix: str, name: str | None, kind: str
) -> dict[str, Any] | None:
    """Return type, device and source of a disk or drive; ``None`` for what is passed over."""
    lower = (name or "").lower()
    disc = {"device": "cdrom", "readonly": True}
    if lower.endswith(".vmdk"):
        known = {"", "disk", "scsi-harddisk" if bus == "scsi" else "ata-harddisk"}
        if bus != "sata" and kind not in known:
            settings.fail(f"{prefix}.deviceType", f"{name!r} is an image of a disk, not {kind!r}")
        return {"type": "file", "device": "disk", "source": DiskSource(file=source(name or ""))}
    if lower.endswith(".iso"):
        if kind not in {"", "cdrom-image"}:
            settings.fail(f"{prefix}.deviceType", f"{name!r} is an image of a disc, not {kind!r}")
        return disc | {"type": "file", "source": DiskSource(file=source(name or ""))}
    passed = bus == "scsi" and kind == "scsi-passthru"
    if passed and (name or "").startswith(CDROM_FOLDER):
        return {"type": "block", "device": "lun", "source": DiskSource(dev=name)} | READONLY
    if passed:
        return None
    if kind in {"atapi-cdrom", "cdrom-raw"}:
        device = "lun" if kind == "cdrom-raw" else "cdrom"
        if lower == AUTODETECT or name is None:
            where = DiskSource(startup_policy="optional") if name is not None else None
        else:
            where = DiskSource(dev=name)
        return {"type": "block", "device": device, "source": where} | READONLY
    if lower == EMPTY:
        return disc | {"type": "file"}
    if kind == "cdrom-image" and name is not None:
        return disc | {"type": "file"}
    settings.fail(f"{prefix}.fileName", f"{prefix} is {name!r} of type {kind!r}, which is unknown")
    return None


READONLY = {"readonly": True}


def _floppy(settings: Settings, source: Source, unit: int) -> Iterator[Disk]:
    prefix = f"floppy{unit}"
    # Drives are there unless said otherwise, but only those that are mentioned count.
    if not settings.truth(f"{prefix}.present", False) or settings.truth(
        f"{prefix}.clientDevice", False
    ):
        return
    name = settings.text(f"{prefix}.fileName")
    kind = settings.word(f"{prefix}.fileType", ("device", "file"))
    where = None
    if kind == "file":
        if name:
            where = DiskSource(file=source(name))
    elif name and name.lower() != AUTODETECT:
        where = DiskSource(dev=name)
    elif name:
        where = DiskSource(startup_policy="optional")
    yield Disk(
        type="block" if kind == "device" else "file",
        device="floppy",
        source=where,
        target=DiskTarget(dev=disk_name("fd", unit), bus="fdc"),
        address=DriveAddress(controller=0, bus=0, target=0, unit=unit),
    )


# --- the others ---------------------------------------------------------------------------------


def _folders(settings: Settings) -> Iterator[Filesystem]:
    if settings.truth("isolation.tools.hgfs.disable", True):
        return
    most = settings.number("sharedFolder.maxNum", 0)
    if most > MOST_FOLDERS:
        settings.fail("sharedFolder.maxNum", f"{most} folders are more than {MOST_FOLDERS}")
    for number in range(most):
        prefix = f"sharedFolder{number}"
        if not settings.truth(f"{prefix}.present", False):
            continue
        if not settings.truth(f"{prefix}.enabled", False):
            continue
        yield Filesystem(
            type="mount",
            source=FilesystemSource(dir=settings.needed(f"{prefix}.hostPath")),
            target=settings.needed(f"{prefix}.guestName"),
            readonly=not settings.truth(f"{prefix}.writeAccess", False),
        )


def _interfaces(settings: Settings) -> Iterator[Interface]:
    numbers = set()
    for name in settings.names():
        if name.startswith("ethernet"):
            digits = name.removeprefix("ethernet").partition(".")[0]
            if not (digits.isdecimal() and digits.isascii() and int(digits[:9]) < MOST_INTERFACES):
                settings.fail(name, f"{name!r} does not say which interface it is of")
            numbers.add(int(digits[:9]))
    for number in sorted(numbers):
        if settings.truth(f"ethernet{number}.present", False):
            yield _interface(settings, f"ethernet{number}")


def _interface(settings: Settings, prefix: str) -> Interface:
    kinds = ("bridged", "custom", "nat", "hostonly")
    kind = settings.word(f"{prefix}.connectionType", kinds)
    name = settings.text(f"{prefix}.networkName")
    model = settings.word(f"{prefix}.virtualDev", MODELS)
    if model == "vmxnet" and settings.number(f"{prefix}.features", 0) == VMXNET2_FEATURES:
        model = "vmxnet2"
    fields: dict[str, Any] = {"mac": _mac(settings, prefix), "model": model}
    switch = settings.uuid(f"{prefix}.dvs.switchId")
    if switch is not None:
        where = InterfaceSource(
            switchid=str(switch),
            portid=settings.needed(f"{prefix}.dvs.portId"),
            portgroupid=settings.needed(f"{prefix}.dvs.portgroupId"),
            connectionid=settings.needed(f"{prefix}.dvs.connectionId"),
        )
        return Interface(type="vds", source=where, **fields)
    if kind == "nat":
        return Interface(type="user", **fields)
    if kind == "hostonly":
        settings.fail(f"{prefix}.connectionType", "a definition has no place for 'hostonly'")
    if kind is None and name is None:
        return Interface(type="null", **fields)
    if kind != "custom" and name is None:
        settings.fail(f"{prefix}.connectionType", f"{prefix}.networkName is not set")
    target = settings.needed(f"{prefix}.vnet") if kind == "custom" else None
    where = InterfaceSource(bridge=name or "")
    return Interface(type="bridge", source=where, target=target, **fields)


def _mac(settings: Settings, prefix: str) -> Mac | None:
    kind = settings.word(f"{prefix}.addressType", ("generated", "vpx", "static"))
    name = f"{prefix}.address" if kind == "static" else f"{prefix}.generatedAddress"
    address = settings.text(name)
    if address is not None:
        if not _MAC.fullmatch(address):
            settings.fail(name, f"{address!r} is not a MAC address")
        address = ":".join(f"{int(part, 16):02x}" for part in re.split("[:-]", address))
    if address is None:
        return None
    said: dict[str | None, Any] = {"static": "static", None: None}
    check = settings.text(f"{prefix}.checkMACAddress")
    return Mac(
        address=address,
        type=said.get(kind, "generated"),
        check=None if check is None else check.lower() == "true",
    )


def _port(settings: Settings, source: Source, prefix: str) -> dict[str, Any]:
    """Return the host's side of a port."""
    serial = prefix.startswith("serial")
    kinds = ("device", "file", "pipe", "network") if serial else ("device", "file")
    kind = settings.word(f"{prefix}.fileType", kinds, "device" if serial else None)
    if kind is None:
        settings.fail(f"{prefix}.present", f"{prefix}.fileType is not set")
    name = settings.text(f"{prefix}.fileName")
    if kind == "device":
        return {"type": "dev", "sources": (ChardevSource(path=name),)}
    if name is None:
        settings.fail(f"{prefix}.fileType", f"{prefix}.fileName is not set")
    if kind == "file":
        return {"type": "file", "sources": (ChardevSource(path=source(name)),)}
    if kind == "pipe":
        return {"type": "pipe", "sources": (ChardevSource(path=name),)}
    found = _URI.fullmatch(name)
    scheme = "" if found is None else (found[1] or "").lower()
    if found is None or scheme not in PROTOCOLS:
        settings.fail(f"{prefix}.fileName", f"{name!r} is not an address such as tcp://host:4001")
    end = settings.word(f"{prefix}.network.endPoint", ("server", "client"), "server")
    host = found[2].strip("[]") or None
    where = ChardevSource(
        mode="bind" if end == "server" else "connect", host=host, service=str(int(found[3]))
    )
    return {"type": "tcp", "sources": (where,), "protocol": PROTOCOLS[scheme]}
