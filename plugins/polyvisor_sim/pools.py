"""Storage pools of simulated hosts: sizes and names, nothing on a disk.

As in libvirt's test driver a pool has 100 GiB whatever it is called, and a volume takes what
its definition says (``defaultPoolCap``, ``src/test/test_driver.c``). What is written into a
volume is kept, sparsely, in a folder of the simulator's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import attrs

from polyvisor.errors import AlreadyExists, InvalidArgument, OperationInvalid, StorageError
from polyvisor.local.objects import LocalPools, LocalVolumes, volume_file_name
from polyvisor.objects import PoolInfo, PoolState, VolumeInfo, VolumeRef

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.model import StorageVolumeSpec
    from polyvisor.state import Home, ObjectRecord

__all__ = ["CAPACITY", "SimPools", "SimVolumes"]

#: Bytes in every pool.
CAPACITY = 100 << 30

#: What a record's data calls the documents of a pool's volumes, by name.
_VOLUMES = "volumes"


class SimPools(LocalPools):
    """The pools of one simulated host."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.volumes: SimVolumes = SimVolumes(self)

    def measured(self, record: ObjectRecord) -> PoolInfo:
        """Return what the volumes of a pool leave of its capacity."""
        from polyvisor.model import StorageVolumeSpec

        documents = record.data.get(_VOLUMES, {}).values()
        taken = sum(StorageVolumeSpec.from_xml(text).allocation for text in documents)
        return PoolInfo(PoolState.RUNNING, CAPACITY, taken, CAPACITY - taken)

    def build(self, key: str, *, overwrite: bool = False) -> None:
        """Do nothing: there is nothing below a simulated pool."""
        self.inactive(key, "build")

    def delete(self, key: str) -> None:
        """Forget the volumes of an inactive pool."""
        with self.held(key, "delete"):
            record = self.inactive(key, "delete")
            for name in record.data.get(_VOLUMES, {}):
                self.volumes.forget(key, name)
            self.put(attrs.evolve(record, data={}))


