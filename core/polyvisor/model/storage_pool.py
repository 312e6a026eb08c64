"""Storage pools: where volumes come from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import NAME, UINT, ULONG, UUID_TEXT, YES_NO, Fault, choices, nearest
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    inner,
    inners,
    size,
    value,
)
from polyvisor.model.document import Document
from polyvisor.model.storage import Permissions, sanitized, set_defaults

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Initiator, Secret
    from polyvisor.model.devices.hostdev import HostPciAddress

__all__ = [
    "FreeExtent",
    "PoolAdapter",
    "PoolAdapterParent",
    "PoolAuth",
    "PoolConfigOptions",
    "PoolDevice",
    "PoolFeatures",
    "PoolHost",
    "PoolMountOptions",
    "PoolOption",
    "PoolRefresh",
    "PoolSource",
    "PoolTarget",
    "StoragePoolSpec",
]

PoolType = Literal[
    "dir", "fs", "netfs", "logical", "disk", "iscsi", "iscsi-direct", "scsi", "mpath", "rbd",
    "sheepdog", "gluster", "zfs", "vstorage",
]  # fmt: skip
AdapterType = Literal["scsi_host", "fc_host"]
AuthType = Literal["chap", "ceph"]
RefreshAllocation = Literal["default", "capacity"]


class _Kind(NamedTuple):
    """What the source of one type of pool must have; facts of poolTypeInfo (storage_conf.c)."""

    #: Of host, device, dir, adapter, name, initiator: those that mean something.
    parts: frozenset[str] = frozenset()
    #: Formats, the default first.
    formats: tuple[str, ...] = ()
    #: Whether volumes are reached by name over the network, without a path here.
    remote: bool = False


def _kind(parts: str, formats: str = "", *, remote: bool = False) -> _Kind:
    return _Kind(frozenset(parts.split()), tuple(formats.split()), remote)


_KINDS: dict[str, _Kind] = {
    "dir": _kind(""),
    "fs": _kind(
        "device",
        "auto ext2 ext3 ext4 ufs iso9660 udf gfs gfs2 vfat hfs+ xfs ocfs2 vmfs",
    ),
    "netfs": _kind("host dir", "auto nfs glusterfs cifs"),
    "logical": _kind("name device", "lvm2 unknown"),
    "disk": _kind("device", "unknown dos dvh gpt mac bsd pc98 sun lvm2"),
    "iscsi": _kind("host device initiator"),
    "iscsi-direct": _kind("host device initiator", remote=True),
    "scsi": _kind("adapter"),
    "mpath": _kind(""),
    "rbd": _kind("host name", remote=True),
    "sheepdog": _kind("host name", remote=True),
    "gluster": _kind("host name dir", remote=True),
    "zfs": _kind("name device"),
    "vstorage": _kind("name"),
}


@element(kw_only=True)
class PoolFeatures(Element):
    """What the pool's file system is told to do."""

    cow: bool | None = inner("cow", "state", YES_NO)


@element(kw_only=True)
class PoolHost(Element):
    """A server of the pool."""

    name: str = attr(required=True)
    port: int | None = attr(UINT)


@element(kw_only=True)
class FreeExtent(Element):
    """Room on a device, in bytes from its start."""

    start: int | None = attr(ULONG)
    end: int | None = attr(ULONG)


@element(kw_only=True)
class PoolDevice(Element):
    """A device of the pool."""

    path: str = attr(required=True)
    part_separator: bool | None = attr(YES_NO)
    free_extents: tuple[FreeExtent, ...] = children(FreeExtent, "freeExtent")


@element(kw_only=True)
class PoolAdapterParent(Element):
    """A SCSI adapter by its place on the host, which stays when the host is started anew."""

    unique_id: int = attr(UINT, required=True)
    address: HostPciAddress | None = child(".devices.hostdev:HostPciAddress", required=True)


_wwn = re.compile(r"[0-9a-fA-F]{16}").fullmatch


