"""Disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import ON_OFF, UINT, ULONG, YES_NO, choices
from polyvisor.model.binding import (
    Element,
    RawXml,
    attr,
    child,
    element,
    flag,
    inner,
    size,
    subtree,
    value,
)
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Auth, DiskSource, Encryption

__all__ = [
    "BackingStore",
    "BlockIo",
    "Disk",
    "DiskDriver",
    "DiskFormat",
    "DiskTarget",
    "Geometry",
    "IoTune",
    "MetadataCache",
    "Mirror",
    "Transient",
]

DiskType = Literal["file", "block", "dir", "network", "volume", "nvme", "vhostuser"]
DiskDevice = Literal["disk", "cdrom", "floppy", "lun"]
DiskSnapshot = Literal["no", "internal", "external", "manual"]
DiskBus = Literal["ide", "fdc", "scsi", "virtio", "xen", "usb", "uml", "sata", "sd"]
Cache = Literal["default", "none", "writethrough", "writeback", "directsync", "unsafe"]
ErrorPolicy = Literal["stop", "report", "ignore", "enospace"]
Io = Literal["native", "threads", "io_uring"]
Discard = Literal["unmap", "ignore"]
DetectZeroes = Literal["off", "on", "unmap"]
Tray = Literal["closed", "open"]


@element(kw_only=True)
class MetadataCache(Element):
    """The cache for an image's own tables."""

    #: In bytes.
    max_size: int | None = size(unit="bytes", scale=1)


@element(kw_only=True)
class DiskDriver(Element):
    """How the hypervisor reaches the image."""

    name: str | None = attr()
    type: str | None = attr()
    cache: Cache | None = attr(choices(Cache))
    error_policy: ErrorPolicy | None = attr(choices(ErrorPolicy))
    rerror_policy: ErrorPolicy | None = attr(choices(ErrorPolicy))
    io: Io | None = attr(choices(Io))
    ioeventfd: bool | None = attr(ON_OFF)
    event_idx: bool | None = attr(ON_OFF)
    copy_on_read: bool | None = attr(ON_OFF)
    discard: Discard | None = attr(choices(Discard))
    iothread: int | None = attr(UINT)
    detect_zeroes: DetectZeroes | None = attr(choices(DetectZeroes))
    queues: int | None = attr(UINT)
    queue_size: int | None = attr(UINT)
    discard_no_unref: bool | None = attr(ON_OFF)
    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)
    metadata_cache: MetadataCache | None = child(MetadataCache)


@element(kw_only=True)
class DiskTarget(Element):
    """Under which name and on which bus the guest sees it."""

    dev: str | None = attr()
    bus: DiskBus | None = attr(choices(DiskBus))
    tray: Tray | None = attr(choices(Tray))
    removable: bool | None = attr(ON_OFF)
    rotation_rate: int | None = attr(UINT)


@element(kw_only=True)
class DiskFormat(Element):
    """The format of an image in a chain."""

    type: str | None = attr()
    metadata_cache: MetadataCache | None = child(MetadataCache)


@element(kw_only=True)
class BackingStore(Element):
    """The image below; without type and format: the end of the chain."""

    type: DiskType | None = attr(choices(DiskType))
    index: int | None = attr(UINT)
    format: DiskFormat | None = child(DiskFormat)
    source: DiskSource | None = child(".devices.disk_source:DiskSource")
    backing_store: BackingStore | None = child(".devices.disk:BackingStore", "backingStore")


@element(kw_only=True)
class Mirror(Element):
    """The other side of a block job."""

    type: DiskType | None = attr(choices(DiskType))
    file: str | None = attr()
    format_name: str | None = attr(name="format")
    job: str | None = attr()
    ready: str | None = attr()
    format: DiskFormat | None = child(DiskFormat)
    source: DiskSource | None = child(".devices.disk_source:DiskSource")
    backing_store: BackingStore | None = child(BackingStore, "backingStore")


@element(kw_only=True)
class Geometry(Element):
    """Cylinders, heads, sectors."""

    cyls: int | None = attr(UINT)
    heads: int | None = attr(UINT)
    secs: int | None = attr(UINT)
    trans: Literal["none", "auto", "lba"] | None = attr(choices(Literal["none", "auto", "lba"]))


@element(kw_only=True)
class BlockIo(Element):
    """Block sizes in bytes."""

    logical_block_size: int | None = attr(UINT)
    physical_block_size: int | None = attr(UINT)


@element(kw_only=True)
class IoTune(Element):
    """Limits in bytes and operations per second; bursts and their length in seconds."""

    total_bytes_sec: int | None = value(ULONG)
    read_bytes_sec: int | None = value(ULONG)
    write_bytes_sec: int | None = value(ULONG)
    total_iops_sec: int | None = value(ULONG)
    read_iops_sec: int | None = value(ULONG)
    write_iops_sec: int | None = value(ULONG)
    total_bytes_sec_max: int | None = value(ULONG)
    read_bytes_sec_max: int | None = value(ULONG)
    write_bytes_sec_max: int | None = value(ULONG)
    total_iops_sec_max: int | None = value(ULONG)
    read_iops_sec_max: int | None = value(ULONG)
    write_iops_sec_max: int | None = value(ULONG)
    size_iops_sec: int | None = value(ULONG)
    group_name: str | None = value()
    total_bytes_sec_max_length: int | None = value(ULONG)
    read_bytes_sec_max_length: int | None = value(ULONG)
    write_bytes_sec_max_length: int | None = value(ULONG)
    total_iops_sec_max_length: int | None = value(ULONG)
    read_iops_sec_max_length: int | None = value(ULONG)
    write_iops_sec_max_length: int | None = value(ULONG)


@element(kw_only=True)
class Transient(Element):
    """What is written is dropped when the domain stops."""

    share_backing: bool | None = attr(YES_NO, name="shareBacking")


@element(kw_only=True)
class Disk(Device):
    """A disk."""

    type: DiskType = attr(choices(DiskType), default="file")
    device: DiskDevice = attr(choices(DiskDevice), default="disk")
    model: str | None = attr()
    rawio: bool | None = attr(YES_NO)
    sgio: Literal["filtered", "unfiltered"] | None = attr(
        choices(Literal["filtered", "unfiltered"])
    )
    snapshot: DiskSnapshot | None = attr(choices(DiskSnapshot))
    driver: DiskDriver | None = child(DiskDriver)
    auth: Auth | None = child(".devices.disk_source:Auth")
    source: DiskSource | None = child(".devices.disk_source:DiskSource")
    backing_store: BackingStore | None = child(BackingStore, "backingStore")
    backenddomain: str | None = inner("backenddomain", "name")
    geometry: Geometry | None = child(Geometry)
    blockio: BlockIo | None = child(BlockIo)
    mirror: Mirror | None = child(Mirror)
    target: DiskTarget | None = child(DiskTarget)
    iotune: IoTune | None = child(IoTune)
    readonly: bool = flag()
    shareable: bool = flag()
    transient: Transient | None = child(Transient)
    serial: str | None = value()
    wwn: str | None = value()
    vendor: str | None = value()
    product: str | None = value()
    encryption: Encryption | None = child(".devices.disk_source:Encryption")
    #: What a hypervisor's driver keeps of a running domain's disk.
    private_data: RawXml | None = subtree("privateData")
