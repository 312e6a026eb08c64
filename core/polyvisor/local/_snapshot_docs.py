"""Snapshots as they are kept: their documents, their place in the tree, their disks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import attrs

from polyvisor.driver import SnapshotInfo
from polyvisor.errors import NotFound
from polyvisor.model import DomainSpec, SnapshotSpec
from polyvisor.model.snapshot import SnapshotDisk, SnapshotMemory, SnapshotParent
from polyvisor.state import Snapshot
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.model.devices.disk import Disk
    from polyvisor.state import Record, Store

__all__ = [
    "below",
    "document",
    "find",
    "forget",
    "info",
    "is_external",
    "keep",
    "moved",
    "overlays",
    "path_of",
    "snapshot_state",
    "with_paths",
]


def snapshot_state(state: DomainState) -> Any:
    """Return a domain's state as a snapshot's document has it: in one word."""
    return str(state).replace(" ", "")


def document(kept: Snapshot) -> SnapshotSpec:
    """Return a snapshot's document; what is kept beside it is the truth."""
    if kept.xml.startswith("<domainsnapshot"):
        spec = SnapshotSpec.from_xml(kept.xml)
    else:
        memory = SnapshotMemory(snapshot="internal" if kept.path else "no")
        spec = SnapshotSpec(
            state=snapshot_state(kept.state),
            memory=memory,
            domain=DomainSpec.from_xml(kept.xml),
        )
    return attrs.evolve(
        spec,
        name=kept.name,
        description=kept.description,
        parent=None if kept.parent is None else SnapshotParent(name=kept.parent),
        creation_time=int(kept.created.timestamp()),
        active=None,
    )


def named(spec: SnapshotSpec, name: str) -> SnapshotSpec:
    """Return a snapshot's document with the name that the domain has now."""
    domains: dict[str, Any] = {
        field: attrs.evolve(domain, name=name)
        for field in ("domain", "inactive_domain")
        if isinstance(domain := getattr(spec, field), DomainSpec)
    }
    return attrs.evolve(spec, **domains)


def info(kept: Snapshot) -> SnapshotInfo:
    """Return what a list prints of a snapshot."""
    spec = document(kept)
    only_disks = spec.state == "disk-snapshot"
    return SnapshotInfo(
        kept.name,
        kept.created,
        "disk-snapshot" if only_disks else str(kept.state),
        kept.parent,
        kept.description,
        kept.current,
        is_external(spec),
    )


def is_external(spec: SnapshotSpec) -> bool:
    """Say whether disks, or the memory, are in images and files of their own."""
    return any(disk.snapshot == "external" for disk in spec.disks) or (
        spec.memory is not None and spec.memory.mode == "external"
    )


def find(record: Record, name: str, snapshots: Sequence[Snapshot]) -> Snapshot:
    """Return the snapshot of a name.

    Raises:
        NotFound: there is none.
    """
    for snapshot in snapshots:
        if snapshot.name == name:
            return snapshot
    raise NotFound(
        f"the domain {record.name!r} has no snapshot {name!r}",
        kind="snapshot",
        key=name,
        domain=record.name,
    )


def keep(store: Store, uuid: UUID, spec: SnapshotSpec, path: str | None) -> Snapshot:
    """Keep a new snapshot below the present one; the domain's state has grown from it.

    Args:
        store: where.
        uuid: the domain.
        spec: the snapshot, with the time of its creation.
        path: file of ours, or of the caller's, with its memory.
    """
    parent = next((one for one in store.snapshots(uuid) if one.current), None)
    domain = cast("DomainSpec", spec.domain)
    made = Snapshot(
        uuid=uuid,
        name=spec.name or "",
        parent=parent.name if parent is not None else None,
        created=datetime.now(UTC),
        state=_domain_state(spec, domain),
        description=spec.description,
        current=True,
        xml=attrs.evolve(spec, active=None).to_xml(),
        path=path,
    )
    changed = [made]
    if parent is not None and parent.name != made.name:
        changed.append(attrs.evolve(parent, current=False))
    store.put_snapshots(uuid, changed)
    return made


def _domain_state(spec: SnapshotSpec, domain: DomainSpec) -> DomainState:
    if spec.state == "disk-snapshot":
        return DomainState.RUNNING
    return next(
        (state for state in DomainState if snapshot_state(state) == spec.state),
        DomainState.SHUTOFF,
    )