@element(kw_only=True)
class PoolAdapter(Element):
    """A SCSI or Fibre Channel adapter of the host."""

    type: AdapterType | None = attr(choices(AdapterType))
    name: str | None = attr()
    parent: str | None = attr()
    parent_wwnn: str | None = attr()
    parent_wwpn: str | None = attr()
    parent_fabric_wwn: str | None = attr()
    managed: bool | None = attr(YES_NO)
    wwnn: str | None = attr()
    wwpn: str | None = attr()
    parentaddr: PoolAdapterParent | None = child(PoolAdapterParent)

    def __attrs_post_init__(self) -> None:
        # Before there were types, a name alone meant a SCSI adapter.
        others = (self.wwnn, self.wwpn, self.parent, self.parentaddr)
        if self.type is None and self.name is not None and not any(others):
            set_defaults(self, type="scsi_host")

    def _refuse(self) -> None:
        if self.type is None:
            raise Fault("an adapter has no type", "add type='scsi_host' or type='fc_host'")
        if self.type == "scsi_host":
            if (self.name is None) is (self.parentaddr is None):
                raise Fault(
                    "a scsi_host adapter is named either by name or by parentaddr",
                    "give one of them",
                )
            return
        if self.wwnn is None or self.wwpn is None:
            raise Fault("an fc_host adapter has no wwnn or no wwpn", "give both")
        if (self.parent_wwnn is None) is not (self.parent_wwpn is None):
            raise Fault("parent_wwnn and parent_wwpn go together", "give both or none")
        for name in ("wwnn", "wwpn", "parent_wwnn", "parent_wwpn", "parent_fabric_wwn"):
            word = getattr(self, name)
            if word is not None and _wwn(word) is None:
                raise Fault(f"{name} {word!r} is not a world wide name", "use 16 hex digits")


@element(kw_only=True)
class PoolAuth(Element):
    """Who asks the server."""

    type: AuthType = attr(choices(AuthType), required=True)
    username: str = attr(required=True)
    secret: Secret | None = child(".devices.disk_source:Secret")


@element(kw_only=True)
class PoolSource(Element):
    """What the pool is made of; what counts depends on its type."""

    XML_OPEN: ClassVar = True

    hosts: tuple[PoolHost, ...] = children(PoolHost, "host")
    devices: tuple[PoolDevice, ...] = children(PoolDevice, "device")
    dir: str | None = inner("dir", "path")
    adapter: PoolAdapter | None = child(PoolAdapter)
    name: str | None = value()
    initiator: Initiator | None = child(".devices.disk_source:Initiator")
    format: str | None = inner("format", "type")
    auth: PoolAuth | None = child(PoolAuth)
    #: Version of the protocol, such as ``"4.1"`` of NFS.
    protocol_ver: str | None = inner("protocol", "ver")
    vendor: str | None = inner("vendor", "name")
    product: str | None = inner("product", "name")

    def __attrs_post_init__(self) -> None:
        if self.dir is not None:
            set_defaults(self, dir=sanitized(self.dir))


@element(kw_only=True)
class PoolTarget(Element):
    """Where the volumes are found on the host."""

    XML_OPEN: ClassVar = True

    path: str | None = value()
    permissions: Permissions | None = child(Permissions)

    def __attrs_post_init__(self) -> None:
        if self.path is not None:
            set_defaults(self, path=sanitized(self.path))


@element(kw_only=True)
class PoolRefresh(Element):
    """How volumes are measured when the pool is looked through."""

    volume_allocation: RefreshAllocation | None = inner(
        "volume", "allocation", choices(RefreshAllocation)
    )


@element(kw_only=True)
class PoolMountOptions(Element):
    """Options with which a file system is mounted: ``<fs:mount_opts>``."""

    names: tuple[str, ...] = inners("fs:option", "name")


@element(kw_only=True)
class PoolOption(Element):
    """A setting of Ceph's library."""

    name: str = attr(required=True)
    value: str = attr(required=True)


@element(kw_only=True)
class PoolConfigOptions(Element):
    """Settings of Ceph's library: ``<rbd:config_opts>``."""

    options: tuple[PoolOption, ...] = children(PoolOption, "rbd:option")


