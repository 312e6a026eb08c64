"""Storage pools that are folders of image files, as libvirt's pools of type ``dir``."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from polyvisor.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    SpecError,
    StorageError,
    Unsupported,
)
from polyvisor.local.objects import _images as images
from polyvisor.local.objects._pools import LocalPools, LocalVolumes, volume_file_name
from polyvisor.objects import PoolInfo, PoolState, VolumeInfo, VolumeRef
from polyvisor.state import AtomicFile

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.model import StoragePoolSpec, StorageVolumeSpec
    from polyvisor.model.storage_volume import VolumeFormat
    from polyvisor.state import Home, ObjectRecord

__all__ = ["DirectoryPools", "DirectoryVolumes"]

_FOLDER_MODE = 0o711
_FILE_MODE = 0o600


class DirectoryPools(LocalPools):
    """Pools of type ``dir``; the volumes are the files that are there."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.volumes: DirectoryVolumes = DirectoryVolumes(self)

    def complete(self, spec: StoragePoolSpec) -> StoragePoolSpec:
        if spec.type != "dir":
            raise SpecError(
                f"storage pool {spec.name!r}: pools of type {spec.type!r} are not there yet; "
                f"use type 'dir'"
            )
        assert spec.target is not None
        assert spec.target.path is not None
        if not spec.target.path.startswith("/"):
            raise SpecError(
                f"storage pool {spec.name!r}: the path {spec.target.path!r} is not absolute"
            )
        for other in self.summaries():
            if other.key != self.key_of(spec) and self.folder(other.key) == spec.target.path:
                raise SpecError(
                    f"storage pool {spec.name!r}: the folder {spec.target.path} belongs to the "
                    f"pool {other.name!r}; choose another"
                )
        return spec

    def begin(self, spec: StoragePoolSpec) -> StoragePoolSpec:
        assert spec.target is not None
        path = spec.target.path or ""
        try:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise StorageError(
                    f"start storage pool {spec.name!r}: {path} is not a folder", path=path
                )
        except OSError as error:
            raise StorageError(
                f"start storage pool {spec.name!r}: cannot use {path}: {error.strerror}; build "
                f"the pool, or give another path",
                path=path,
            ) from error
        return spec

    def measured(self, record: ObjectRecord) -> PoolInfo:
        try:
            facts = os.statvfs(self.folder(record.key))
        except OSError:
            return PoolInfo(PoolState.INACCESSIBLE)
        capacity, free = facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize
        return PoolInfo(PoolState.RUNNING, capacity, capacity - free, free)

    def build(self, key: str, *, overwrite: bool = False) -> None:
        with self.held(key, "build"):
            record = self.inactive(key, "build")
            path = self.folder(key)
            target = self.spec(key).target
            wanted = target.permissions if target is not None else None
            mode = wanted.mode if wanted is not None and wanted.mode is not None else _FOLDER_MODE
            try:
                if not os.path.isdir(path):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    os.mkdir(path)
                    os.chmod(path, mode)
                elif wanted is not None and wanted.mode is not None:
                    os.chmod(path, mode)
                _own(path, wanted)
            except OSError as error:
                raise StorageError(
                    f"build {record.name!r}: cannot make {path}: {error.strerror}", path=path
                ) from error

    def delete(self, key: str) -> None:
        with self.held(key, "delete"):
            record = self.inactive(key, "delete")
            path = self.folder(key)
            try:
                os.rmdir(path)
            except OSError as error:
                raise StorageError(
                    f"delete {record.name!r}: cannot remove {path}: {error.strerror}; delete "
                    f"what is in it first",
                    path=path,
                ) from error

    def folder(self, key: str) -> str:
        """Return the folder of a pool."""
        record = self.record(key)
        # Not the document that is shown: that one is measured.
        target = self.document().from_xml(record.live or record.definition or "").target
        assert target is not None
        assert target.path is not None
        return target.path


