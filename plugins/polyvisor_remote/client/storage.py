"""A server's storage pools and their volumes, whose content goes over streams."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from uuid import UUID

from polyvisor.driver import StoragePools, Volumes
from polyvisor.errors import PolyvisorError
from polyvisor.objects import PoolInfo, PoolState, VolumeInfo, VolumeRef
from polyvisor_remote.client.objects import StartedFamily

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.model import StoragePoolSpec, StorageVolumeSpec  # noqa: F401
    from polyvisor_remote.client.driver import RemoteDriver
    from polyvisor_remote.client.link import Link

__all__ = ["RemoteStoragePools"]

_STATES = tuple(PoolState)
#: ``virStorageVolType``.
_TYPES = ("file", "block", "dir", "network", "netdir", "ploop")
_OVERWRITE = 8  # VIR_STORAGE_POOL_BUILD_OVERWRITE
_ALLOCATE, _SHRINK = 1, 4  # virStorageVolResizeFlags
_PHYSICAL = 1  # VIR_STORAGE_VOL_GET_PHYSICAL
#: Bytes that are fetched or sent at once.
_BUFFER = 1 << 20


class RemoteStoragePools(StartedFamily["StoragePoolSpec"], StoragePools):
    """Storage pools of a server.

    Args:
        driver: the driver.
    """

    stem, lister, flags = "storage_pool", "connect_list_all_storage_pools", (0,)

    def __init__(self, driver: RemoteDriver) -> None:
        super().__init__(driver)
        self.volumes = _Volumes(driver.link)

    def info(self, key: str) -> PoolInfo:
        """Ask for its figures."""
        found = self._call("get_info", self._reference(key))
        state = found.state if found.state < len(_STATES) else 0
        return PoolInfo(_STATES[state], found.capacity, found.allocation, found.available)

    def build(self, key: str, *, overwrite: bool = False) -> None:
        """Have what lies below made."""
        self._call("build", self._reference(key), _OVERWRITE if overwrite else 0)

    def delete(self, key: str) -> None:
        """Have what lies below removed."""
        self._call("delete", self._reference(key), 0)

    def refresh(self, key: str) -> None:
        """Have it looked through anew."""
        self._call("refresh", self._reference(key), 0)


class _Volumes(Volumes):
    """Volumes; the protocol names a volume's pool by name, here it is a key."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def _pool(self, key: str) -> Any:
        return self._link.call("storage_pool_lookup_by_uuid", UUID(key).bytes).pool

    def _reference(self, volume: VolumeRef) -> tuple[str, str, str]:
        return self._pool(volume.pool).name, volume.name, volume.key

    def _found(self, vol: Any) -> VolumeRef:
        pool, path = self._link.answers(
            [("storage_pool_lookup_by_name", vol.pool), ("storage_vol_get_path", vol)]
        )
        return VolumeRef(str(UUID(bytes=pool.pool.uuid)), vol.name, vol.key, path.name)

    def list(self, pool: str) -> Sequence[VolumeRef]:
        """Ask for all, and where they are."""
        vols = self._link.call("storage_pool_list_all_volumes", ("", UUID(pool).bytes), 1, 0).vols
        paths = self._link.call_all([("storage_vol_get_path", vol) for vol in vols])
        found = [
            VolumeRef(pool, vol.name, vol.key, path.name)
            for vol, path in zip(vols, paths, strict=True)
            if not isinstance(path, PolyvisorError)  # It went just now.
        ]
        return sorted(found, key=lambda one: one.name)

    def by_name(self, pool: str, name: str) -> VolumeRef:
        """Ask for one by its name."""
        named = tuple(self._pool(pool))
        return self._found(self._link.call("storage_vol_lookup_by_name", named, name).vol)

    def by_key(self, key: str) -> VolumeRef:
        """Ask for one by its key."""
        return self._found(self._link.call("storage_vol_lookup_by_key", key).vol)

    def by_path(self, path: str) -> VolumeRef:
        """Ask for one by its path."""
        return self._found(self._link.call("storage_vol_lookup_by_path", path).vol)

    def info(self, volume: VolumeRef) -> VolumeInfo:
        """Ask for its figures."""
        found = self._link.call("storage_vol_get_info", self._reference(volume))
        kind = _TYPES[found.type] if 0 <= found.type < len(_TYPES) else "file"
        return VolumeInfo(kind, found.capacity, found.allocation)

    def xml(self, volume: VolumeRef) -> str:
        """Ask for its document."""
        xml: str = self._link.call("storage_vol_get_xml_desc", self._reference(volume), 0).xml
        return xml

    def create(
        self, pool: str, spec: StorageVolumeSpec, *, source: VolumeRef | None, job: Job
    ) -> VolumeRef:
        """Have one made."""
        job.check()
        named = tuple(self._pool(pool))
        if source is None:
            made = self._link.call("storage_vol_create_xml", named, spec.to_xml(), 0)
        else:
            origin = self._reference(source)
            made = self._link.call("storage_vol_create_xml_from", named, spec.to_xml(), origin, 0)
        return self._found(made.vol)

    def delete(self, volume: VolumeRef) -> None:
        """Have it removed."""
        self._link.call("storage_vol_delete", self._reference(volume), 0)

    def resize(self, volume: VolumeRef, capacity: int, *, allocate: bool, shrink: bool) -> None:
        """Have it given another capacity."""
        flags = (_ALLOCATE if allocate else 0) | (_SHRINK if shrink else 0)
        self._link.call("storage_vol_resize", self._reference(volume), capacity, flags)

    def wipe(self, volume: VolumeRef, job: Job) -> None:
        """Have its content overwritten."""
        job.check()
        self._link.call("storage_vol_wipe", self._reference(volume), 0)

    def open(self, volume: VolumeRef, *, write: bool) -> BinaryIO:
        """Open its content; each piece is a stream of its own, from where it stands."""
        raw = _Content(self._link, self._reference(volume), write=write)
        if write:
            return cast("BinaryIO", io.BufferedRandom(raw, _BUFFER))
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER))


