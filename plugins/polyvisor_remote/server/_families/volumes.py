"""Storage volumes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from polyvisor.errors import NotFound
from polyvisor.jobs import Job
from polyvisor.model import StorageVolumeSpec
from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server._families.objects import counted, key_of
from polyvisor_remote.server._families.pools import POOLS
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, function_name
from polyvisor_remote.server.streams import Sink, Source
from polyvisor_remote.wire import STREAM_CHUNK

if TYPE_CHECKING:
    from polyvisor.driver import StoragePools
    from polyvisor.objects import VolumeRef
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.server.streams import Stream

#: ``virStorageVolType``.
_TYPES = ("file", "block", "dir", "network", "netdir", "ploop")
_ZEROS = 0  # VIR_STORAGE_VOL_WIPE_ALG_ZERO
_ARGUMENT_UNSUPPORTED = 74
# virStorageVolResizeFlags
_ALLOCATE, _DELTA, _SHRINK = 1, 2, 4
#: ``VIR_STORAGE_VOL_GET_PHYSICAL``: the allocation is what the file takes, which ours is.
_PHYSICAL = 1


def _reference(pools: StoragePools, volume: VolumeRef) -> tuple[str, str, str]:
    return pools.get(volume.pool).name, volume.name, volume.key


def find(pools: StoragePools, vol: Any) -> VolumeRef:
    """Return the volume that a client named.

    Raises:
        NotFound: it is gone.
    """
    return pools.volumes.by_key(vol.key)


@serves("storage_pool_list_all_volumes")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return the volumes of a pool."""
    pools = POOLS.of(session, "storage_pool_list_all_volumes")
    key = key_of(arguments.pool)
    found = [(arguments.pool.name, one.name, one.key) for one in pools.volumes.list(key)]
    return counted(found, arguments, 0, "storage_pool_list_all_volumes")


@serves("storage_pool_num_of_volumes")
def num(session: Session, arguments: Any) -> tuple[int]:
    """Count the volumes of a pool."""
    pools = POOLS.of(session, "storage_pool_num_of_volumes")
    return (len(pools.volumes.list(key_of(arguments.pool))),)


