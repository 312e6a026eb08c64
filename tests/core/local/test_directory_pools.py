"""Pools of real folders and image files, beside qemu-img where that is installed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    SpecError,
    StorageError,
    Unsupported,
)
from polyvisor.jobs import Job
from polyvisor.local.objects import DirectoryPools
from polyvisor.model import StoragePoolSpec, StorageVolumeSpec
from polyvisor.objects import PoolState
from polyvisor.state import Home, Roots

if TYPE_CHECKING:
    from polyvisor.driver import StoragePools

needs_qemu_img = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="qemu-img is not installed: apt install qemu-utils"
)


def pool_of(folder: Path, name: str = "images", kind: str = "dir") -> StoragePoolSpec:
    """Return the definition of a pool."""
    return StoragePoolSpec.from_xml(
        f"<pool type='{kind}'><name>{name}</name><target><path>{folder}</path></target></pool>"
    )


def volume_of(
    name: str, size: int = 1 << 20, kind: str = "raw", more: str = ""
) -> StorageVolumeSpec:
    """Return the definition of a volume."""
    return StorageVolumeSpec.from_xml(
        f"<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation>"
        f"<target><format type='{kind}'/></target>{more}</volume>"
    )


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[DirectoryPools]:
    """Hold the pools of a host that has none yet."""
    home = Home.on_disk(Roots.of("dirs", "session", root=tmp_path / "host"))
    yield DirectoryPools(home)
    home.close()


@pytest.fixture
def images(pools: DirectoryPools, tmp_path: Path) -> str:
    """Hold the key of an active pool."""
    key = pools.define(pool_of(tmp_path / "images"))
    pools.build(key)
    pools.start(key)
    return key


def make(pools: StoragePools, key: str, spec: StorageVolumeSpec) -> str:
    """Make a volume and return its path."""
    return pools.volumes.create(key, spec, source=None, job=Job("create")).path


def test_a_pool_is_its_folder(pools: DirectoryPools, tmp_path: Path) -> None:
    """A pool can be started once its folder is there; deleting it removes the folder."""
    key = pools.define(pool_of(tmp_path / "deep" / "images"))
    with pytest.raises(StorageError, match="build the pool"):
        pools.start(key)
    assert pools.info(key).state is PoolState.INACTIVE
    pools.build(key)
    pools.start(key)
    info, facts = pools.info(key), os.statvfs(tmp_path)
    assert info.capacity == facts.f_blocks * facts.f_frsize
    make(pools, key, volume_of("v"))
    pools.destroy(key)
    with pytest.raises(StorageError, match="not empty"):
        pools.delete(key)
    (tmp_path / "deep" / "images" / "v").unlink()
    pools.delete(key)
    assert not (tmp_path / "deep" / "images").exists()


def test_what_others_put_there_is_a_volume(
    pools: DirectoryPools, images: str, tmp_path: Path
) -> None:
    """Files are found as they are; hidden ones and folders are none."""
    folder = tmp_path / "images"
    (folder / "found.img").write_bytes(bytes(4096))
    (folder / ".hidden").write_bytes(b"x")
    (folder / "sub").mkdir()
    (volume,) = pools.volumes.list(images)
    assert (volume.name, pools.volumes.info(volume).capacity) == ("found.img", 4096)
    spec = StorageVolumeSpec.from_xml(pools.volumes.xml(volume))
    assert (spec.target.format, spec.physical, spec.key) == ("raw", 4096, volume.path)
    (folder / "found.img").unlink()
    with pytest.raises(NotFound, match="no longer there"):
        pools.volumes.info(volume)


def test_a_raw_volume_takes_what_it_is_told_to(pools: DirectoryPools, images: str) -> None:
    """Allocation is room taken at once; the rest is a hole; the mode is as defined."""
    spec = StorageVolumeSpec.from_xml(
        "<volume><name>v</name><capacity>1048576</capacity><allocation>65536</allocation>"
        "<target><permissions><mode>0640</mode></permissions></target></volume>"
    )
    path = make(pools, images, spec)
    facts = os.stat(path)
    assert facts.st_size == 1 << 20
    assert 65536 <= facts.st_blocks * 512 < 1 << 20
    assert stat.S_IMODE(facts.st_mode) == 0o640


@needs_qemu_img
@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi", "vpc", "qed"])
def test_other_formats_are_qemu_s(pools: DirectoryPools, images: str, kind: str) -> None:
    """What is made in another format is what qemu-img sees in it, and is found again as that."""
    path = make(pools, images, volume_of("v", 64 << 20, kind))
    seen = json.loads(
        subprocess.run(
            ["qemu-img", "info", "--output=json", path], check=True, capture_output=True
        ).stdout
    )
    assert seen["format"] == kind
    volume = pools.volumes.by_path(path)
    assert pools.volumes.info(volume).capacity == seen["virtual-size"] >= 64 << 20
    spec = StorageVolumeSpec.from_xml(pools.volumes.xml(volume))
    assert spec.target.format == kind


@needs_qemu_img
def test_an_overlay_says_what_is_below(pools: DirectoryPools, images: str) -> None:
    """A volume with a backing store is an overlay of it, and says so."""
    base = make(pools, images, volume_of("base", 8 << 20))
    more = f"<backingStore><path>{base}</path><format type='raw'/></backingStore>"
    top = make(pools, images, volume_of("top", 8 << 20, "qcow2", more))
    spec = StorageVolumeSpec.from_xml(pools.volumes.xml(pools.volumes.by_path(top)))
    assert spec.backing_store is not None
    assert (spec.backing_store.path, spec.backing_store.format) == (base, "raw")


@needs_qemu_img
def test_a_clone_in_another_format_has_the_same_content(
    pools: DirectoryPools, images: str, tmp_path: Path
) -> None:
    """Content survives from raw to qcow2 and back, and a larger clone is larger."""
    content = os.urandom(1 << 20)
    (tmp_path / "images" / "a").write_bytes(content)
    volumes = pools.volumes
    job = Job("clone")
    two = volumes.create(
        images, volume_of("b", 2 << 20, "qcow2"), source=volumes.by_name(images, "a"), job=job
    )
    assert volumes.info(two).capacity == 2 << 20
    three = volumes.create(images, volume_of("c", 0), source=two, job=job)
    with volumes.open(three, write=False) as file:
        assert file.read(1 << 20) == content


def test_a_sparse_clone_stays_sparse(pools: DirectoryPools, images: str, tmp_path: Path) -> None:
    """A raw clone has the same content and takes no more room."""
    path = tmp_path / "images" / "a"
    with path.open("wb") as file:
        file.seek(32 << 20)
        file.write(b"data")
        file.truncate(64 << 20)
    source = pools.volumes.by_name(images, "a")
    clone = pools.volumes.create(images, volume_of("b", 64 << 20), source=source, job=Job("clone"))
    assert Path(clone.path).read_bytes() == path.read_bytes()
    assert os.stat(clone.path).st_blocks * 512 < 1 << 20


def test_a_cancelled_clone_leaves_nothing(
    pools: DirectoryPools, images: str, tmp_path: Path
) -> None:
    """Cancelling takes away what was written."""
    (tmp_path / "images" / "a").write_bytes(os.urandom(40 << 20))
    job = Job("clone", lambda report: job.cancel() if report.processed else None)
    source = pools.volumes.by_name(images, "a")
    with pytest.raises(Cancelled):
        pools.volumes.create(images, volume_of("b", 40 << 20), source=source, job=job)
    assert os.listdir(tmp_path / "images") == ["a"]


def test_a_failed_volume_leaves_nothing(pools: DirectoryPools, images: str, tmp_path: Path) -> None:
    """More room than the disk has is refused with the disk's words, and no file is there."""
    spec = StorageVolumeSpec.from_xml(
        f"<volume><name>v</name><capacity>{1 << 60}</capacity></volume>"
    )
    with pytest.raises(StorageError, match="v"):
        pools.volumes.create(images, spec, source=None, job=Job("create"))
    assert os.listdir(tmp_path / "images") == []