class _Content(io.RawIOBase):
    """What is in a volume, from any position."""

    def __init__(self, link: Link, vol: tuple[str, str, str], *, write: bool) -> None:
        super().__init__()
        self._link = link
        self._vol = vol
        self._write = write
        self._at = 0
        self._size = self._measured()

    def _measured(self) -> int:
        """Return how long it is: what there is of it on the host, where that is told."""
        flags = self._link.call_all([("storage_vol_get_info_flags", self._vol, _PHYSICAL)])[0]
        if isinstance(flags, PolyvisorError):
            flags = self._link.call("storage_vol_get_info", self._vol)
            return int(flags.capacity)
        return max(int(flags.allocation), int(flags.capacity))

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def writable(self) -> bool:
        """Say whether it was opened to be written."""
        return self._write

    def seekable(self) -> bool:
        """Say that any position can be gone to."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fetch what stands here."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        _, stream = self._link.begin("storage_vol_download", self._vol, self._at, wanted, 0)
        have = 0
        try:
            while have < wanted and (piece := stream.receive()):
                piece = piece[: wanted - have]
                view[have : have + len(piece)] = piece
                have += len(piece)
            stream.finish()
        except BaseException:
            with suppress(PolyvisorError):
                stream.abort()
            raise
        self._at += have
        return have

    def write(self, data: Any) -> int:
        """Send what is to stand here."""
        piece = bytes(data)
        _, stream = self._link.begin("storage_vol_upload", self._vol, self._at, len(piece), 0)
        try:
            stream.send(piece)
            stream.finish()
        except BaseException:
            with suppress(PolyvisorError):
                stream.abort()
            raise
        self._at += len(piece)
        self._size = max(self._size, self._at)
        return len(piece)
