"""Jobs on the disks of guests of real QEMU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import (
    Busy,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    PolyvisorError,
    StorageError,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

SIZE = 8 << 20
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='{}'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)


def _img(*words: object) -> str:
    line = ["qemu-img", *map(str, words)]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout


def _content(path: Path) -> bytes:
    raw = path.with_suffix(".content")
    _img("convert", "-U", "-O", "raw", path, raw)
    return raw.read_bytes()


@attrs.frozen
class Chain:
    """A guest with a disk ``vda`` of three layers, each with data of its own."""

    host: Any
    domain: Any
    base: Path
    middle: Path
    top: Path
    content: bytes

    @property
    def block(self) -> Any:
        """The part of the driver that is tried."""
        return self.host._driver.block

    def wait(self, *, ready: bool = False) -> Any:
        """Wait until the job is over, or ready."""
        deadline = time.monotonic() + 30
        while True:
            info = self.block.info(self.domain.uuid, "vda")
            if info is None or (ready and info.ready):
                return info
            assert time.monotonic() < deadline, info
            time.sleep(0.02)

    def source(self, *, inactive: bool = False) -> str:
        """Return the file that the definition has."""
        (disk,) = self.domain.spec(inactive=inactive).devices.disks
        return str(disk.source.file)

    def backing(self, path: Path) -> str | None:
        """Return the backing file that an image names."""
        told = json.loads(_img("info", "-U", "--output=json", path))
        found: str | None = told.get("backing-filename")
        return found


@pytest.fixture
def chain(hosts: Hosts, make_spec: Make) -> Chain:
    """Hold a running guest with a chain of images."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing: apt install qemu-utils")
    base, middle, top = (hosts.root / f"{name}.img" for name in ("base", "middle", "top"))
    content = bytearray(os.urandom(1 << 20)).ljust(SIZE, b"\0")
    base.write_bytes(content)
    _img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", middle)
    _img("create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
    for number, layer in enumerate((middle, top), 1):
        place = number << 20
        line = ["qemu-io", "-f", "qcow2", "-c", f"write -P {number} {place} 65536", str(layer)]
        subprocess.run(line, check=True, capture_output=True, timeout=60)
        content[place : place + 65536] = bytes([number]) * 65536
    host = hosts.open()
    domain = host.domains.define(make_spec(devices=DISK.format("qcow2", top)))
    domain.start(paused=True)
    return Chain(host, domain, base, middle, top, bytes(content))


def test_sizes(chain: Chain) -> None:
    """A disk's sizes are told whether the guest runs or not, and change when it is resized."""
    info = chain.block.disk_info(chain.domain.uuid, "vda")
    assert info.capacity == SIZE
    assert info.physical == chain.top.stat().st_size
    assert info.allocation == chain.top.stat().st_blocks * 512
    chain.block.resize(chain.domain.uuid, str(chain.top), 2 * SIZE)
    assert chain.block.disk_info(chain.domain.uuid, "vda").capacity == 2 * SIZE
    with pytest.raises(OperationInvalid, match="no job on vda"):
        chain.block.abort(chain.domain.uuid, "vda", pivot=False, wait=True)
    with pytest.raises(InvalidArgument, match="no size"):
        chain.block.resize(chain.domain.uuid, "vda", 0)
    chain.domain.destroy()
    assert chain.block.disk_info(chain.domain.uuid, "vda").capacity == 2 * SIZE
    with pytest.raises(NotFound, match="no disk 'vdb'"):
        chain.block.disk_info(chain.domain.uuid, "vdb")
    with pytest.raises(OperationInvalid, match="not running"):
        chain.block.resize(chain.domain.uuid, "vda", SIZE)


@pytest.mark.parametrize("base", [None, "base"])
def test_pull(chain: Chain, base: str | None) -> None:
    """A disk gets all data of the layers above the base, which stays as its backing file."""
    stays = str(chain.base) if base else None
    chain.block.pull(chain.domain.uuid, "vda", base=stays, bandwidth=0)
    assert chain.wait() is None
    assert chain.backing(chain.top) == stays
    chain.domain.destroy()
    assert _content(chain.top) == chain.content


def test_commit_middle(chain: Chain) -> None:
    """Data of a layer below the top goes into the base, and the layer is left out."""
    chain.block.commit(
        chain.domain.uuid, "vda", base=None, top=str(chain.middle), bandwidth=0, active=False,
        delete=False,
    )  # fmt: skip
    assert chain.wait() is None
    assert chain.backing(chain.top) == str(chain.base)
    chain.domain.destroy()
    assert _content(chain.top) == chain.content


def test_commit_active(chain: Chain) -> None:
    """All data goes into the base, to which the guest goes over; the definition follows."""
    chain.block.commit(
        chain.domain.uuid, "vda", base=None, top=None, bandwidth=0, active=True, delete=True
    )
    info = chain.wait(ready=True)
    assert info.kind == "active-commit"
    chain.block.abort(chain.domain.uuid, "vda", pivot=True, wait=True)
    assert chain.block.info(chain.domain.uuid, "vda") is None
    assert chain.source() == chain.source(inactive=True) == str(chain.base)
    assert not chain.top.exists()
    assert not chain.middle.exists()
    chain.domain.destroy()
    assert chain.base.read_bytes() == chain.content
    chain.domain.start()
    assert chain.block.disk_info(chain.domain.uuid, "vda").capacity == SIZE


def test_commit_refused(chain: Chain) -> None:
    """What does not fit the chain is refused before anything is begun."""
    commit = chain.block.commit
    with pytest.raises(OperationInvalid, match="say active"):
        commit(chain.domain.uuid, "vda", base=None, top=None, bandwidth=0, active=False,
               delete=False)  # fmt: skip
    with pytest.raises(OperationInvalid, match="does not lie above"):
        commit(chain.domain.uuid, "vda", base=str(chain.middle), top=str(chain.base), bandwidth=0,
               active=False, delete=False)  # fmt: skip
    with pytest.raises(InvalidArgument, match="is not in the chain"):
        commit(chain.domain.uuid, "vda", base="/no/such", top=None, bandwidth=0, active=True,
               delete=False)  # fmt: skip
    with pytest.raises(Unsupported, match="not removed"):
        commit(chain.domain.uuid, "vda", base=None, top=str(chain.middle), bandwidth=0,
               active=False, delete=True)  # fmt: skip
    assert chain.block.info(chain.domain.uuid, "vda") is None


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_copy_and_pivot(hosts: Hosts, chain: Chain, form: str) -> None:
    """A copy has the same content; the guest goes over to it, and its definition too."""
    copy = hosts.root / "copy"
    chain.block.copy(
        chain.domain.uuid, "vda", DISK.format(form, copy), bandwidth=0, shallow=False, reuse=False
    )
    info = chain.wait(ready=True)
    assert info.kind == "copy"
    assert info.done == info.total
    chain.block.abort(chain.domain.uuid, "vda", pivot=True, wait=True)
    assert chain.source() == chain.source(inactive=True) == str(copy)
    chain.domain.destroy()
    assert _content(copy) == chain.content
    chain.domain.start()


def test_copy_with_its_pieces(hosts: Hosts, chain: Chain) -> None:
    """QEMU is told what is copied at once, and refuses what it cannot."""
    document = DISK.format("qcow2", hosts.root / "copy")
    disks = chain.domain.disks
    with pytest.raises(InvalidArgument, match="power of two"):
        disks.copy("vda", document, granularity=65535)
    with pytest.raises(PolyvisorError, match=r"[Gg]ranularity"):
        disks.copy("vda", document, granularity=1 << 30)
    # Slow, so that it goes on while it is looked at.
    disks.copy("vda", document, granularity=1 << 20, buffer=4 << 20, bandwidth=65536, reuse=True)
    told = chain.domain.debug.command('{"execute":"query-block"}')
    grains = {
        bitmap["granularity"]
        for one in json.loads(told)["return"]
        for bitmap in one.get("inserted", {}).get("dirty-bitmaps", ())
    }
    assert 1 << 20 in grains
    disks.abort("vda")


def test_shallow_copy(hosts: Hosts, chain: Chain) -> None:
    """A shallow copy has the top's data alone, over the same backing file."""
    copy = hosts.root / "copy"
    chain.block.copy(
        chain.domain.uuid, "vda", DISK.format("qcow2", copy), bandwidth=0, shallow=True, reuse=False
    )
    chain.wait(ready=True)
    chain.block.abort(chain.domain.uuid, "vda", pivot=True, wait=True)
    assert chain.backing(copy) == str(chain.middle)
    chain.domain.destroy()
    assert _content(copy) == chain.content


def test_slow_copy(hosts: Hosts, chain: Chain) -> None:
    """A job can be limited, is alone on its disk, and given up leaves the disk where it was."""
    copy = hosts.root / "copy"
    xml = DISK.format("raw", copy)
    start = chain.block.copy
    start(chain.domain.uuid, "vda", xml, bandwidth=65536, shallow=False, reuse=False)
    info = chain.block.info(chain.domain.uuid, "vda")
    assert (info.kind, info.bandwidth, info.ready) == ("copy", 65536, False)
    with pytest.raises(Busy, match="the copy of vda is still going on"):
        chain.block.pull(chain.domain.uuid, "vda", base=None, bandwidth=0)
    with pytest.raises(OperationInvalid, match="not ready"):
        chain.block.abort(chain.domain.uuid, "vda", pivot=True, wait=True)
    chain.block.set_bandwidth(chain.domain.uuid, "vda", 131072)
    assert chain.block.info(chain.domain.uuid, "vda").bandwidth == 131072
    chain.block.abort(chain.domain.uuid, "vda", pivot=False, wait=True)
    assert chain.block.info(chain.domain.uuid, "vda") is None
    assert chain.source() == str(chain.top)
    with pytest.raises(StorageError, match="cannot make"):
        start(chain.domain.uuid, "vda", xml, bandwidth=0, shallow=False, reuse=False)
    start(chain.domain.uuid, "vda", xml, bandwidth=0, shallow=False, reuse=True)
    assert chain.wait(ready=True).ready


def test_two_processes(hosts: Hosts, chain: Chain) -> None:
    """Another process sees a job, and ends it."""
    chain.block.copy(
        chain.domain.uuid, "vda", DISK.format("raw", hosts.root / "copy"), bandwidth=0,
        shallow=False, reuse=False,
    )  # fmt: skip
    chain.wait(ready=True)
    out = hosts.run_process(
        """
        with polyvisor.open(uri) as host:
            uuid = host.domains["guest"].uuid
            print(host._driver.block.info(uuid, "vda").kind)
            host._driver.block.abort(uuid, "vda", pivot=True, wait=True)
        """
    )
    assert out.strip() == "copy"
    assert chain.source() == str(hosts.root / "copy")


COPY_TO_TINY = """
    import sys, time, polyvisor
    uri, spec, xml = sys.argv[1:]
    with polyvisor.open(uri) as host:
        events = host.events(timeout=20)
        domain = host.domains.create(spec, paused=True)
        block = host._driver.block
        block.copy(domain.uuid, "vda", xml, bandwidth=0, shallow=False, reuse=False)
        for event in events:
            if event.detail.startswith("block-job"):
                print(event.detail, event.data.get("error"))
                break
        print(block.info(domain.uuid, "vda"), domain.state)
        domain.destroy()
"""


def test_copy_without_room(hosts: Hosts, make_spec: Make) -> None:
    """A copy for which there is no room ends with an event that says so; the guest is well."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs root and unshare (Debian: util-linux)")
    source, tiny = hosts.root / "disk.img", hosts.root / "tiny"
    source.write_bytes(os.urandom(2 << 20))
    tiny.mkdir()
    spec = make_spec(devices=DISK.format("raw", source)).to_xml()
    script = f'mount -t tmpfs -o size=512k none {tiny} && exec "$@"'
    code = textwrap.dedent(COPY_TO_TINY)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", code, hosts.uri(), spec,
         DISK.format("raw", tiny / "copy")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "mount" in done.stderr and done.returncode:
        pytest.skip(f"no mounts here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "block-job-completed No space left on device",
        "None paused",
    ]


def test_relative_names_stay_relative(hosts: Hosts, make_spec: Make) -> None:
    """Whoever moves a folder of images finds them all, if that is asked for; layers have places."""
    folder = hosts.root / "images"
    folder.mkdir()
    names = ("base.img", "lower.img", "upper.img", "top.img")
    (folder / names[0]).write_bytes(bytes(SIZE))
    for number, (below, name) in enumerate(pairwise(names)):
        options = ["-b", below, "-F", "qcow2" if number else "raw"]
        _img("create", "-q", "-f", "qcow2", *options, folder / name)
    host = hosts.open()
    domain = host.domains.define(make_spec(devices=DISK.format("qcow2", folder / "top.img")))
    domain.start(paused=True)
    chain = Chain(host, domain, *(folder / one for one in names[:2]), folder / "top.img", b"")
    with pytest.raises(InvalidArgument, match="right below"):
        domain.disks.commit("vda", top="vda[1]", base="vda[3]", shallow=True)
    domain.disks.commit("vda", top="vda[1]", shallow=True, relative=True)
    chain.wait()
    assert chain.backing(folder / "top.img") == "lower.img"
    domain.disks.pull("vda", base="vda[2]", relative=True)
    chain.wait()
    assert chain.backing(folder / "top.img") == "base.img"
    with pytest.raises(InvalidArgument, match="not in the chain"):
        domain.disks.pull("vda", base="vda[2]")


def test_names_that_are_not_relative(chain: Chain) -> None:
    """Where one is not, what is to keep them so is refused, and nothing begins."""
    disks = chain.domain.disks
    with pytest.raises(OperationInvalid, match="not relative"):
        disks.pull("vda", base=str(chain.base), relative=True)
    with pytest.raises(OperationInvalid, match="not relative"):
        disks.commit("vda", top=str(chain.middle), relative=True)
    assert disks.job("vda") is None
    assert chain.backing(chain.top) == str(chain.middle)