class SimVolumes(LocalVolumes):
    """The volumes of one simulated host."""

    pools: SimPools

    def list(self, pool: str) -> Sequence[VolumeRef]:
        """Return the volumes of a pool."""
        return [self._ref(pool, spec) for _, spec in sorted(self._specs(pool).items())]

    def info(self, volume: VolumeRef) -> VolumeInfo:
        """Return the figures in its document."""
        spec = self._spec(volume)
        return VolumeInfo(spec.type, spec.capacity, spec.allocation)

    def xml(self, volume: VolumeRef) -> str:
        """Return its document."""
        return self._spec(volume).to_xml()

    def create(
        self, pool: str, spec: StorageVolumeSpec, *, source: VolumeRef | None, job: Job
    ) -> VolumeRef:
        """Write a volume down."""
        name = volume_file_name(spec)
        with self.pools.held(pool, "create volume"):
            record = self.pools.active(pool, "create volume")
            known = record.data.get(_VOLUMES, {})
            if name in known:
                raise AlreadyExists(
                    f"create volume: the storage pool {record.name!r} has a volume {name!r} "
                    f"already; choose another name",
                    libvirt_number=90,
                )
            if source is not None:
                size = self.info(source).capacity
                spec = attrs.evolve(spec, capacity=max(spec.capacity, size))
            self._need_room(record, spec.allocation)
            spec = spec.definition()
            path = f"{self._folder_of(record)}/{name}"
            spec = attrs.evolve(spec, key=path, target=attrs.evolve(spec.target, path=path))
            self._keep(record, {**known, name: spec.to_xml()})
            made = self._ref(pool, spec)
            if source is not None and os.path.exists(self._content(source)):
                self._copy(source, made)
            job.report("done", done=True)
            return made

    def delete(self, volume: VolumeRef) -> None:
        """Forget the volumes of an inactive pool."""
        with self.pools.held(volume.pool, "delete volume"):
            record = self.pools.active(volume.pool, "delete volume")
            self._spec(volume)
            known = dict(record.data[_VOLUMES])
            del known[volume.name]
            self._keep(record, known)
            self.forget(volume.pool, volume.name)

    def resize(self, volume: VolumeRef, capacity: int, *, allocate: bool, shrink: bool) -> None:
        """Write another capacity down."""
        with self.pools.held(volume.pool, "resize volume"):
            record = self.pools.active(volume.pool, "resize volume")
            spec = self._spec(volume)
            if capacity < spec.capacity and not shrink:
                raise InvalidArgument(
                    f"resize volume {volume.name!r}: {capacity} bytes are fewer than its "
                    f"{spec.capacity}; say that it may shrink"
                )
            allocation = capacity if allocate else min(spec.allocation, capacity)
            self._need_room(record, allocation - spec.allocation)
            spec = attrs.evolve(spec, capacity=capacity, allocation=allocation)
            self._keep(record, {**record.data[_VOLUMES], volume.name: spec.to_xml()})
            content = self._content(volume)
            if os.path.exists(content) and os.path.getsize(content) > capacity:
                os.truncate(content, capacity)

    def wipe(self, volume: VolumeRef, job: Job) -> None:
        """Forget what was written into it."""
        self._spec(volume)
        self.forget(volume.pool, volume.name)
        job.report("done", done=True)

    def open(self, volume: VolumeRef, *, write: bool) -> BinaryIO:
        """Open the file that keeps what is written into it."""
        capacity = self._spec(volume).capacity
        path = self._content(volume)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            file = os.fdopen(fd, "r+b" if write else "rb")
            os.truncate(path, capacity)
        except OSError as error:
            raise StorageError(
                f"cannot open the volume {volume.name!r}: {error.strerror}", path=path
            ) from error
        return file

    # What is kept of them

    def forget(self, pool: str, name: str) -> None:
        """Drop what was written into a volume."""
        path = f"{self.pools.home.folder(f'volumes/{pool}')}/{name.encode().hex()[:200]}"
        if os.path.exists(path):
            os.unlink(path)

    def _content(self, volume: VolumeRef) -> str:
        folder = self.pools.home.folder(f"volumes/{volume.pool}")
        return f"{folder}/{volume.name.encode().hex()[:200]}"

    def _copy(self, source: VolumeRef, target: VolumeRef) -> None:
        with self.open(source, write=False) as old, self.open(target, write=True) as new:
            offset, left = 0, os.fstat(old.fileno()).st_size
            while left:
                copied = os.copy_file_range(old.fileno(), new.fileno(), left, offset, offset)
                if not copied:
                    break
                offset, left = offset + copied, left - copied

    def _specs(self, pool: str) -> dict[str, StorageVolumeSpec]:
        from polyvisor.model import StorageVolumeSpec

        record = self.pools.active(pool, "volumes of")
        documents = record.data.get(_VOLUMES, {})
        return {name: StorageVolumeSpec.from_xml(text) for name, text in documents.items()}

    def _spec(self, volume: VolumeRef) -> StorageVolumeSpec:
        found = self._specs(volume.pool).get(volume.name)
        if found is None:
            self.by_name(volume.pool, volume.name)
            raise AssertionError("a volume that is not there was found")
        return found

    def _ref(self, pool: str, spec: StorageVolumeSpec) -> VolumeRef:
        return VolumeRef(pool, spec.name, spec.key or spec.name, spec.target.path or spec.name)

    def _keep(self, record: ObjectRecord, documents: dict[str, str]) -> None:
        self.pools.put(attrs.evolve(record, data={**record.data, _VOLUMES: documents}))

    def _need_room(self, record: ObjectRecord, more: int) -> None:
        free = self.pools.measured(record).available
        if more > free:
            raise OperationInvalid(
                f"the storage pool {record.name!r} has {free} bytes free, and {more} are asked for"
            )

    def _folder_of(self, record: ObjectRecord) -> str:
        spec = self.pools.spec(record.key)
        if spec.target is None or spec.target.path is None:
            return record.name
        return spec.target.path
