"""Storage pools."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from polyvisor.driver import StoragePools, Volumes
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid
from polyvisor.events import ObjectEventKind
from polyvisor.local.objects._family import LocalFamily
from polyvisor.objects import PoolInfo, PoolState

if TYPE_CHECKING:
    from polyvisor.model import StoragePoolSpec, StorageVolumeSpec
    from polyvisor.objects import VolumeRef
    from polyvisor.state import ObjectRecord

__all__ = ["LocalPools", "LocalVolumes", "volume_file_name"]


class LocalPools(LocalFamily["StoragePoolSpec"], StoragePools):
    """Pools; what is below them is for those derived.

    These set ``volumes``, and say in :meth:`measured` how large a pool is.
    """

    title: ClassVar[str] = "storage pool"
    outlives_definition: ClassVar[bool] = False

    def document(self) -> type[StoragePoolSpec]:
        from polyvisor.model import StoragePoolSpec

        return StoragePoolSpec

    @abstractmethod
    def measured(self, record: ObjectRecord) -> PoolInfo:
        """Return the figures of an active pool."""

    def info(self, key: str) -> PoolInfo:
        record = self.record(key)
        return self.measured(record) if record.active else PoolInfo(PoolState.INACTIVE)

    def xml(self, key: str, *, inactive: bool = False) -> str:
        text = super().xml(key, inactive=inactive)
        record = self.record(key)
        if not record.active or (inactive and record.definition is not None):
            return text
        info = self.measured(record)
        return attrs.evolve(
            self.document().from_xml(text),
            capacity=info.capacity,
            allocation=info.allocation,
            available=info.available,
        ).to_xml()

    def refresh(self, key: str) -> None:
        with self.held(key, "refresh"):
            record = self.active(key, "refresh")
            self.look_through(record)
            self.put(record, ObjectEventKind.REFRESHED)

    def look_through(self, record: ObjectRecord) -> None:
        """See what is in an active pool now."""

    def inactive(self, key: str, operation: str) -> ObjectRecord:
        """Return the record of an inactive pool.

        Raises:
            OperationInvalid: it is active.
        """
        record = self.record(key)
        if record.active:
            raise OperationInvalid(
                f"{operation} {record.name!r}: the storage pool is active; destroy it first",
                operation=operation,
            )
        return record


class LocalVolumes(Volumes):
    """What the volumes of all kinds of local pools have in common.

    Args:
        pools: the pools that they are in.
    """

    def __init__(self, pools: LocalPools) -> None:
        self.pools = pools

    def by_name(self, pool: str, name: str) -> VolumeRef:
        for volume in self.list(pool):
            if volume.name == name:
                return volume
        raise _missing(f"the storage pool {self.pools.record(pool).name!r} has no volume", name)

    def by_key(self, key: str) -> VolumeRef:
        for volume in self._all():
            if volume.key == key:
                return volume
        raise _missing("no active storage pool has a volume with the key", key)

    def by_path(self, path: str) -> VolumeRef:
        for volume in self._all():
            if volume.path == path:
                return volume
        raise _missing("no active storage pool has a volume at the path", path)

    def _all(self) -> Sequence[VolumeRef]:
        return [
            volume
            for pool in self.pools.summaries()
            if pool.active
            for volume in self.list(pool.key)
        ]


def volume_file_name(spec: StorageVolumeSpec) -> str:
    """Return the name of a volume that is to be a file in a folder.

    Raises:
        InvalidArgument: it cannot be one.
    """
    name = spec.name
    if "/" in name or "\0" in name or name in (".", "..") or len(name.encode()) > 255:
        raise InvalidArgument(
            f"volume {name[:60]!r}: a name in a folder has no '/' and at most 255 bytes"
        )
    return name


def _missing(what: str, key: str) -> NotFound:
    return NotFound(f"{what} {key!r}", kind="storage volume", key=key)
