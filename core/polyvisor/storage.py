"""Handles of storage pools and their volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from polyvisor.families import Collection, Started, as_document

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.driver import StoragePools, Volumes
    from polyvisor.families import DocumentSource
    from polyvisor.jobs import ProgressCallback
    from polyvisor.model import StoragePoolSpec
    from polyvisor.objects import PoolInfo, VolumeInfo, VolumeRef

__all__ = ["StoragePool", "StoragePoolCollection", "StorageVolume"]


class StoragePool(Started):
    """A handle of a storage pool."""

    __slots__ = ()

    _part: StoragePools

    def spec(self, *, inactive: bool = False) -> StoragePoolSpec:
        """Return its definition."""
        from polyvisor.model import StoragePoolSpec

        return StoragePoolSpec.from_xml(self.xml(inactive=inactive))

    def info(self) -> PoolInfo:
        """Return its state and its sizes in bytes."""
        return self._part.info(self.key)

    def build(self, *, overwrite: bool = False) -> None:
        """Make what lies below it: its folder, file system or partition table.

        Args:
            overwrite: destroy what is there already; without, that is refused.
        """
        self._connection._check_writable("build")
        self._part.build(self.key, overwrite=overwrite)

    def delete(self) -> None:
        """Remove what lies below it, while it is inactive."""
        self._connection._check_writable("delete")
        self._part.delete(self.key)

    def refresh(self) -> None:
        """Look through it anew, for volumes that others made or removed."""
        self._connection._check_writable("refresh")
        self._part.refresh(self.key)

    # Volumes

    def volumes(self) -> Sequence[StorageVolume]:
        """Return its volumes, ordered by name."""
        found = self._part.volumes.list(self.key)
        return [StorageVolume(self._connection, self._part.volumes, one) for one in found]

    def volume(self, name: str) -> StorageVolume:
        """Return its volume of that name.

        Raises:
            NotFound: there is none.
        """
        volumes = self._part.volumes
        return StorageVolume(self._connection, volumes, volumes.by_name(self.key, name))

    def create_volume(
        self,
        source: DocumentSource,
        *,
        clone: StorageVolume | None = None,
        progress: ProgressCallback | None = None,
    ) -> StorageVolume:
        """Make a volume.

        Args:
            source: a :class:`~polyvisor.model.StorageVolumeSpec`, XML, or a path.
            clone: an existing volume whose content it gets.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            AlreadyExists: there is a volume of that name.
            StorageError: there is no room, or it cannot be written.
        """
        from polyvisor.jobs import Job
        from polyvisor.model import StorageVolumeSpec

        self._connection._check_writable("create volume")
        spec = as_document(source, StorageVolumeSpec)
        volumes = self._part.volumes
        with Job("create volume", progress) as job:
            made = volumes.create(
                self.key, spec, source=None if clone is None else clone.ref, job=job
            )
        return StorageVolume(self._connection, volumes, made)


class StorageVolume:
    """A handle of a volume.

    Attributes:
        ref: names it: pool, name, key and path.
    """

    __slots__ = ("_connection", "_volumes", "ref")

    def __init__(self, connection: Connection, volumes: Volumes, ref: VolumeRef) -> None:
        self._connection = connection
        self._volumes = volumes
        self.ref: VolumeRef = ref

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StorageVolume):
            return NotImplemented
        return self.ref == other.ref and self._connection is other._connection

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"<StorageVolume {self.ref.key} on {self._connection.uri}>"

    @property
    def name(self) -> str:
        """Its name in its pool."""
        return self.ref.name

    @property
    def path(self) -> str:
        """Where domains find it."""
        return self.ref.path

    def info(self) -> VolumeInfo:
        """Return its type and its sizes in bytes."""
        return self._volumes.info(self.ref)

    def xml(self) -> str:
        """Return its document."""
        return self._volumes.xml(self.ref)

    def delete(self) -> None:
        """Remove it and what it holds."""
        self._connection._check_writable("delete volume")
        self._volumes.delete(self.ref)

    def resize(self, capacity: int, *, allocate: bool = False, shrink: bool = False) -> None:
        """Give it another capacity.

        Args:
            capacity: in bytes.
            allocate: take the room at once.
            shrink: whether it may become smaller; without, that is refused.
        """
        self._connection._check_writable("resize volume")
        self._volumes.resize(self.ref, capacity, allocate=allocate, shrink=shrink)

    def wipe(self, *, progress: ProgressCallback | None = None) -> None:
        """Overwrite its content with zeros."""
        from polyvisor.jobs import Job

        self._connection._check_writable("wipe volume")
        with Job("wipe volume", progress) as job:
            self._volumes.wipe(self.ref, job)

    def open(self, *, write: bool = False) -> BinaryIO:
        """Open its content, to be read or written from any position.

        Raises:
            StorageError: it cannot be opened.
        """
        if write:
            self._connection._check_writable("write volume")
        return self._volumes.open(self.ref, write=write)


class StoragePoolCollection(Collection[StoragePool]):
    """The storage pools of a connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection, "storage", lambda: connection._driver.storage_pools, StoragePool, _document
        )

    def volume(self, *, path: str | None = None, key: str | None = None) -> StorageVolume:
        """Return the volume of any active pool at a path or with a key; give one of the two.

        Raises:
            NotFound: there is none.
        """
        from polyvisor.errors import InvalidArgument

        volumes: Volumes = self.part.volumes
        if (path is None) == (key is None):
            raise InvalidArgument("volume: give either its path or its key")
        ref = volumes.by_path(path) if path is not None else volumes.by_key(key or "")
        return StorageVolume(self._connection, volumes, ref)


def _document() -> type[StoragePoolSpec]:
    from polyvisor.model import StoragePoolSpec

    return StoragePoolSpec