@element(kw_only=True)
class StoragePoolSpec(Document):
    """A storage pool: libvirt's ``<pool>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "pool"
    XML_TITLE: ClassVar[str] = "storage pool"
    XML_NAMESPACES: ClassVar = {
        "fs": "http://libvirt.org/schemas/storagepool/fs/1.0",
        "rbd": "http://libvirt.org/schemas/storagepool/rbd/1.0",
    }

    type: PoolType = attr(choices(PoolType), required=True)
    #: May be left out where the source has a name.
    name: str = value(NAME)
    uuid: UUID | None = value(UUID_TEXT)
    #: In bytes; known of a running pool only.
    capacity: int = size(default=0, unit="bytes", scale=1)
    #: In bytes; known of a running pool only.
    allocation: int = size(default=0, unit="bytes", scale=1)
    #: In bytes; known of a running pool only.
    available: int = size(default=0, unit="bytes", scale=1)
    features: PoolFeatures | None = child(PoolFeatures)
    source: PoolSource = child(PoolSource, default=PoolSource())
    target: PoolTarget | None = child(PoolTarget)
    refresh: PoolRefresh | None = child(PoolRefresh)
    mount_opts: PoolMountOptions | None = child(PoolMountOptions, "fs:mount_opts")
    config_opts: PoolConfigOptions | None = child(PoolConfigOptions, "rbd:config_opts")

    def __attrs_post_init__(self) -> None:
        kind = _KINDS.get(self.type, _Kind())
        source = self.source
        if self.name is None and "name" in kind.parts and source.name is not None:
            set_defaults(self, name=source.name)
        added: dict[str, Any] = {}
        if "name" in kind.parts and source.name is None and self.type != "rbd":
            added["name"] = self.name
        if kind.formats and source.format is None:
            added["format"] = kind.formats[0]
        if self.type == "gluster" and source.dir is None:
            added["dir"] = "/"
        if added:
            source = attrs.evolve(source, **added)
            set_defaults(self, source=source)
        path = self._device_folder()
        if path is not None and (self.target is None or self.target.path is None):
            set_defaults(self, target=attrs.evolve(self.target or PoolTarget(), path=path))

    def _device_folder(self) -> str | None:
        """Return where the kernel shows the volumes, if that cannot be chosen."""
        folder = {"logical": "/dev", "zfs": "/dev/zvol"}.get(self.type)
        return None if folder is None else sanitized(f"{folder}/{self.source.name}")

    def _refuse(self) -> None:
        kind, source = _KINDS[self.type], self.source
        if self.name is None:
            raise Fault("the pool has no <name>", "add it")
        if self.type == "rbd" and source.name is None:
            raise Fault("an rbd pool's source has no <name>", "name Ceph's pool").at("source")
        if kind.formats and source.format not in kind.formats:
            raise Fault(
                f"{source.format!r} is not a format of a pool of type {self.type!r}",
                nearest(source.format or "", list(kind.formats)),
            ).at("source", "format")
        if self.features and self.features.cow is not None and self.type not in {"fs", "dir"}:
            raise Fault("cow is for pools of type fs and dir only", "remove it").at(
                "features", "cow"
            )
        if "host" in kind.parts and not source.hosts:
            raise Fault("the source has no <host>", "name the server").at("source")
        if "dir" in kind.parts and source.dir is None:
            raise Fault("the source has no <dir>", "give its path").at("source")
        if "adapter" in kind.parts and source.adapter is None:
            raise Fault("the source has no <adapter>", "name it").at("source")
        if kind.parts == {"device"} and not source.devices:
            raise Fault("the source has no <device>", "give its path").at("source")
        if not kind.remote and (self.target is None or self.target.path is None):
            raise Fault("the pool has no target path", "say where volumes appear").at("target")
        if self.type == "iscsi-direct" and (
            source.initiator is None or source.initiator.iqn is None
        ):
            raise Fault("the source has no initiator IQN", "add <initiator>").at("source")
        if (
            self.type == "netfs"
            and source.protocol_ver is not None
            and source.format not in {"nfs", "auto"}
        ):
            raise Fault("a protocol version is for NFS only", "remove it").at("source", "protocol")

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined.

        That is without sizes, which are a running pool's, and without what means nothing to
        a pool of its type.
        """
        spec = super().definition()
        kind = _KINDS[spec.type]
        source = spec.source
        dropped: dict[str, Any] = {}
        for part, field in (("host", "hosts"), ("device", "devices")):
            if part not in kind.parts:
                dropped[field] = ()
        for part in ("dir", "adapter", "name", "initiator"):
            if part not in kind.parts:
                dropped[part] = None
        if not kind.formats:
            dropped["format"] = None
        source = attrs.evolve(source, **dropped)
        source = attrs.evolve(
            source, devices=tuple(attrs.evolve(one, free_extents=()) for one in source.devices)
        )
        target = spec.target
        if kind.remote:
            target = None
        elif target is not None:
            target = attrs.evolve(
                target,
                path=spec._device_folder() or target.path,
                permissions=target.permissions and target.permissions.kept(),
            )
        return attrs.evolve(
            spec, capacity=0, allocation=0, available=0, source=source, target=target
        )
