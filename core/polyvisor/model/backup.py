"""Backups of running domains: which disks, where to, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import attrs

from polyvisor.errors import SchemaError
from polyvisor.model._codecs import UINT, YES_NO, Fault, choices
from polyvisor.model.binding import Element, attr, child, children, element, inner, value
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Encryption
    from polyvisor.model.domain import DomainSpec, SecLabel

__all__ = ["BackupDisk", "BackupDisks", "BackupImage", "BackupServer", "BackupSpec"]

BackupKind = Literal["push", "pull"]
BackupMode = Literal["full", "incremental"]
#: Where an image can be (virDomainBackupDiskDefParseXML).
ImageType = Literal["file", "block"]


@element(kw_only=True)
class BackupServer(Element):
    """The NBD server from which a backup is pulled."""

    transport: Literal["tcp", "unix", "rdma"] | None = attr(choices(Literal["tcp", "unix", "rdma"]))
    #: The address to listen at, for ``tcp``.
    name: str | None = attr()
    port: int | None = attr(UINT)
    #: For ``unix``.
    socket: str | None = attr()
    tls: bool | None = attr(YES_NO)

    def _refuse(self) -> None:
        if self.transport == "rdma":
            raise Fault("a backup is not pulled by 'rdma'", "use 'tcp' or 'unix'")
        if self.transport == "unix":
            if self.socket is None:
                raise Fault("transport 'unix' needs a socket", "add it")
        elif self.socket is not None:
            raise Fault("a socket is for transport 'unix'", "add transport='unix'")
        elif self.name is None:
            raise Fault("has no attribute name", "say the address to listen at")


@element(kw_only=True)
class BackupImage(Element):
    """The image that is written: a target in push mode, scratch space in pull mode."""

    #: For disks of type ``file``.
    file: str | None = attr()
    #: For disks of type ``block``.
    dev: str | None = attr()
    seclabels: tuple[SecLabel, ...] = children(".domain:SecLabel", "seclabel")
    encryption: Encryption | None = child(".devices.disk_source:Encryption")


@element(kw_only=True)
class BackupDisk(Element):
    """One disk of the domain."""

    #: Its target's name.
    name: str = attr(required=True)
    backup: bool | None = attr(YES_NO)
    type: ImageType | None = attr(choices(ImageType))
    backupmode: BackupMode | None = attr(choices(BackupMode))
    #: The checkpoint since which changes count.
    incremental: str | None = attr()
    #: Names under which a backup is pulled.
    exportname: str | None = attr()
    exportbitmap: str | None = attr()
    driver: str | None = inner("driver", "type")
    target: BackupImage | None = child(BackupImage)
    scratch: BackupImage | None = child(BackupImage)

    def _refuse(self) -> None:
        if self.backup is False:
            return
        for name in ("target", "scratch"):
            image = getattr(self, name)
            if image is not None:
                wanted = "dev" if self.type == "block" else "file"
                if getattr(image, wanted) is None:
                    raise Fault(
                        f"the image of a disk of type {self.type or 'file'!r} has no {wanted}",
                        "add it",
                    ).at(name)
        if self.type == "block" and self.target is None and self.scratch is None:
            raise Fault("a disk of type 'block' needs a device to write to", "add it")
        if self.backupmode == "full" and self.incremental is not None:
            raise Fault("a full backup has no checkpoint before it", "remove incremental")

    def kept(self, since: str | None) -> BackupDisk:
        """Return it with what is implied.

        Args:
            since: the checkpoint since which changes of all disks count.
        """
        if self.backup is False:
            return BackupDisk(name=self.name, backup=False)
        mode, incremental = self.backupmode, self.incremental
        if mode is None:
            mode = "full" if (incremental or since) is None else "incremental"
        if mode == "incremental":
            incremental = incremental or since
        return attrs.evolve(
            self, backup=True, type=self.type or "file", backupmode=mode, incremental=incremental
        )


@element(kw_only=True)
class BackupDisks(Element):
    """Disks for which something is said."""

    disks: tuple[BackupDisk, ...] = children(BackupDisk, "disk")


@element(kw_only=True)
class BackupSpec(Document):
    """A backup of a running domain: libvirt's ``<domainbackup>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "domainbackup"
    XML_TITLE: ClassVar[str] = "backup"

    #: Who copies: the hypervisor, or a client that reads from its server.
    mode: BackupKind = attr(choices(BackupKind), default="push")
    #: The job's number, once there is one.
    id: int | None = attr(UINT)
    #: The checkpoint since which changes count.
    incremental: str | None = value()
    server: BackupServer | None = child(BackupServer)
    #: None: all disks.
    disk_list: BackupDisks | None = child(BackupDisks, "disks")

    @property
    def disks(self) -> tuple[BackupDisk, ...]:
        """Disks for which something is said."""
        return () if self.disk_list is None else self.disk_list.disks

    def _refuse(self) -> None:
        if self.mode == "push":
            if self.server is not None:
                raise Fault("a server is for mode 'pull'", "remove it").at("server")
        elif self.server is None:
            raise Fault("mode 'pull' needs a <server>", "add it")
        wrong, right = ("scratch", "target") if self.mode == "push" else ("target", "scratch")
        for number, disk in enumerate(self.disks, 1):
            if getattr(disk, wrong) is not None:
                raise Fault(f"in mode {self.mode!r} a disk has no <{wrong}>", f"use <{right}>").at(
                    "disks", f"disk[{number}]", wrong
                )

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined."""
        spec = super().definition()
        disks = spec.disk_list
        if disks is not None:
            kept = tuple(disk.kept(spec.incremental) for disk in disks.disks)
            disks = attrs.evolve(disks, disks=kept)
        return attrs.evolve(spec, disk_list=disks)

    def aligned(self, domain: DomainSpec, suffix: str) -> Self:
        """Return the backup with every disk of a domain, as libvirt starts it.

        When nothing is said of disks, all that have a medium are copied; otherwise those of
        which nothing is said are left out (virDomainBackupAlignDisks, backup_conf.c).

        Args:
            domain: the running domain.
            suffix: ends the names of images that are chosen here.

        Raises:
            SchemaError: a disk's backup has no place, and none can be chosen.
        """
        spec = self.definition()
        said = {disk.name: disk for disk in spec.disks}
        images = "target" if self.mode == "push" else "scratch"
        result = []
        for disk in domain.devices.disks:
            name = disk.target.dev if disk.target is not None else None
            if name is None or name in said:
                continue
            path = disk.source.file if disk.source is not None else None
            one = BackupDisk(name=name, backup=not said and path is not None)
            said[name] = one
            result.append(one)
        everything = [
            disk if disk.backup is False else _with_image(disk, domain, images, suffix)
            for disk in (*spec.disks, *(one.kept(spec.incremental) for one in result))
        ]
        return attrs.evolve(spec, disk_list=BackupDisks(disks=tuple(everything)))


def _with_image(disk: BackupDisk, domain: DomainSpec, images: str, suffix: str) -> BackupDisk:
    """Give a disk an image beside its own, unless it has one."""
    if getattr(disk, images) is not None:
        return disk
    source = next(
        (
            one.source
            for one in domain.devices.disks
            if one.target is not None and one.target.dev == disk.name
        ),
        None,
    )
    if disk.type == "block" or source is None or source.file is None:
        raise SchemaError(
            f"no place is known for the backup of disk {disk.name!r}, whose source is not a "
            f"file; say where it goes with <{images}>",
            element=f"domainbackup/disks/disk/{images}",
            fault="no place for a backup",
        )
    place = BackupImage(file=f"{source.file}.{suffix}")
    if images == "target":
        return attrs.evolve(disk, target=place)
    return attrs.evolve(disk, scratch=place)
