"""Snapshots of domains: state of guest and disks at one instant."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import BIT, INT64, UUID_TEXT, Fault, choices
from polyvisor.model.binding import (
    Choice,
    Element,
    RawXml,
    attr,
    child,
    children,
    element,
    flag,
    subtree,
    value,
)
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import MetadataCache
    from polyvisor.model.devices.disk_source import DiskSource
    from polyvisor.model.domain import DomainSpec

__all__ = [
    "DOMAIN",
    "DomainReference",
    "SnapshotDisk",
    "SnapshotDiskDriver",
    "SnapshotDisks",
    "SnapshotMemory",
    "SnapshotParent",
    "SnapshotSpec",
]

SnapshotState = Literal[
    "nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended",
    "disk-snapshot",
]  # fmt: skip
SnapshotMode = Literal["no", "internal", "external", "manual"]
MemoryMode = Literal["no", "internal", "external"]
DiskType = Literal["file", "block", "dir", "network", "volume", "nvme", "vhostuser"]


class _ByType(dict[str, Any]):
    """A reference to a domain where no type is said, a definition for every type."""

    def get(self, word: str, default: Any = None) -> Any:
        return self[""] if not word else self["kvm"]

    def __contains__(self, word: object) -> bool:
        return word is None or isinstance(word, str)

    def __missing__(self, word: str | None) -> Any:
        return self[""] if word is None else self["kvm"]


#: The domain as it was, or, as old versions of libvirt wrote it, only its UUID.
DOMAIN = Choice("type", _ByType({"kvm": ".domain:DomainSpec", "": ".snapshot:DomainReference"}))


@element(kw_only=True)
class DomainReference(Element):
    """A domain of which only the UUID is said."""

    uuid: UUID | None = value(UUID_TEXT)


@element(kw_only=True)
class SnapshotParent(Element):
    """The snapshot, or checkpoint, that came before."""

    name: str = value(required=True)


@element(kw_only=True)
class SnapshotMemory(Element):
    """Where the guest's memory is."""

    snapshot: MemoryMode | None = attr(choices(MemoryMode))
    #: For ``external``.
    file: str | None = attr()

    @property
    def mode(self) -> MemoryMode:
        """Where the memory is; with a file and nothing said, there."""
        return self.snapshot or ("internal" if self.file is None else "external")

    def _refuse(self) -> None:
        if self.file is None:
            if self.snapshot == "external":
                raise Fault("an external snapshot of memory needs a file", "add file")
        elif self.mode != "external":
            raise Fault(
                f"a file is for an external snapshot of memory, not {self.mode!r}", "remove file"
            )
        elif not os.path.isabs(self.file):
            raise Fault(f"the file {self.file!r} is not absolute", "give the whole path")


@element(kw_only=True)
class SnapshotDiskDriver(Element):
    """The format of the new image."""

    type: str | None = attr()
    metadata_cache: MetadataCache | None = child(".devices.disk:MetadataCache")


@element(kw_only=True)
class SnapshotDisk(Element):
    """One disk: what is done with it, and the image that is written from then on."""

    #: Its target's name, or the path of its source.
    name: str = attr(required=True)
    snapshot: SnapshotMode | None = attr(choices(SnapshotMode))
    type: DiskType | None = attr(choices(DiskType))
    driver: SnapshotDiskDriver | None = child(SnapshotDiskDriver)
    #: The new image.
    source: DiskSource | None = child(".devices.disk_source:DiskSource")
    #: Its removal was begun: there is no going back to it any more.
    deleting: bool = flag("snapshotDeleteInProgress")

    def kept(self) -> SnapshotDisk:
        """Return what libvirt keeps of it (virDomainSnapshotDiskDefParseXML)."""
        driver, source = self.driver, self.source
        if driver is not None and driver.type is None and driver.metadata_cache is None:
            driver = None
        if source is not None and source == type(source)():
            source = None
        snapshot = self.snapshot
        if snapshot is None and (source is not None or driver is not None):
            snapshot = "external"
        kind = None if driver is None and source is None else self.type or "file"
        return attrs.evolve(self, snapshot=snapshot, type=kind, driver=driver, source=source)


@element(kw_only=True)
class SnapshotDisks(Element):
    """Disks for which something is said."""

    disks: tuple[SnapshotDisk, ...] = children(SnapshotDisk, "disk")


@element(kw_only=True)
class SnapshotSpec(Document):
    """A snapshot of a domain: libvirt's ``<domainsnapshot>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "domainsnapshot"
    XML_TITLE: ClassVar[str] = "snapshot"

    #: None: the time of its creation becomes its name.
    name: str | None = value()
    description: str | None = value()
    #: The domain's state when it was taken.
    state: SnapshotState | None = value(choices(SnapshotState))
    parent: SnapshotParent | None = child(SnapshotParent)
    #: In seconds since 1970.
    creation_time: int | None = value(INT64, name="creationTime")
    memory: SnapshotMemory | None = child(SnapshotMemory)
    disk_list: SnapshotDisks | None = child(SnapshotDisks, "disks")
    #: Images that are written since the domain was last reverted to it.
    revert_disks: SnapshotDisks | None = child(SnapshotDisks, "revertDisks")
    #: The domain as it was; in old documents only its UUID.
    domain: DomainSpec | DomainReference | None = child(DOMAIN)
    #: Of a running domain: how it was defined for its next start.
    inactive_domain: DomainSpec | None = child(".domain:DomainSpec", "inactiveDomain")
    #: What the hypervisor's driver needs to revert.
    cookie: RawXml | None = subtree()
    #: Whether it was the domain's current snapshot.
    active: bool | None = value(BIT)

    @property
    def disks(self) -> tuple[SnapshotDisk, ...]:
        """Disks for which something is said."""
        return () if self.disk_list is None else self.disk_list.disks

    def created(self, seconds: int, domain: DomainSpec | DomainReference | None = None) -> Self:
        """Return a snapshot that is taken now: what is asked for, without what is history.

        Args:
            seconds: the time of its creation since 1970; its name, if it has none.
            domain: of which it is taken.
        """
        spec = attrs.evolve(
            self,
            name=self.name or str(seconds),
            creation_time=seconds or None,
            state=None,
            parent=None,
            domain=None,
            inactive_domain=None,
            cookie=None,
            active=None,
        )
        return attrs.evolve(spec.definition(), domain=domain)

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined."""
        spec = super().definition()
        memory, disks = spec.memory, spec.disk_list
        if memory is not None:
            memory = attrs.evolve(memory, snapshot=memory.mode)
        if disks is not None:
            kept = tuple(disk.kept() for disk in disks.disks)
            disks = attrs.evolve(disks, disks=kept) if kept else None
        return attrs.evolve(
            spec,
            memory=memory,
            disk_list=disks,
            domain=_normalised(spec.domain),
            inactive_domain=_normalised(spec.inactive_domain),
        )


def _normalised(domain: Any) -> Any:
    return domain.normalised() if hasattr(domain, "normalised") else domain
