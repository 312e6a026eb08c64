"""A definition's devices as names and values of a ``vmx`` file (virVMXFormatDisk and its like)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from polyvisor.errors import SpecError
from polyvisor.model.devices.address import DriveAddress
from polyvisor.model.devices.chardev import Chardev, ChardevSource
from polyvisor.model.devices.interface import Interface, InterfaceSource, Mac
from polyvisor_vmware.reading_devices import (
    AUTODETECT,
    CDROM_FOLDER,
    MODELS,
    SCSI_MODELS,
    VMXNET2_FEATURES,
)
from polyvisor_vmware.settings import uuid_text

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.graphics import Graphics

__all__ = ["devices", "refuse"]

Entry = tuple[str, str]
FileName = Callable[[str], str]

#: How many interfaces a machine has, before and from version 7 on.
INTERFACES, MORE_INTERFACES, MORE_FROM = 4, 10, 7
PROTOCOLS = {"raw": "tcp", None: "tcp", "telnet": "telnet", "telnets": "telnets", "tls": "ssl"}
#: The first halves of MAC addresses that are VMware's, and what it gives out itself.
GENERATED, OWN = "00:0c:29", "00:50:56"
LAST_STATIC, FIRST_VPX, LAST_VPX = 0x3FFFFF, 0x800000, 0xBFFFFF


def refuse(element: str, fault: str, advice: str = "") -> NoReturn:
    """Raise ``SpecError`` for what the format cannot say.

    Args:
        element: where in the definition.
        fault: what it is.
        advice: what to do.
    """
    raise SpecError(
        f"cannot write {element}: {fault}{f'; {advice}' if advice else ''}",
        element=element,
        fault=fault,
    )


def devices(spec: DomainSpec, file_name: FileName, hardware: int) -> Iterator[Entry]:
    """Yield what to set for all devices."""
    held = spec.devices
    for graphics in held.graphics:
        yield from _screen(graphics)
    yield from _scsi(spec)
    yield from _sata(spec)
    floppies = set()
    for disk in held.disks:
        if disk.device == "floppy":
            unit = _unit(disk).unit or 0
            floppies.add(unit)
            yield from _floppy(disk, unit, file_name)
        else:
            yield from _disk(disk, file_name)
    for unit in range(2):
        # Drives are there unless said otherwise.
        if unit not in floppies:
            yield f"floppy{unit}.present", "false"
    yield from _folders(spec)
    limit = MORE_INTERFACES if hardware >= MORE_FROM else INTERFACES
    if len(held.interfaces) > limit:
        refuse("devices/interface", f"this machine has {limit} interfaces at most")
    for number, interface in enumerate(held.interfaces):
        yield from _interface(interface, f"ethernet{number}")
    if len(held.videos) > 1:
        refuse("devices/video", "VMware has one video card", "leave the others out")
    for video in held.videos:
        if video.model is None or video.model.type != "vmvga":
            refuse("devices/video", "VMware has a card of its own", "use 'vmvga'")
        if (video.model.heads or 1) > 1:
            refuse("devices/video", "this card has one head")
        yield "svga.vramSize", str(-(-(video.model.vram or 0) // 64) * 64 * 1024)
    for serial in held.serials:
        yield from _serial(serial, file_name)
    for parallel in held.parallels:
        yield from _parallel(parallel, file_name)


def _screen(graphics: Graphics) -> Iterator[Entry]:
    if graphics.type != "vnc":
        refuse("devices/graphics", f"VMware has no screen of type {graphics.type!r}", "use vnc")
    prefix = "RemoteDisplay.vnc"
    yield f"{prefix}.enabled", "true"
    if not graphics.autoport:
        yield f"{prefix}.port", str(graphics.port or 0)
    if graphics.listens and graphics.listens[0].address is not None:
        yield f"{prefix}.ip", graphics.listens[0].address
    if graphics.keymap is not None:
        yield f"{prefix}.keymap", graphics.keymap
    if graphics.passwd is not None:
        yield f"{prefix}.password", graphics.passwd


# --- disks --------------------------------------------------------------------------------------


def _unit(disk: Disk) -> DriveAddress:
    address = disk.address
    if not isinstance(address, DriveAddress):
        refuse(
            "devices/disk", "its target says no place on a controller", "name it sda, hda, fda …"
        )
    return address


def _scsi(spec: DomainSpec) -> Iterator[Entry]:
    """Yield the SCSI controllers that have disks; the older way names the model with the disk."""
    names = {ours: theirs for theirs, ours in SCSI_MODELS.items()}
    models: dict[int, str | None] = {}
    for disk in spec.devices.disks:
        if disk.target is None or disk.target.bus != "scsi":
            continue
        number = _unit(disk).controller or 0
        if number > 3:
            refuse("devices/disk", f"VMware has no SCSI controller {number}", "use 0 to 3")
        models.setdefault(number, None)
        driver = None if disk.driver is None or disk.driver.name is None else disk.driver.name
        if driver is not None:
            if models[number] not in {None, driver.lower()}:
                refuse("devices/disk/driver", f"controller {number} cannot be {driver!r} too")
            models[number] = driver.lower()
    for controller in spec.devices.controllers:
        number = controller.index or 0
        if (
            controller.type == "scsi"
            and number in models
            and controller.model not in {None, "auto"}
        ):
            models[number] = controller.model
    for number in sorted(models):
        yield f"scsi{number}.present", "true"
        model = models[number]
        if model is not None:
            if model not in names:
                refuse("devices/controller", f"VMware has no SCSI controller {model!r}")
            yield f"scsi{number}.virtualDev", names[model]


def _sata(spec: DomainSpec) -> Iterator[Entry]:
    """Yield the SATA controllers that have disks; without them VMware does not see the disks."""
    disks = [disk for disk in spec.devices.disks if disk.target and disk.target.bus == "sata"]
    for number in sorted({_unit(disk).controller or 0 for disk in disks}):
        yield f"sata{number}.present", "true"


def _disk(disk: Disk, file_name: FileName) -> Iterator[Entry]:
    bus = None if disk.target is None else disk.target.bus
    if bus not in {"scsi", "ide", "sata"}:
        refuse("devices/disk", f"VMware has no disks on bus {bus!r}", "use scsi, sata or ide")
    if disk.type not in {"file", "block"}:
        refuse("devices/disk", f"VMware has no disks of type {disk.type!r}", "use file or block")
    address = _unit(disk)
    number = address.bus if bus == "ide" else address.controller
    prefix = f"{bus}{number or 0}:{address.unit or 0}"
    source = disk.source
    place = None if source is None else source.file or source.dev
    yield f"{prefix}.present", "true"
    yield f"{prefix}.deviceType", _kind(disk, bus or "", place)
    if disk.type == "file":
        if place:
            suffix = ".vmdk" if disk.device == "disk" else ".iso"
            if not place.lower().endswith(suffix):
                refuse("devices/disk/source", f"{place!r} should end with {suffix}")
            yield f"{prefix}.fileName", file_name(place)
        elif disk.device == "cdrom":
            yield f"{prefix}.fileName", "emptyBackingString"
        else:
            refuse("devices/disk", "it has no image", "add a source")
    elif place:
        yield f"{prefix}.fileName", place
    elif source is not None and source.startup_policy == "optional":
        yield f"{prefix}.autodetect", "true"
        yield f"{prefix}.fileName", AUTODETECT
    else:
        refuse("devices/disk", "it has no device", "add a source")
    cache = None if disk.driver is None else disk.driver.cache
    if cache == "writethrough" and bus == "scsi":
        yield f"{prefix}.writeThrough", "true"
    elif cache not in {None, "default"} and bus == "scsi":
        refuse("devices/disk/driver", f"VMware has no cache mode {cache!r}", "use writethrough")
    if disk.transient is not None:
        yield f"{prefix}.mode", "independent-nonpersistent"


def _kind(disk: Disk, bus: str, place: str | None) -> str:
    if disk.device == "cdrom":
        return "cdrom-image" if disk.type == "file" else "atapi-cdrom"
    if disk.device == "lun":
        passed = bus == "scsi" and (place or "").startswith(CDROM_FOLDER)
        return "scsi-passthru" if passed else "cdrom-raw"
    if disk.type != "file":
        refuse("devices/disk", "VMware has no disks that are devices", "use an image")
    return "scsi-hardDisk" if bus == "scsi" else "ata-hardDisk"


def _floppy(disk: Disk, unit: int, file_name: FileName) -> Iterator[Entry]:
    if unit > 1:
        refuse("devices/disk", "VMware has two floppy drives", "use fda and fdb")
    if disk.type not in {"file", "block"}:
        refuse("devices/disk", f"VMware has no floppy of type {disk.type!r}", "use file or block")
    place = None if disk.source is None else disk.source.file or disk.source.dev
    yield f"floppy{unit}.present", "true"
    yield f"floppy{unit}.fileType", "file" if disk.type == "file" else "device"
    if place:
        yield f"floppy{unit}.fileName", file_name(place) if disk.type == "file" else place


# --- the others ---------------------------------------------------------------------------------


def _folders(spec: DomainSpec) -> Iterator[Entry]:
    folders = spec.devices.filesystems
    if folders:
        yield "isolation.tools.hgfs.disable", "false"
        yield "sharedFolder.maxNum", str(len(folders))
    for number, folder in enumerate(folders):
        if folder.type != "mount" or folder.source is None or folder.target is None:
            refuse("devices/filesystem", "VMware shares folders only", "use type 'mount'")
        prefix = f"sharedFolder{number}"
        yield f"{prefix}.present", "true"
        yield f"{prefix}.enabled", "true"
        yield f"{prefix}.readAccess", "true"
        yield f"{prefix}.writeAccess", "false" if folder.readonly else "true"
        yield f"{prefix}.hostPath", folder.source.dir or ""
        yield f"{prefix}.guestName", folder.target


def _interface(interface: Interface, prefix: str) -> Iterator[Entry]:
    yield f"{prefix}.present", "true"
    model = interface.model
    if model == "vmxnet2":
        yield f"{prefix}.virtualDev", "vmxnet"
        yield f"{prefix}.features", str(VMXNET2_FEATURES)
    elif model is not None:
        if model not in MODELS:
            refuse(
                "devices/interface/model", f"VMware has no {model!r}", f"use {', '.join(MODELS)}"
            )
        yield f"{prefix}.virtualDev", model
    source = interface.source or InterfaceSource()
    if interface.type == "bridge":
        yield f"{prefix}.networkName", source.bridge or ""
        if interface.target is not None:
            yield f"{prefix}.connectionType", "custom"
            yield f"{prefix}.vnet", interface.target
        else:
            yield f"{prefix}.connectionType", "bridged"
    elif interface.type == "user":
        yield f"{prefix}.connectionType", "nat"
    elif interface.type == "vds":
        yield from _switch(source, f"{prefix}.dvs")
    elif interface.type != "null":
        refuse("devices/interface", f"VMware has no type {interface.type!r}", "use bridge")
    if interface.mac is not None and interface.mac.address is not None:
        yield from _mac(interface.mac, prefix)


def _switch(source: InterfaceSource, prefix: str) -> Iterator[Entry]:
    try:
        switch = UUID(source.switchid or "")
    except ValueError:
        refuse("devices/interface/source", f"{source.switchid!r} is no UUID of a switch")
    yield f"{prefix}.switchId", uuid_text(switch)
    yield f"{prefix}.portId", source.portid or "0"
    yield f"{prefix}.portgroupId", source.portgroupid or ""
    yield f"{prefix}.connectionId", source.connectionid or "0"


def _mac(mac: Mac, prefix: str) -> Iterator[Entry]:
    """Yield the address, and whose it is: said, or by VMware's own ranges."""
    address = (mac.address or "").lower()
    try:
        rest = int(address[9:].replace(":", ""), 16)
    except ValueError:
        refuse("devices/interface/mac", f"{mac.address!r} is no MAC address")
    check: bool | None = None
    vpx = address.startswith(OWN) and FIRST_VPX <= rest <= LAST_VPX
    if address.startswith(GENERATED) or vpx:
        kind = "generated"
    else:
        kind = "static"
        if not (address.startswith(OWN) and rest <= LAST_STATIC):
            check = False
    if mac.type is not None:
        kind = mac.type
        if kind == "generated":
            check = None
    if mac.check is not None:
        check = mac.check
    if kind == "generated":
        yield f"{prefix}.addressType", "vpx" if vpx else "generated"
        yield f"{prefix}.generatedAddress", address
        if not vpx:
            yield f"{prefix}.generatedAddressOffset", "0"
    else:
        yield f"{prefix}.addressType", "static"
        yield f"{prefix}.address", address
    if check is not None:
        yield f"{prefix}.checkMACAddress", "true" if check else "false"


