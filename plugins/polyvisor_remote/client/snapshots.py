"""Snapshots of a server's domains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from polyvisor.driver import SnapshotInfo, Snapshots
from polyvisor.errors import PolyvisorError
from polyvisor_remote.client.jobs import watched

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import SnapshotOptions
    from polyvisor.jobs import Job
    from polyvisor.model import SnapshotSpec
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteSnapshots"]

# virDomainSnapshotCreateFlags
_REDEFINE, _CURRENT, _HALT, _DISK_ONLY, _REUSE, _LIVE = 1, 2, 8, 16, 32, 256
# virDomainSnapshotRevertFlags
_RUNNING, _PAUSED = 1, 2
# virDomainSnapshotDeleteFlags
_CHILDREN, _METADATA_ONLY = 1, 2


class RemoteSnapshots(Snapshots):
    """Snapshots are known by their documents; what is listed is read from them.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self._link = driver.link
        self._domains = driver.domains

    def _reference(self, uuid: UUID, name: str) -> tuple[str, tuple[str, bytes, int]]:
        return name, self._domains.reference(uuid)

    def _call(self, uuid: UUID, procedure: str, name: str, *arguments: Any) -> Any:
        try:
            return self._link.call(procedure, self._reference(uuid, name), *arguments)
        except PolyvisorError as error:
            raise self._domains.named(error, uuid, procedure) from None

    def create(
        self,
        uuid: UUID,
        name: str | None,
        description: str | None,
        job: Job,
        options: SnapshotOptions | None = None,
    ) -> SnapshotInfo:
        """Have one taken."""
        import attrs

        from polyvisor.model import SnapshotSpec

        spec = SnapshotSpec() if options is None or options.spec is None else options.spec
        if name is not None:
            spec = attrs.evolve(spec, name=name)
        if description is not None:
            spec = attrs.evolve(spec, description=description)
        flags = _flags(options)
        made = watched(
            self._driver,
            uuid,
            job,
            lambda: self._domains.call(uuid, "domain_snapshot_create_xml", spec.to_xml(), flags),
        )
        found: str = made.snap.name
        return next(one for one in self.list(uuid) if one.name == found)

    def list(self, uuid: UUID) -> Sequence[SnapshotInfo]:
        """Ask for all, and for the document of each."""
        from polyvisor.model import SnapshotSpec

        found = self._domains.call(uuid, "domain_list_all_snapshots", 1, 0).snapshots
        if not found:
            return []
        dom = self._domains.reference(uuid)
        current, *documents = self._link.call_all(
            [
                ("domain_snapshot_current", dom, 0),
                *(("domain_snapshot_get_xml_desc", (one.name, dom), 0) for one in found),
            ]
        )
        present = "" if isinstance(current, PolyvisorError) else current.snap.name
        infos = [
            _info(SnapshotSpec.from_xml(answer.xml), present)
            for answer in documents
            if not isinstance(answer, PolyvisorError)  # It went just now.
        ]
        return _oldest_first(infos)

    def revert(self, uuid: UUID, name: str, job: Job, *, paused: bool | None = None) -> None:
        """Have the domain put back."""
        flags = 0 if paused is None else (_PAUSED if paused else _RUNNING)
        watched(
            self._driver,
            uuid,
            job,
            lambda: self._call(uuid, "domain_revert_to_snapshot", name, flags),
        )

    def delete(
        self,
        uuid: UUID,
        name: str,
        *,
        children: bool = False,
        metadata_only: bool = False,
        job: Job | None = None,
    ) -> None:
        """Have one removed."""
        flags = (_CHILDREN if children else 0) | (_METADATA_ONLY if metadata_only else 0)

        def call() -> None:
            self._call(uuid, "domain_snapshot_delete", name, flags)

        if job is None:
            call()
        else:
            watched(self._driver, uuid, job, call)

    def xml(self, uuid: UUID, name: str) -> str:
        """Ask for its document."""
        xml: str = self._call(uuid, "domain_snapshot_get_xml_desc", name, 0).xml
        return xml


def _flags(options: SnapshotOptions | None) -> int:
    if options is None:
        return 0
    chosen = (
        (options.redefine, _REDEFINE),
        (options.current, _CURRENT),
        (options.halt, _HALT),
        (options.disk_only, _DISK_ONLY),
        (options.reuse, _REUSE),
        (options.live, _LIVE),
    )
    return sum(flag for asked, flag in chosen if asked)


def _info(spec: SnapshotSpec, current: str) -> SnapshotInfo:
    """Return what a list prints of a snapshot's document."""
    name = spec.name or ""
    return SnapshotInfo(
        name=name,
        created=datetime.fromtimestamp(spec.creation_time or 0, UTC),
        state=spec.state or "shut off",
        parent=None if spec.parent is None else spec.parent.name,
        description=spec.description,
        current=name == current,
        external=(spec.memory is not None and spec.memory.snapshot == "external")
        or any(disk.snapshot == "external" for disk in spec.disks),
    )


def _oldest_first(infos: Sequence[SnapshotInfo]) -> Sequence[SnapshotInfo]:
    """Return snapshots in the order of their times; those of one second parents first."""
    parents = {one.name: one.parent for one in infos}

    def depth(one: SnapshotInfo) -> int:
        seen: set[str] = set()
        name: str | None = one.name
        while name is not None and name not in seen:
            seen.add(name)
            name = parents.get(name)
        return len(seen)

    return sorted(infos, key=lambda one: (one.created, depth(one), one.name))