def below(snapshots: Sequence[Snapshot], name: str) -> list[Snapshot]:
    """Return the snapshots that grew from one, parents before children."""
    names, found = {name}, list[Snapshot]()
    while True:
        fresh = [one for one in snapshots if one.parent in names and one.name not in names]
        if not fresh:
            return found
        names.update(one.name for one in fresh)
        found += fresh


def forget(store: Store, uuid: UUID, doomed: Sequence[str]) -> list[str]:
    """Forget snapshots; what grew from them hangs on what they grew from.

    Returns:
        The files of memory that nobody knows of any more.
    """
    snapshots = store.snapshots(uuid)
    known = {one.name: one for one in snapshots}

    def heir(name: str | None) -> str | None:
        while name in doomed:
            name = known[name].parent if name in known else None
        return name

    lost_current = next((one for one in snapshots if one.current and one.name in doomed), None)
    current = heir(lost_current.name) if lost_current is not None else None
    changed = []
    for one in snapshots:
        if one.name not in doomed:
            new = attrs.evolve(
                one, parent=heir(one.parent), current=one.current or one.name == current
            )
            if new != one:
                changed.append(new)
    store.put_snapshots(uuid, changed, sorted(doomed))
    return [one.path for one in snapshots if one.name in doomed and one.path is not None]


def path_of(disk: Disk) -> str | None:
    """Return the file or device of a disk."""
    return None if disk.source is None else disk.source.file or disk.source.dev


def overlays(disks: Sequence[SnapshotDisk]) -> dict[str, str]:
    """Return the new images of an external snapshot by their disks' targets."""
    return {
        disk.name: disk.source.file
        for disk in disks
        if disk.snapshot == "external" and disk.source is not None and disk.source.file
    }


def moved(spec: DomainSpec, disks: Sequence[SnapshotDisk], only: DomainSpec) -> DomainSpec:
    """Return a definition whose disks are the new images of an external snapshot.

    Args:
        spec: the definition.
        disks: what is done with the disks.
        only: as they were; a disk that has another image in ``spec`` is left as it is.
    """
    there = {one.target.dev: path_of(one) for one in only.devices.disks if one.target is not None}
    said = {disk.name: disk for disk in disks if disk.snapshot == "external"}

    def change(disk: Disk) -> Disk:
        name = disk.target.dev if disk.target is not None else None
        new = said.get(name or "")
        if new is None or new.source is None or path_of(disk) != there.get(name):
            return disk
        below = disk.backing_store
        if below is not None:
            from polyvisor.model.devices.disk import BackingStore, DiskFormat

            form = disk.driver.type if disk.driver is not None else None
            below = BackingStore(
                type=disk.type,
                format=DiskFormat(type=form or "raw"),
                source=disk.source,
                backing_store=below,
            )
        return _with_image(disk, new.source.file or "", _format(new), below)

    return _with_disks(spec, change)


def with_paths(spec: DomainSpec, paths: dict[str, tuple[str, str]]) -> DomainSpec:
    """Return a definition in which some images have another's place.

    Args:
        spec: the definition.
        paths: by an image's path that of the other one, and its format.
    """

    def change(disk: Disk) -> Disk:
        found = paths.get(path_of(disk) or "")
        if found is None:
            return disk
        below = disk.backing_store
        return _with_image(disk, *found, below.backing_store if below is not None else None)

    return _with_disks(spec, change)


def _with_disks(spec: DomainSpec, change: Callable[[Disk], Disk]) -> DomainSpec:
    disks = tuple(change(disk) for disk in spec.devices.disks)
    if all(new is old for new, old in zip(disks, spec.devices.disks, strict=True)):
        return spec
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, disks=disks))


def _with_image(disk: Disk, path: str, form: str, below: Any) -> Disk:
    from polyvisor.model.devices.disk import DiskDriver

    driver = attrs.evolve(disk.driver or DiskDriver(), type=form)
    assert disk.source is not None
    source = attrs.evolve(disk.source, file=path, dev=None, index=None)
    return attrs.evolve(disk, type="file", source=source, driver=driver, backing_store=below)


def _format(disk: SnapshotDisk) -> str:
    return (disk.driver.type if disk.driver is not None else None) or "qcow2"
