"""Storage volumes: images, partitions and the like in a pool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import attrs

from polyvisor.model._codecs import STR, ULONG, Codec, Fault, choices, nearest
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    flag,
    inner,
    size,
    value,
)
from polyvisor.model.document import Document
from polyvisor.model.storage import Permissions, set_defaults

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Encryption

__all__ = [
    "BackingVolume",
    "StorageVolumeSpec",
    "VolumeExtent",
    "VolumeFeatures",
    "VolumeSource",
    "VolumeSourceDevice",
    "VolumeTarget",
    "VolumeTimestamps",
]

VolumeType = Literal["file", "block", "dir", "network", "netdir", "ploop"]
#: Formats of image files, of file systems on devices, and of partitions.
VolumeFormat = Literal[
    "unknown", "none", "auto",
    "raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "fat", "vhd", "ploop", "luks",
    "cow", "qcow", "qcow2", "qed", "vmdk",
    "ext2", "ext3", "ext4", "ufs", "iso9660", "udf", "gfs", "gfs2", "vfat", "hfs+", "xfs",
    "ocfs2", "vmfs",
    "linux", "fat16", "fat32", "linux-swap", "linux-lvm", "linux-raid", "extended",
]  # fmt: skip
_ENCRYPTIONS = ["default", "qcow", "luks", "luks2", "luks-any"]

_instant = re.compile(r"([0-9]{1,18})(?:\.([0-9]{0,9}))?").fullmatch


def _read_instant(text: str) -> int:
    found = _instant(text.strip())
    if found is None:
        raise Fault(f"{text!r} is not a time", "use seconds since 1970, as in 1341933637.273190990")
    return int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))


def _write_instant(instant: int) -> str:
    if not isinstance(instant, int) or instant < 0:
        raise Fault(f"{instant!r} is not a number of nanoseconds since 1970")
    seconds, rest = divmod(instant, 10**9)
    return f"{seconds}.{rest:09}" if rest else str(seconds)


INSTANT = Codec(_read_instant, _write_instant, schema={"type": "integer", "minimum": 0})


def _read_name(text: str | None) -> str:
    if not text:
        raise Fault("the name is empty", "give a name")
    return text


def _write_name(name: str) -> str:
    assert STR.write_text is not None
    return STR.write_text(_read_name(name))


VOLUME_NAME = Codec(_read_name, _write_name, schema={"type": "string", "minLength": 1})

_version = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}").fullmatch


def _read_compat(text: str) -> str:
    if _version(text) is None:
        raise Fault(f"{text!r} is not a version of qcow2", "use 0.10 or 1.1")
    return text


COMPAT = Codec(_read_compat, _read_compat)


@element(kw_only=True)
class VolumeExtent(Element):
    """A piece of a device, in bytes from its start."""

    start: int | None = attr(ULONG)
    end: int | None = attr(ULONG)


@element(kw_only=True)
class VolumeSourceDevice(Element):
    """A device that the volume lies on."""

    path: str | None = attr()
    extents: tuple[VolumeExtent, ...] = children(VolumeExtent, "extent")


@element(kw_only=True)
class VolumeSource(Element):
    """What an existing volume lies on."""

    devices: tuple[VolumeSourceDevice, ...] = children(VolumeSourceDevice, "device")


@element(kw_only=True)
class VolumeTimestamps(Element):
    """When the volume was used, in nanoseconds since 1970."""

    atime: int | None = value(INSTANT)
    mtime: int | None = value(INSTANT)
    ctime: int | None = value(INSTANT)
    btime: int | None = value(INSTANT)


@element(kw_only=True)
class VolumeFeatures(Element):
    """Features of qcow2."""

    lazy_refcounts: bool = flag()
    extended_l2: bool = flag()

    def _refuse(self) -> None:
        if self.extra is not None and self.extra.elements:
            tag = re.split(r"[\s/>]", self.extra.elements[0][1:], maxsplit=1)[0]
            raise Fault(
                f"{tag!r} is not a feature of volumes",
                nearest(tag, ["lazy_refcounts", "extended_l2"]),
            )


@element(kw_only=True)
class BackingVolume(Element):
    """What a volume is an overlay of."""

    path: str | None = value()
    format: VolumeFormat | None = inner("format", "type", choices(VolumeFormat))
    permissions: Permissions | None = child(Permissions)
    timestamps: VolumeTimestamps | None = child(VolumeTimestamps)


@element(kw_only=True)
class VolumeTarget(Element):
    """Where the volume is and what it is like."""

    XML_OPEN: ClassVar = True

    path: str | None = value()
    format: VolumeFormat | None = inner("format", "type", choices(VolumeFormat))
    permissions: Permissions | None = child(Permissions)
    timestamps: VolumeTimestamps | None = child(VolumeTimestamps)
    encryption: Encryption | None = child(".devices.disk_source:Encryption")
    #: The version of qcow2: ``"0.10"`` or ``"1.1"``.
    compat: str | None = value(COMPAT)
    #: Whether copying on write is off in the file system below.
    nocow: bool = flag()
    #: In bytes.
    cluster_size: int | None = size(name="clusterSize", unit="B", scale=1)
    features: VolumeFeatures | None = child(VolumeFeatures)

    def __attrs_post_init__(self) -> None:
        if self.features is not None and self.compat is None:
            set_defaults(self, compat="1.1")

    def _refuse(self) -> None:
        if self.encryption is not None and self.encryption.format not in _ENCRYPTIONS:
            word = self.encryption.format
            raise Fault(
                "the encryption has no format" if word is None else f"{word!r} is not a format",
                nearest(word or "", _ENCRYPTIONS),
            ).at("encryption")


@element(kw_only=True)
class StorageVolumeSpec(Document):
    """A storage volume: libvirt's ``<volume>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "volume"
    XML_TITLE: ClassVar[str] = "storage volume"

    type: VolumeType = attr(choices(VolumeType), default="file")
    name: str = value(VOLUME_NAME, required=True)
    #: What the pool finds it by.
    key: str | None = value()
    source: VolumeSource | None = child(VolumeSource)
    #: In bytes; 0: as what it is an overlay of.
    capacity: int = size(default=0, unit="bytes", scale=1)
    #: In bytes; left out: all of the capacity.
    allocation: int = size(unit="bytes", scale=1)
    #: Bytes taken on the host; known of an existing volume only.
    physical: int | None = size(unit="bytes", scale=1)
    target: VolumeTarget = child(VolumeTarget, default=VolumeTarget())
    backing_store: BackingVolume | None = child(BackingVolume, "backingStore")

    def __attrs_post_init__(self) -> None:
        if self.allocation is None:
            set_defaults(self, allocation=self.capacity)
        if self.type == "file" and self.target.format is None:
            set_defaults(self, target=attrs.evolve(self.target, format="raw"))
        backing = self.backing_store
        if self.type == "file" and backing is not None and backing.format is None:
            set_defaults(self, backing_store=attrs.evolve(backing, format="raw"))

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is created.

        That is without what only describes an existing volume: what it lies on, when it was
        used, and how much it takes.
        """
        spec = super().definition()
        target, backing = spec.target, spec.backing_store
        target = attrs.evolve(
            target,
            timestamps=None,
            permissions=target.permissions and target.permissions.kept(),
        )
        if backing is not None:
            backing = attrs.evolve(
                backing,
                timestamps=None,
                permissions=backing.permissions and backing.permissions.kept(),
            )
        return attrs.evolve(spec, source=None, physical=None, target=target, backing_store=backing)
