"""Storage pools and their volumes, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._base import Face, inner
from polyvisor.aio._families import Collection, Started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from polyvisor.families import DocumentSource
    from polyvisor.jobs import ProgressCallback
    from polyvisor.model import StoragePoolSpec
    from polyvisor.objects import PoolInfo, VolumeInfo, VolumeRef
    from polyvisor.storage import StoragePool as SyncStoragePool
    from polyvisor.storage import StoragePoolCollection as SyncStoragePoolCollection
    from polyvisor.storage import StorageVolume as SyncStorageVolume

__all__ = ["StoragePool", "StoragePoolCollection", "StorageVolume"]


class StoragePool(Started):
    """A handle of a storage pool."""

    __slots__ = ()

    sync: SyncStoragePool

    async def spec(self, *, inactive: bool = False) -> StoragePoolSpec:
        """Return its definition."""
        return await self._run(self.sync.spec, inactive=inactive)

    async def info(self) -> PoolInfo:
        """Return its state and its sizes in bytes."""
        return await self._run(self.sync.info)

    async def build(self, *, overwrite: bool = False) -> None:
        """Make what lies below it: its folder, file system or partition table."""
        await self._run(self.sync.build, overwrite=overwrite)

    async def delete(self) -> None:
        """Remove what lies below it, while it is inactive."""
        await self._run(self.sync.delete)

    async def refresh(self) -> None:
        """Look through it anew, for volumes that others made or removed."""
        await self._run(self.sync.refresh)

    async def volumes(self) -> Sequence[StorageVolume]:
        """Return its volumes, ordered by name."""
        return [StorageVolume(self._host, one) for one in await self._run(self.sync.volumes)]

    async def volume(self, name: str) -> StorageVolume:
        """Return its volume of that name."""
        return StorageVolume(self._host, await self._run(self.sync.volume, name))

    async def create_volume(
        self,
        source: DocumentSource,
        *,
        clone: StorageVolume | None = None,
        progress: ProgressCallback | None = None,
    ) -> StorageVolume:
        """Make a volume."""
        return StorageVolume(
            self._host,
            await self._crew.job(
                lambda control: self.sync.create_volume(
                    source, clone=inner(clone), progress=control
                ),
                progress,
            ),
        )


class StorageVolume(Face):
    """A handle of a volume."""

    __slots__ = ()

    sync: SyncStorageVolume

    @property
    def ref(self) -> VolumeRef:
        """Names it: pool, name, key and path."""
        return self.sync.ref

    @property
    def name(self) -> str:
        """Its name in its pool."""
        return self.sync.name

    @property
    def path(self) -> str:
        """Where domains find it."""
        return self.sync.path

    async def info(self) -> VolumeInfo:
        """Return its type and its sizes in bytes."""
        return await self._run(self.sync.info)

    async def xml(self) -> str:
        """Return its document."""
        return await self._run(self.sync.xml)

    async def delete(self) -> None:
        """Remove it and what it holds."""
        await self._run(self.sync.delete)

    async def resize(self, capacity: int, *, allocate: bool = False, shrink: bool = False) -> None:
        """Give it another capacity."""
        await self._run(self.sync.resize, capacity, allocate=allocate, shrink=shrink)

    async def wipe(self, *, progress: ProgressCallback | None = None) -> None:
        """Overwrite its content with zeros."""
        await self._crew.job(lambda control: self.sync.wipe(progress=control), progress)

    async def open(self, *, write: bool = False) -> BinaryIO:
        """Open its content, to be read or written from any position."""
        return await self._crew.run(
            lambda: self.sync.open(write=write), discard=lambda file: file.close()
        )


class StoragePoolCollection(Collection[StoragePool]):
    """The storage pools of a connection."""

    __slots__ = ()

    sync: SyncStoragePoolCollection

    def _wrap(self, sync: Any) -> StoragePool:
        return StoragePool(self._host, sync)

    async def volume(self, *, path: str | None = None, key: str | None = None) -> StorageVolume:
        """Return the volume of any active pool at a path or with a key; give one of the two."""
        return StorageVolume(self._host, await self._run(self.sync.volume, path=path, key=key))