@needs_qemu_img
def test_resizing(pools: DirectoryPools, images: str) -> None:
    """Raw and qcow2 volumes grow; they shrink only when that was said."""
    for kind in ("raw", "qcow2"):
        path = make(pools, images, volume_of(kind, 4 << 20, kind))
        volume = pools.volumes.by_path(path)
        pools.volumes.resize(volume, 8 << 20, allocate=False, shrink=False)
        assert pools.volumes.info(volume).capacity == 8 << 20
        with pytest.raises(InvalidArgument, match="shrink"):
            pools.volumes.resize(volume, 4 << 20, allocate=False, shrink=False)
        pools.volumes.resize(volume, 4 << 20, allocate=False, shrink=True)
        assert pools.volumes.info(volume).capacity == 4 << 20


def test_wiping_overwrites(pools: DirectoryPools, images: str, tmp_path: Path) -> None:
    """A wiped volume has its size and only zeros."""
    path = tmp_path / "images" / "a"
    path.write_bytes(b"secret" * 1000)
    pools.volumes.wipe(pools.volumes.by_name(images, "a"), Job("wipe"))
    assert path.read_bytes() == bytes(6000)


def test_what_cannot_be_here_is_refused(pools: DirectoryPools, images: str, tmp_path: Path) -> None:
    """Other types, relative paths, shared folders, existing names, odd names and formats."""
    with pytest.raises(SpecError, match="type 'dir'"):
        pools.define(StoragePoolSpec.from_xml(
            "<pool type='logical'><name>vg</name><source><device path='/dev/sdx'/></source></pool>"
        ))  # fmt: skip
    with pytest.raises(SpecError, match="not absolute"):
        pools.define(pool_of(Path("relative"), "other"))
    with pytest.raises(SpecError, match="belongs to the pool 'images'"):
        pools.define(pool_of(tmp_path / "images", "other"))
    make(pools, images, volume_of("v"))
    with pytest.raises(AlreadyExists, match="'v' already"):
        make(pools, images, volume_of("v"))
    with pytest.raises(InvalidArgument, match="begin with"):
        make(pools, images, volume_of(".v"))
    with pytest.raises(Unsupported, match="cloop"):
        make(pools, images, volume_of("w", kind="cloop"))
    pools.destroy(images)
    with pytest.raises(OperationInvalid, match="not active"):
        make(pools, images, volume_of("w"))
    assert os.listdir(tmp_path / "images") == ["v"]


@pytest.mark.parametrize(
    "content", [b"", b"QFI\xfb", b"QFI\xfb\0\0\0\x03", b"QFI\xfb\0\0\0\x03" + b"\xff" * 200]
)
def test_a_damaged_image_can_be_looked_at(
    pools: DirectoryPools, images: str, tmp_path: Path, content: bytes
) -> None:
    """An image that ends in its header is listed, and looking at it ends."""
    (tmp_path / "images" / "odd").write_bytes(content)
    volume = pools.volumes.by_name(images, "odd")
    assert pools.volumes.info(volume).allocation >= 0