class DirectoryVolumes(LocalVolumes):
    """The files in the folders of pools."""

    pools: DirectoryPools

    def list(self, pool: str) -> Sequence[VolumeRef]:
        record = self.pools.active(pool, "volumes of")
        folder = self.pools.folder(pool)
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    entry.name
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_file()
                )
        except OSError as error:
            raise StorageError(
                f"cannot look through the storage pool {record.name!r}: {error.strerror}",
                path=folder,
            ) from error
        return [_ref(pool, f"{folder}/{name}") for name in names]

    def info(self, volume: VolumeRef) -> VolumeInfo:
        image = self._image(volume)
        return VolumeInfo("file", image.capacity, image.allocation)

    def xml(self, volume: VolumeRef) -> str:
        from polyvisor.model import StorageVolumeSpec
        from polyvisor.model.storage import Permissions
        from polyvisor.model.storage_volume import BackingVolume, VolumeTarget, VolumeTimestamps

        image = self._image(volume)
        facts = os.stat(volume.path)
        backing = None
        if image.backing is not None:
            path = os.path.join(os.path.dirname(volume.path), image.backing)
            below = images.probe(path).format if os.path.isfile(path) else "raw"
            backing = BackingVolume(path=path, format=cast("VolumeFormat", below))
        return StorageVolumeSpec(
            name=volume.name,
            key=volume.key,
            capacity=image.capacity,
            allocation=image.allocation,
            physical=facts.st_size,
            target=VolumeTarget(
                path=volume.path,
                format=cast("VolumeFormat", image.format),
                permissions=Permissions(
                    mode=stat.S_IMODE(facts.st_mode) & 0o777, owner=facts.st_uid, group=facts.st_gid
                ),
                timestamps=VolumeTimestamps(
                    atime=facts.st_atime_ns, mtime=facts.st_mtime_ns, ctime=facts.st_ctime_ns
                ),
            ),
            backing_store=backing,
        ).to_xml()

    def create(
        self, pool: str, spec: StorageVolumeSpec, *, source: VolumeRef | None, job: Job
    ) -> VolumeRef:
        name = volume_file_name(spec)
        if name.startswith("."):
            raise InvalidArgument(f"volume {name!r}: names that begin with '.' are not volumes")
        kind = spec.target.format or "raw"
        if kind not in ("raw", "iso", "qcow2", "qed", "vmdk", "vdi", "vpc"):
            raise Unsupported(
                f"volume {name!r}: images of format {kind!r} are not made; use raw or qcow2",
                feature="storage",
            )
        if spec.target.encryption is not None:
            raise Unsupported(
                f"volume {name!r}: encrypted volumes are not there yet", feature="storage"
            )
        with self.pools.held(pool, "create volume"):
            record = self.pools.active(pool, "create volume")
            path = f"{self.pools.folder(pool)}/{name}"
            if os.path.lexists(path):
                raise AlreadyExists(
                    f"create volume: the storage pool {record.name!r} has a volume {name!r} "
                    f"already; choose another name",
                    libvirt_number=90,
                )
            wanted = spec.target.permissions
            mode = wanted.mode if wanted is not None and wanted.mode is not None else _FILE_MODE
            with AtomicFile(path, mode=mode) as file:
                try:
                    os.fchmod(file.fd, mode)
                    _own(file.part, wanted)
                    if source is not None:
                        self._clone(source, file, kind, spec.capacity, job)
                    elif kind in ("raw", "iso"):
                        _make_raw(file.fd, spec)
                    else:
                        images.make(
                            file.part,
                            kind,
                            spec.capacity,
                            backing=self._backing(spec),
                            options=_options(spec),
                        )
                except OSError as error:
                    raise file.failed(error) from error
                file.commit()
            job.report("done", done=True)
            return _ref(pool, path)

    def _clone(
        self, source: VolumeRef, file: AtomicFile, kind: str, capacity: int, job: Job
    ) -> None:
        """Fill a new volume with the content of another."""
        image = self._image(source)
        kinds = (kind if kind != "iso" else "raw", image.format if image.format != "iso" else "raw")
        if kinds == ("raw", "raw"):
            with self.open(source, write=False) as old:
                os.ftruncate(file.fd, max(capacity, image.capacity))
                images.copy_content(old.fileno(), file.fd, image.capacity, job)
            return
        images.convert(source.path, kinds[1], file.part, kinds[0], job)
        if capacity > image.capacity:
            if kinds[0] == "raw":
                os.truncate(file.part, capacity)
            else:
                images.resize(file.part, kinds[0], capacity, shrink=False)

    def _backing(self, spec: StorageVolumeSpec) -> tuple[str, str] | None:
        backing = spec.backing_store
        if backing is None or backing.path is None:
            return None
        return backing.path, backing.format or images.probe(backing.path).format

    def delete(self, volume: VolumeRef) -> None:
        with self.pools.held(volume.pool, "delete volume"):
            self._image(volume)
            try:
                os.unlink(volume.path)
            except OSError as error:
                raise StorageError(
                    f"cannot remove the volume {volume.name!r}: {error.strerror}", path=volume.path
                ) from error

    def resize(self, volume: VolumeRef, capacity: int, *, allocate: bool, shrink: bool) -> None:
        with self.pools.held(volume.pool, "resize volume"):
            image = self._image(volume)
            if capacity < image.capacity and not shrink:
                raise InvalidArgument(
                    f"resize volume {volume.name!r}: {capacity} bytes are fewer than its "
                    f"{image.capacity}; say that it may shrink"
                )
            if image.format not in ("raw", "iso"):
                images.resize(volume.path, image.format, capacity, shrink=shrink)
                return
            try:
                with open(volume.path, "r+b") as file:
                    if allocate and capacity > image.capacity:
                        size = image.capacity
                        os.posix_fallocate(file.fileno(), size, capacity - size)
                    os.ftruncate(file.fileno(), capacity)
            except OSError as error:
                raise StorageError(
                    f"cannot resize the volume {volume.name!r}: {error.strerror}", path=volume.path
                ) from error

    def wipe(self, volume: VolumeRef, job: Job) -> None:
        image = self._image(volume)
        if image.format not in ("raw", "iso"):
            raise OperationInvalid(
                f"wipe volume {volume.name!r}: it is of format {image.format}, and would be none "
                f"afterwards; delete it and make it anew",
                operation="wipe",
            )
        job.report("wipe", total=image.capacity, processed=0, remaining=image.capacity)
        zeros = bytes(1 << 20)
        try:
            with open(volume.path, "r+b", buffering=0) as file:
                done = 0
                while done < image.capacity:
                    job.check()
                    done += file.write(zeros[: image.capacity - done])
                    job.report("wipe", processed=done, remaining=image.capacity - done)
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"cannot wipe the volume {volume.name!r}: {error.strerror}", path=volume.path
            ) from error
        job.report("done", done=True)

    def open(self, volume: VolumeRef, *, write: bool) -> BinaryIO:
        self._image(volume)
        try:
            return open(volume.path, "r+b" if write else "rb")
        except OSError as error:
            raise StorageError(
                f"cannot open the volume {volume.name!r}: {error.strerror}", path=volume.path
            ) from error

    def _image(self, volume: VolumeRef) -> images.Image:
        """Look at a volume's file.

        Raises:
            NotFound: it is gone.
            OperationInvalid: its pool is not active.
        """
        self.pools.active(volume.pool, "use a volume of")
        if not os.path.isfile(volume.path):
            raise NotFound(
                f"the volume {volume.name!r} is no longer there", kind="storage volume",
                key=volume.key,
            )  # fmt: skip
        return images.probe(volume.path)