def _serial(serial: Chardev, file_name: FileName) -> Iterator[Entry]:
    port = 0 if serial.target is None else serial.target.port or 0
    if port > 3:
        refuse("devices/serial", f"VMware has no port {port}", "use 0 to 3")
    prefix = f"serial{port}"
    source: Any = serial.source or ChardevSource()
    yield f"{prefix}.present", "true"
    if serial.type == "tcp":
        if serial.protocol not in PROTOCOLS:
            refuse("devices/serial/protocol", f"VMware has no {serial.protocol!r}")
        yield f"{prefix}.fileType", "network"
        host = f"[{source.host}]" if ":" in (source.host or "") else source.host or ""
        address = f"{PROTOCOLS[serial.protocol]}://{host}:{source.service or 0}"
        yield f"{prefix}.fileName", address
        yield f"{prefix}.network.endPoint", "server" if source.mode == "bind" else "client"
    elif serial.type == "pipe":
        yield f"{prefix}.fileType", "pipe"
        yield f"{prefix}.pipe.endPoint", "client"
        yield f"{prefix}.tryNoRxLoss", "false"
        yield f"{prefix}.fileName", source.path or ""
    else:
        yield from _file(serial, prefix, file_name)
    yield f"{prefix}.yieldOnMsrRead", "true"


def _parallel(parallel: Chardev, file_name: FileName) -> Iterator[Entry]:
    port = 0 if parallel.target is None else parallel.target.port or 0
    if port > 2:
        refuse("devices/parallel", f"VMware has no port {port}", "use 0 to 2")
    yield f"parallel{port}.present", "true"
    yield from _file(parallel, f"parallel{port}", file_name)


def _file(device: Chardev, prefix: str, file_name: FileName) -> Iterator[Entry]:
    if device.type not in {"dev", "file"}:
        refuse(f"devices/{prefix[:-1]}", f"VMware has no type {device.type!r}", "use dev or file")
    path = (device.source or ChardevSource()).path or ""
    yield f"{prefix}.fileType", "device" if device.type == "dev" else "file"
    yield f"{prefix}.fileName", path if device.type == "dev" else file_name(path)