@serves("storage_pool_list_volumes")
def list_names(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the volumes of a pool."""
    pools = POOLS.of(session, "storage_pool_list_volumes")
    found = pools.volumes.list(key_of(arguments.pool))
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


def _missing(what: str) -> NotFound:
    return NotFound(f"no storage vol with matching {what}", kind="storage volume")


@serves("storage_vol_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one in a pool by its name."""
    pools = POOLS.of(session, "storage_vol_lookup_by_name")
    try:
        found = pools.volumes.by_name(key_of(arguments.pool), arguments.name)
    except NotFound as error:
        raise _missing(f"name '{arguments.name}'") from error
    return (_reference(pools, found),)


@serves("storage_vol_lookup_by_key")
def lookup_by_key(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its key."""
    pools = POOLS.of(session, "storage_vol_lookup_by_key")
    try:
        return (_reference(pools, pools.volumes.by_key(arguments.key)),)
    except NotFound as error:
        raise _missing(f"key '{arguments.key}'") from error


@serves("storage_vol_lookup_by_path")
def lookup_by_path(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its path."""
    pools = POOLS.of(session, "storage_vol_lookup_by_path")
    try:
        return (_reference(pools, pools.volumes.by_path(arguments.path)),)
    except NotFound as error:
        raise _missing(f"path '{arguments.path}'") from error


def _create(session: Session, pool: Any, xml: str, clone: Any, procedure: str) -> tuple[Any]:
    pools = POOLS.of(session, procedure)
    spec = StorageVolumeSpec.from_xml(xml)
    source = None if clone is None else find(pools, clone)
    with Job("create volume") as job:
        made = pools.volumes.create(key_of(pool), spec, source=source, job=job)
    return (_reference(pools, made),)


@serves("storage_vol_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Make one."""
    check_flags(arguments.flags, 0, "virStorageVolCreateXML")
    return _create(session, arguments.pool, arguments.xml, None, "storage_vol_create_xml")


@serves("storage_vol_create_xml_from", slow=True)
def create_xml_from(session: Session, arguments: Any) -> tuple[Any]:
    """Make one with the content of another."""
    check_flags(arguments.flags, 0, "virStorageVolCreateXMLFrom")
    clone = arguments.clonevol
    return _create(session, arguments.pool, arguments.xml, clone, "storage_vol_create_xml_from")


@serves("storage_vol_delete", slow=True)
def delete(session: Session, arguments: Any) -> None:
    """Remove one and what it holds."""
    check_flags(arguments.flags, 0, "virStorageVolDelete")
    pools = POOLS.of(session, "storage_vol_delete")
    pools.volumes.delete(find(pools, arguments.vol))


@serves("storage_vol_wipe", slow=True)
def wipe(session: Session, arguments: Any) -> None:
    """Overwrite one with zeros."""
    check_flags(arguments.flags, 0, "virStorageVolWipe")
    pools = POOLS.of(session, "storage_vol_wipe")
    with Job("wipe volume") as job:
        pools.volumes.wipe(find(pools, arguments.vol), job)


@serves("storage_vol_wipe_pattern", slow=True)
def wipe_pattern(session: Session, arguments: Any) -> None:
    """Overwrite one with zeros, which is the only pattern that there is here."""
    check_flags(arguments.flags, 0, "virStorageVolWipePattern")
    pools = POOLS.of(session, "storage_vol_wipe_pattern")
    if arguments.algorithm != _ZEROS:
        raise Failure(
            _ARGUMENT_UNSUPPORTED,
            f"wiping algorithm {arguments.algorithm} not supported: volumes are wiped with zeros",
        )
    with Job("wipe volume") as job:
        pools.volumes.wipe(find(pools, arguments.vol), job)


@serves("storage_vol_resize", slow=True)
def resize(session: Session, arguments: Any) -> None:
    """Give one another size, or so much more or less."""
    flags = arguments.flags
    check_flags(flags, _ALLOCATE | _DELTA | _SHRINK, "virStorageVolResize")
    pools = POOLS.of(session, "storage_vol_resize")
    volume = find(pools, arguments.vol)
    capacity = arguments.capacity
    if flags & _DELTA:
        now = pools.volumes.info(volume).capacity
        capacity = now - capacity if flags & _SHRINK else now + capacity
    pools.volumes.resize(
        volume, capacity, allocate=bool(flags & _ALLOCATE), shrink=bool(flags & _SHRINK)
    )


def _info(session: Session, vol: Any, procedure: str) -> tuple[int, int, int]:
    pools = POOLS.of(session, procedure)
    info = pools.volumes.info(find(pools, vol))
    return _TYPES.index(info.type), info.capacity, info.allocation


@serves("storage_vol_get_info")
def get_info(session: Session, arguments: Any) -> tuple[int, int, int]:
    """Return its sizes."""
    return _info(session, arguments.vol, "storage_vol_get_info")


@serves("storage_vol_get_info_flags")
def get_info_flags(session: Session, arguments: Any) -> tuple[int, int, int]:
    """Return its sizes."""
    check_flags(arguments.flags, _PHYSICAL, "virStorageVolGetInfoFlags")
    return _info(session, arguments.vol, "storage_vol_get_info_flags")


@serves("storage_vol_get_xml_desc")
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return its description."""
    check_flags(arguments.flags, 0, "virStorageVolGetXMLDesc")
    pools = POOLS.of(session, "storage_vol_get_xml_desc")
    return (pools.volumes.xml(find(pools, arguments.vol)),)


@serves("storage_vol_get_path")
def get_path(session: Session, arguments: Any) -> tuple[str]:
    """Return where domains find it."""
    pools = POOLS.of(session, "storage_vol_get_path")
    return (find(pools, arguments.vol).path,)


# --- content -----------------------------------------------------------------------------------

#: ``VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM`` and its like: holes are sent as such.
_SPARSE = 1


class _Upload(Sink):
    """Writes what comes into a volume.

    Args:
        file: the volume, at its place.
        length: bytes that may come, or ``None``.
    """

    def __init__(self, file: BinaryIO, length: int | None) -> None:
        self._file = file
        self._left = length

    def data(self, piece: bytes) -> None:
        self._count(len(piece))
        self._file.write(piece)

    def hole(self, length: int) -> None:
        self._count(length)
        # What was there before must not show through.
        while length:
            zeros = min(length, STREAM_CHUNK)
            self._file.write(bytes(zeros))
            length -= zeros

    def _count(self, length: int) -> None:
        if self._left is not None:
            if length > self._left:
                raise Failure(9, "more came than the upload was to have")
            self._left -= length

    def finish(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()


class _Download(Source):
    """Reads a volume.

    Args:
        file: the volume, at its place.
        length: bytes to be read, or ``None`` for all.
        sparse: whether holes are told as such.
    """

    def __init__(self, file: BinaryIO, length: int | None, *, sparse: bool) -> None:
        self._file = file
        self._at = file.tell()
        self._end = None if length is None else self._at + length
        self._fd = _descriptor(file) if sparse else None

    def read(self, most: int) -> bytes | int:
        if self._end is not None:
            most = min(most, self._end - self._at)
        if self._fd is None:
            piece = self._file.read(most)
        else:
            gap, written = self._ahead(self._fd)
            if gap:
                self._at += gap
                return gap
            piece = os.pread(self._fd, min(most, written), self._at)
        self._at += len(piece)
        return piece

    def _ahead(self, fd: int) -> tuple[int, int]:
        """Return how many bytes from here on nobody wrote, or else how many somebody did."""
        end = os.lseek(fd, 0, os.SEEK_END)
        if self._end is not None:
            end = min(end, self._end)
        if self._at >= end:
            return 0, 0
        try:
            data = min(os.lseek(fd, self._at, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end  # There is nothing but a hole up to the end.
        if data > self._at:
            return data - self._at, 0
        return 0, min(os.lseek(fd, self._at, os.SEEK_HOLE), end) - self._at

    def close(self) -> None:
        self._file.close()


def _descriptor(file: BinaryIO) -> int | None:
    """Return the descriptor of a volume that is a real file."""
    try:
        return file.fileno()
    except OSError:
        return None


def _opened(session: Session, arguments: Any, procedure: str, *, write: bool) -> BinaryIO:
    check_flags(arguments.flags, _SPARSE, function_name(procedure))
    pools = POOLS.of(session, procedure)
    file = pools.volumes.open(find(pools, arguments.vol), write=write)
    try:
        file.seek(arguments.offset)
    except BaseException:
        file.close()
        raise
    return file


@serves("storage_vol_upload", slow=True)
def upload(session: Session, arguments: Any, stream: Stream) -> None:
    """Take a volume's content."""
    file = _opened(session, arguments, "storage_vol_upload", write=True)
    stream.sink = _Upload(file, arguments.length or None)


@serves("storage_vol_download", slow=True)
def download(session: Session, arguments: Any, stream: Stream) -> None:
    """Give a volume's content."""
    file = _opened(session, arguments, "storage_vol_download", write=False)
    sparse = bool(arguments.flags & _SPARSE)
    stream.source = _Download(file, arguments.length or None, sparse=sparse)