def _ref(pool: str, path: str) -> VolumeRef:
    return VolumeRef(pool, os.path.basename(path), path, path)


def _make_raw(fd: int, spec: StorageVolumeSpec) -> None:
    os.ftruncate(fd, spec.capacity)
    taken = min(spec.allocation, spec.capacity)
    if taken:
        os.posix_fallocate(fd, 0, taken)


def _options(spec: StorageVolumeSpec) -> list[str]:
    """Return qemu-img's options for what a definition says of a qcow2 image."""
    target = spec.target
    options: list[str] = []
    if target.format != "qcow2":
        return options
    if target.compat is not None:
        options.append(f"compat={target.compat}")
    if target.cluster_size is not None:
        options.append(f"cluster_size={target.cluster_size}")
    if target.nocow:
        options.append("nocow=on")
    if target.features is not None and target.features.lazy_refcounts:
        options.append("lazy_refcounts=on")
    if target.features is not None and target.features.extended_l2:
        options.append("extended_l2=on")
    return options


def _own(path: str, permissions: Any) -> None:
    """Give a file to who a definition names; without the right to, only to oneself."""
    if permissions is None or (permissions.owner is None and permissions.group is None):
        return
    owner = -1 if permissions.owner is None else permissions.owner
    group = -1 if permissions.group is None else permissions.group
    facts = os.stat(path)
    if owner in (-1, facts.st_uid) and group in (-1, facts.st_gid):
        return
    os.chown(path, owner, group)
