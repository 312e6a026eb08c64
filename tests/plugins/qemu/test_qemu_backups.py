"""Checkpoints and backups of guests of real QEMU: what is copied is what was there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import (
    AlreadyExists,
    HypervisorError,
    NotFound,
    OperationInvalid,
    StorageError,
    Unsupported,
)
from polyvisor.model import BackupSpec, CheckpointSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

SIZE = 8 << 20
PLACE = 64 << 10
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='{}'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)


def _run(*words: object) -> str:
    line = [str(word) for word in words]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout


def _content(path: str | Path, form: str = "qcow2") -> bytes:
    """Return what a guest would see of an image, or of a server's."""
    with tempfile.TemporaryDirectory(prefix="pv-") as folder:
        raw = Path(folder) / "raw"
        _run("qemu-img", "convert", "-U", "-f", form, "-O", "raw", path, raw)
        return raw.read_bytes()


def _map(url: str, bitmap: str) -> list[int]:
    """Return where a server says that something has changed, in units of 64 KiB."""
    options = f"driver=nbd,{url},x-dirty-bitmap=qemu:dirty-bitmap:{bitmap}"
    told = json.loads(_run("qemu-img", "map", "--output=json", "--image-opts", options))
    found: list[int] = []
    for one in told:
        if not one["data"]:  # of a bitmap that is shown so, what is dirty is said to be no data
            first = one["start"] // PLACE
            found += range(first, (one["start"] + one["length"]) // PLACE)
    return found


@attrs.frozen
class Marked:
    """A guest that is paused, with a disk ``vda`` that the test writes through QEMU."""

    host: Any
    domain: Any
    disk: Path
    #: What the guest sees; QEMU keeps tables to itself while it runs.
    content: bytearray = attrs.field(factory=lambda: bytearray(SIZE))

    def write(self, byte: int, place: int) -> None:
        """Write 64 KiB at a place, counted in 64 KiB."""
        driver = self.host._driver
        guest = driver.guest(self.domain.uuid)
        line = (
            "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "
            f'"write -P {byte} {place * PLACE} {PLACE}"'
        )
        with driver.hypervisor.monitor(guest) as monitor:
            assert monitor.execute("human-monitor-command", **{"command-line": line}) == ""
        self.content[place * PLACE : (place + 1) * PLACE] = bytes([byte]) * PLACE

    def changed(self, name: str) -> int:
        """Return how many 64 KiB have changed since a checkpoint."""
        point = CheckpointSpec.from_xml(self.domain.checkpoints.xml(name, sizes=True))
        (disk,) = point.disks
        assert disk.size is not None
        return disk.size // PLACE

    def wait(self) -> None:
        """Wait until the backup is over."""
        deadline = time.monotonic() + 30
        while self.domain.job() is not None:
            assert time.monotonic() < deadline, self.domain.job()
            time.sleep(0.02)

    def push(self, name: str, *, since: str | None = None, mark: str | None = None) -> Path:
        """Back the disk up into a file of a name."""
        path = self.disk.parent / name
        self.domain.backup.begin(
            f"<domainbackup>{_since(since)}<disks><disk name='vda' type='file'>"
            f"<target file='{path}'/></disk></disks></domainbackup>",
            checkpoint=None if mark is None else _point(mark),
        )
        return path


def _since(name: str | None) -> str:
    return "" if name is None else f"<incremental>{name}</incremental>"


def _point(name: str) -> str:
    return f"<domaincheckpoint><name>{name}</name></domaincheckpoint>"


@pytest.fixture
def marked(hosts: Hosts, make_spec: Make) -> Marked:
    """Hold a running guest."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing: apt install qemu-utils")
    disk = hosts.root / "disk.img"
    _run("qemu-img", "create", "-q", "-f", "qcow2", disk, SIZE)
    host = hosts.open()
    domain = host.domains.define(make_spec(devices=DISK.format("qcow2", disk)))
    domain.start(paused=True)
    return Marked(host, domain, disk)


def test_checkpoints(marked: Marked) -> None:
    """Each tells what has changed since, also after the guest was off; one can go alone."""
    points = marked.domain.checkpoints
    marked.write(1, 0)
    assert points.create(_point("one")) == "one"
    marked.write(2, 1)
    assert points.create(_point("two")) == "two"
    marked.write(3, 2)
    marked.write(4, 3)
    assert (marked.changed("one"), marked.changed("two")) == (3, 2)
    with pytest.raises(AlreadyExists, match="'one' already"):
        points.create(_point("one"))
    spec = CheckpointSpec.from_xml(points.xml("two"))
    assert spec.parent.name == "one"
    assert [(d.name, d.checkpoint, d.bitmap) for d in spec.disks] == [("vda", "bitmap", "two")]
    marked.domain.destroy()
    told = json.loads(_run("qemu-img", "info", "--output=json", marked.disk))
    bitmaps = told["format-specific"]["data"]["bitmaps"]
    assert {(one["name"], tuple(one["flags"])) for one in bitmaps} == {
        ("one", ("auto",)),
        ("two", ("auto",)),
    }
    assert points.create(_point("off")) == "off"
    with pytest.raises(OperationInvalid, match="not running"):
        points.xml("one", sizes=True)
    marked.domain.start(paused=True)
    assert (marked.changed("one"), marked.changed("two"), marked.changed("off")) == (3, 2, 0)
    marked.write(5, 9)
    points.delete("two")
    assert points.list() == ["one", "off"]
    assert CheckpointSpec.from_xml(points.xml("off")).parent.name == "one"
    assert (marked.changed("one"), marked.changed("off")) == (4, 1)
    points.delete("one", children=True)
    assert points.list() == []
    with pytest.raises(NotFound, match="'one'"):
        points.xml("one")
    marked.domain.destroy()
    told = json.loads(_run("qemu-img", "info", "--output=json", marked.disk))
    assert "bitmaps" not in told["format-specific"]["data"]
    _run("qemu-img", "check", "-q", marked.disk)


def test_checkpoints_and_definitions(hosts: Hosts, marked: Marked, make_spec: Make) -> None:
    """A domain is not forgotten with its checkpoints unawares; metadata alone can go and come."""
    points = marked.domain.checkpoints
    points.create(_point("one"))
    xml = points.xml("one")
    points.delete("one", metadata_only=True)
    assert points.list() == []
    points.create(xml, redefine=True)
    assert points.xml("one") == xml
    marked.write(1, 0)
    assert marked.changed("one") == 1
    with pytest.raises(OperationInvalid, match="has checkpoints"):
        marked.domain.snapshots.create("s")
    marked.domain.destroy()
    with pytest.raises(OperationInvalid, match=r"1 checkpoint\(s\)"):
        marked.domain.undefine()
    marked.domain.undefine(checkpoints=True)
    raw = hosts.root / "raw.img"
    raw.write_bytes(b"\0" * SIZE)
    other = marked.host.domains.define(make_spec(devices=DISK.format("raw", raw)))
    with pytest.raises(Unsupported, match="vda is raw, and only qcow2"):
        other.checkpoints.create()


def test_push(marked: Marked) -> None:
    """A full copy, then what has changed since, make up the disk; each is of one instant."""
    marked.write(1, 0)
    marked.write(2, 5)
    full = marked.push("full", mark="one")
    marked.write(3, 5)
    marked.write(4, 6)
    marked.wait()
    assert marked.changed("one") == 2
    part = marked.push("part", since="one", mark="two")
    marked.wait()
    assert marked.changed("one") == 2
    assert marked.changed("two") == 0
    for path in (full, part):
        _run("qemu-img", "check", "-q", path)
    assert _content(full)[5 * PLACE] == 2
    data = [
        one["start"] // PLACE
        for one in json.loads(_run("qemu-img", "map", "--output=json", part))
        if one["data"]
    ]
    assert data == [5]
    _run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", full, "-F", "qcow2", part)
    assert _content(part) == marked.content
    with pytest.raises(NotFound, match="no backup"):
        marked.domain.backup.xml()


@pytest.mark.parametrize("server", ["unix", "tcp"])
def test_pull(hosts: Hosts, marked: Marked, server: str) -> None:
    """Whoever reads from the server sees the instant of the beginning, and what had changed."""
    marked.write(1, 0)
    marked.domain.checkpoints.create(_point("one"))
    marked.write(2, 3)
    marked.write(3, 4)
    socket = hosts.root / "nbd"
    where = (
        f"<server transport='unix' socket='{socket}'/>"
        if server == "unix"
        else "<server transport='tcp' name='127.0.0.1'/>"
    )
    marked.domain.backup.begin(
        f"<domainbackup mode='pull'>{_since('one')}{where}</domainbackup>",
        checkpoint=_point("two"),
    )
    then = bytes(marked.content)
    marked.write(9, 0)
    marked.write(9, 3)
    marked.write(9, 100)
    told = BackupSpec.from_xml(marked.domain.backup.xml())
    (disk,) = told.disks
    assert (disk.name, disk.exportname, disk.exportbitmap) == ("vda", "vda", "backup-vda")
    job = marked.domain.job()
    assert (job.operation, job.phase, job.done) == ("backup", "pull", False)
    if server == "unix":
        url, options = f"nbd+unix:///vda?socket={socket}", f"server.type=unix,server.path={socket}"
    else:
        port = told.server.port
        url = f"nbd://127.0.0.1:{port}/vda"
        options = f"server.type=inet,server.host=127.0.0.1,server.port={port}"
    assert _content(url, "raw") == then
    assert _map(f"{options},export=vda", "backup-vda") == [3, 4]
    with pytest.raises(OperationInvalid, match="goes on already"):
        marked.domain.backup.begin()
    assert Path(disk.scratch.file).exists()
    marked.domain.abort_job()
    assert marked.domain.job() is None
    assert not Path(disk.scratch.file).exists()
    assert not socket.exists()
    assert marked.changed("two") == 3
    assert marked.changed("one") == 4
    with pytest.raises(OperationInvalid, match="no job"):
        marked.domain.abort_job()
    marked.domain.destroy()
    _run("qemu-img", "check", "-q", marked.disk)
    told_bitmaps = json.loads(_run("qemu-img", "info", "--output=json", marked.disk))
    names = [one["name"] for one in told_bitmaps["format-specific"]["data"]["bitmaps"]]
    assert sorted(names) == ["one", "two"]


@pytest.mark.parametrize("locked", [False, True])
def test_pull_encrypted(
    hosts: Hosts, make_spec: Make, certificates: Callable[[str], Path], locked: bool
) -> None:
    """Who shows a certificate reads what was there; who shows none, or speaks plainly, nothing."""
    folder = certificates("localhost")
    settings = {"backup_tls_x509_cert_dir": str(folder)}
    with hosts.open() as host:
        if locked:
            secret = host.secrets.define(
                "<secret ephemeral='no' private='yes'><usage type='tls'><name>key</name></usage>"
                "</secret>"
            )
            secret.set_value(b"open sesame")
            settings["backup_tls_x509_secret_uuid"] = str(secret.uuid)
            _run(
                "openssl", "pkcs8", "-topk8", "-v2", "aes256", "-in", folder / "server-key.pem",
                "-passout", "pass:open sesame", "-out", folder / "locked",
            )  # fmt: skip
            (folder / "locked").replace(folder / "server-key.pem")
    disk = hosts.root / "disk.img"
    _run("qemu-img", "create", "-q", "-f", "qcow2", disk, SIZE)
    host = hosts.open(**settings)
    domain = host.domains.define(make_spec(devices=DISK.format("qcow2", disk)))
    domain.start(paused=True)
    marked = Marked(host, domain, disk)
    marked.write(1, 0)
    then = bytes(marked.content)
    server = "<server transport='tcp' name='127.0.0.1' tls='yes'/>"
    port = 0
    for _ in range(2):  # what is made for one server does not stand in the next one's way
        domain.backup.begin(f"<domainbackup mode='pull'>{server}</domainbackup>")
        port = BackupSpec.from_xml(domain.backup.xml()).server.port
        image = f"driver=nbd,host=127.0.0.1,port={port},export=vda"
        # QEMU's client takes the peer's name from the address unless it is told another.
        assert _pulled(f"{image},tls-creds=tls,tls-hostname=localhost", folder) == then
        stranger = hosts.root / "stranger"
        stranger.mkdir(exist_ok=True)
        shutil.copy(folder / "ca-cert.pem", stranger)
        for words, pki in (
            (f"{image},tls-creds=tls,tls-hostname=localhost", stranger),
            (image, None),
        ):
            with pytest.raises(subprocess.CalledProcessError):
                _pulled(words, pki)
        domain.abort_job()
        assert domain.job() is None


def _pulled(image: str, pki: Path | None) -> bytes:
    """Return what a server gives to QEMU's client with the certificates of a folder."""
    tls = f"tls-creds-x509,id=tls,endpoint=client,dir={pki}"
    with tempfile.TemporaryDirectory(prefix="pv-") as folder:
        raw = Path(folder) / "raw"
        more = [] if pki is None else ["--object", tls]
        _run("qemu-img", "convert", *more, "--image-opts", "-O", "raw", image, raw)
        return raw.read_bytes()


def test_pull_without_certificates(marked: Marked) -> None:
    """Without certificates there is no server, and the next one that needs none is there."""
    pki = marked.disk.parent / "no"
    host = marked.host
    host._driver.hypervisor.settings["backup_tls_x509_cert_dir"] = str(pki)
    server = "<server transport='tcp' name='127.0.0.1' tls='{}'/>"
    begin = "<domainbackup mode='pull'>{}</domainbackup>"
    with pytest.raises(OperationInvalid, match="no encrypted server with the certificates in"):
        marked.domain.backup.begin(begin.format(server.format("yes")))
    assert marked.domain.job() is None
    marked.domain.backup.begin(begin.format(server.format("no")))
    marked.domain.abort_job()


def test_abort_push(marked: Marked) -> None:
    """A backup that is ended before its time says so; the next one is whole."""
    marked.write(7, 0)
    # Whether QEMU is done before it is told to end is its affair; both are told as they are.
    path = marked.push("full", mark="one")
    marked.domain.abort_job()
    assert marked.domain.job() is None
    with pytest.raises(NotFound) as caught:
        marked.domain.backup.xml()
    if "aborted" not in caught.value.message:
        assert _content(path) == marked.content
    assert marked.changed("one") == 0
    path.unlink()
    again = marked.push("full")
    marked.wait()
    assert _content(again) == marked.content


def test_refused(marked: Marked) -> None:
    """What cannot be begun leaves no file, no checkpoint and no job."""
    with pytest.raises(NotFound, match="no checkpoint 'none'"):
        marked.push("x", since="none", mark="one")
    (marked.disk.parent / "there").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make"):
        marked.push("there", mark="one")
    socket = marked.disk.parent / "no" / "socket"
    with pytest.raises(OperationInvalid, match="no server"):
        marked.domain.backup.begin(
            f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/></domainbackup>"
        )
    assert marked.domain.checkpoints.list() == []
    assert marked.domain.job() is None
    assert sorted(one.name for one in marked.disk.parent.glob("disk.img*")) == ["disk.img"]
    whole = marked.push("whole")
    marked.wait()
    assert _content(whole) == marked.content
    marked.domain.destroy()
    with pytest.raises(OperationInvalid, match="not running"):
        marked.push("off")


def test_a_broken_account(marked: Marked) -> None:
    """If QEMU is killed, no backup pretends to know what has changed."""
    marked.domain.checkpoints.create(_point("one"))
    marked.domain.destroy()
    marked.domain.start(paused=True)
    (pid,) = [marked.host._driver.guest(marked.domain.uuid).runtime["pid"]]
    os.kill(pid, 9)
    deadline = time.monotonic() + 30
    while marked.domain.active:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    marked.domain.start(paused=True)
    with pytest.raises(HypervisorError, match="is broken"):
        marked.push("part", since="one")
    assert not (marked.disk.parent / "part").exists()
    marked.domain.checkpoints.delete("one")
    marked.push("full", mark="two")
    marked.wait()


NO_ROOM = """
    import sys, time, polyvisor
    from polyvisor.errors import NotFound
    uri, spec, target = sys.argv[1:]
    with polyvisor.open(uri) as host:
        domain = host.domains.create(spec, paused=True)
        domain.backup.begin(
            "<domainbackup><disks><disk name='vda'><driver type='raw'/>"
            f"<target file='{target}'/></disk></disks></domainbackup>",
            checkpoint="<domaincheckpoint><name>one</name></domaincheckpoint>",
        )
        deadline = time.monotonic() + 30
        while domain.job() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            domain.backup.xml()
        except NotFound as error:
            print(error)
        print(domain.state, list(domain.checkpoints.list()))
        domain.destroy()
"""


def test_no_room(hosts: Hosts, make_spec: Make) -> None:
    """A backup for which there is no room is over, says why, and leaves the guest well."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs root and unshare (Debian: util-linux)")
    disk, tiny = hosts.root / "disk.img", hosts.root / "tiny"
    _run("qemu-img", "create", "-q", "-f", "qcow2", disk, SIZE)
    _run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4M", disk)
    tiny.mkdir()
    spec = make_spec(devices=DISK.format("qcow2", disk)).to_xml()
    script = f'mount -t tmpfs -o size=512k none {tiny} && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c",
         textwrap.dedent(NO_ROOM), hosts.uri(), spec, str(tiny / "copy")],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    if "mount" in done.stderr and done.returncode:
        pytest.skip(f"no mounts here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "No space left on device" in first
    assert second == "paused ['one']"
