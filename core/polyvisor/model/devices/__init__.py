"""The devices of a domain, one module per kind, imported when the kind is first met."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyvisor.model._codecs import STR, UINT
from polyvisor.model.binding import (
    Choice,
    Element,
    attr,
    bindings_of,
    child,
    children,
    element,
    inner,
    value,
)

if TYPE_CHECKING:
    from polyvisor.model.devices.address import Address
    from polyvisor.model.devices.chardev import Channel, Console, Parallel, Serial
    from polyvisor.model.devices.controller import Controller
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.filesystem import Filesystem
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor.model.devices.hostdev import Hostdev
    from polyvisor.model.devices.hub import Hub
    from polyvisor.model.devices.input import Input
    from polyvisor.model.devices.interface import Interface
    from polyvisor.model.devices.iommu import Iommu
    from polyvisor.model.devices.lease import Lease
    from polyvisor.model.devices.memballoon import Memballoon
    from polyvisor.model.devices.memory import Memory
    from polyvisor.model.devices.nvram import NvramDevice
    from polyvisor.model.devices.panic import Panic
    from polyvisor.model.devices.redirdev import Redirdev, RedirFilter
    from polyvisor.model.devices.rng import Rng
    from polyvisor.model.devices.shmem import Shmem
    from polyvisor.model.devices.smartcard import Smartcard
    from polyvisor.model.devices.sound import Audio, Sound
    from polyvisor.model.devices.tpm import Tpm
    from polyvisor.model.devices.video import Video
    from polyvisor.model.devices.vsock import Vsock
    from polyvisor.model.devices.watchdog import Watchdog

__all__ = ["Boot", "Device", "Devices"]


@element(kw_only=True)
class Boot(Element):
    """Place of a device in the boot order."""

    order: int | None = attr(UINT)
    loadparm: str | None = attr()


@element(kw_only=True)
class Rom(Element):
    """A device's option ROM."""

    enabled: str | None = attr()
    bar: str | None = attr()
    file: str | None = attr()


#: Where a device sits; the type decides the class.
ADDRESS = Choice(
    "type",
    {
        "pci": ".devices.address:PciAddress",
        "drive": ".devices.address:DriveAddress",
        "virtio-serial": ".devices.address:VirtioSerialAddress",
        "ccid": ".devices.address:CcidAddress",
        "usb": ".devices.address:UsbAddress",
        "spapr-vio": ".devices.address:SpaprVioAddress",
        "virtio-s390": ".devices.address:VirtioS390Address",
        "ccw": ".devices.address:CcwAddress",
        "virtio-mmio": ".devices.address:VirtioMmioAddress",
        "isa": ".devices.address:IsaAddress",
        "dimm": ".devices.address:DimmAddress",
        "unassigned": ".devices.address:UnassignedAddress",
    },
)


@element(kw_only=True)
class Device(Element):
    """What every device has (virDomainDeviceInfo)."""

    boot: Boot | None = child(Boot, last=True)
    #: The name by which hypervisor and events speak of it.
    alias: str | None = inner("alias", "name", STR, last=True)
    rom: Rom | None = child(Rom, last=True)
    acpi_index: int | None = inner("acpi", "index", UINT, last=True)
    address: Address | None = child(ADDRESS, last=True)


#: The type decides the class.
HOSTDEV = Choice(
    "type",
    {
        "pci": ".devices.hostdev:PciHostdev",
        "usb": ".devices.hostdev:UsbHostdev",
        "scsi": ".devices.hostdev:ScsiHostdev",
        "scsi_host": ".devices.hostdev:ScsiHostHostdev",
        "mdev": ".devices.hostdev:MdevHostdev",
        "storage": ".devices.hostdev:CapabilityHostdev",
        "misc": ".devices.hostdev:CapabilityHostdev",
        "net": ".devices.hostdev:CapabilityHostdev",
    },
)


@element(kw_only=True)
class Devices(Element):
    """All devices; written grouped by kind, as libvirt does."""

    XML_OPEN = True

    emulator: str | None = value()
    disks: tuple[Disk, ...] = children(".devices.disk:Disk", "disk")
    controllers: tuple[Controller, ...] = children(".devices.controller:Controller", "controller")
    leases: tuple[Lease, ...] = children(".devices.lease:Lease", "lease")
    filesystems: tuple[Filesystem, ...] = children(".devices.filesystem:Filesystem", "filesystem")
    interfaces: tuple[Interface, ...] = children(".devices.interface:Interface", "interface")
    smartcards: tuple[Smartcard, ...] = children(".devices.smartcard:Smartcard", "smartcard")
    serials: tuple[Serial, ...] = children(".devices.chardev:Serial", "serial")
    parallels: tuple[Parallel, ...] = children(".devices.chardev:Parallel", "parallel")
    consoles: tuple[Console, ...] = children(".devices.chardev:Console", "console")
    channels: tuple[Channel, ...] = children(".devices.chardev:Channel", "channel")
    inputs: tuple[Input, ...] = children(".devices.input:Input", "input")
    tpms: tuple[Tpm, ...] = children(".devices.tpm:Tpm", "tpm")
    graphics: tuple[Graphics, ...] = children(".devices.graphics:Graphics", "graphics")
    sounds: tuple[Sound, ...] = children(".devices.sound:Sound", "sound")
    audios: tuple[Audio, ...] = children(".devices.sound:Audio", "audio")
    videos: tuple[Video, ...] = children(".devices.video:Video", "video")
    hostdevs: tuple[Hostdev, ...] = children(HOSTDEV, "hostdev")
    redirdevs: tuple[Redirdev, ...] = children(".devices.redirdev:Redirdev", "redirdev")
    redirfilter: RedirFilter | None = child(".devices.redirdev:RedirFilter")
    hubs: tuple[Hub, ...] = children(".devices.hub:Hub", "hub")
    watchdogs: tuple[Watchdog, ...] = children(".devices.watchdog:Watchdog", "watchdog")
    memballoon: Memballoon | None = child(".devices.memballoon:Memballoon")
    rngs: tuple[Rng, ...] = children(".devices.rng:Rng", "rng")
    nvram: NvramDevice | None = child(".devices.nvram:NvramDevice")
    panics: tuple[Panic, ...] = children(".devices.panic:Panic", "panic")
    shmems: tuple[Shmem, ...] = children(".devices.shmem:Shmem", "shmem")
    memories: tuple[Memory, ...] = children(".devices.memory:Memory", "memory")
    iommu: Iommu | None = child(".devices.iommu:Iommu")
    vsock: Vsock | None = child(".devices.vsock:Vsock")

    def __iter__(self) -> Iterator[Device]:
        """Go through all devices in the order in which they are written."""
        for name, binding in bindings_of(type(self)):
            if binding.kind == "child" and name not in {"leases", "redirfilter"}:
                held = getattr(self, name)
                if binding.many:
                    yield from held
                elif held is not None:
                    yield held
