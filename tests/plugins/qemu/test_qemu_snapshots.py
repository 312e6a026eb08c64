"""Snapshots of guests of real QEMU: what is in the disks, before and after."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.driver import SnapshotOptions
from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    OperationInvalid,
    SemanticError,
    StorageError,
    Timeout,
    Unsupported,
)
from polyvisor.model import SnapshotSpec
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polyvisor.jobs import JobProgress
    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

SIZE = 8 << 20
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='{}'/><source file='{}'/>"
    "<target dev='{}' bus='virtio'/></disk>"
)


def _run(*words: object) -> str:
    line = [str(word) for word in words]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout


def _facts(path: Path | str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(_run("qemu-img", "info", "-U", "--output=json", path))
    return told


@attrs.frozen
class Disks:
    """A guest with two disks of qcow2, whose first bytes the test writes and reads."""

    host: Any
    domain: Any
    vda: Path
    vdb: Path

    def write(self, byte: int, offset: int = 0) -> None:
        """Write 64 KiB to what the guest has as its disks, through QEMU itself or from outside."""
        for target in ("vda", "vdb"):
            command = f"write -P {byte} {offset} 64k"
            if self.domain.active:
                self._monitor(target, command)
            else:
                _run("qemu-io", "-f", "qcow2", "-c", command, self.path(target))

    def _monitor(self, target: str, command: str) -> None:
        driver = self.host._driver
        guest = driver.guest(self.domain.uuid)
        with driver.hypervisor.monitor(guest) as monitor:
            name = next(
                one["qdev"]
                for one in monitor.execute("query-block")
                if one.get("inserted", {}).get("file") == self.path(target)
            )
            # What qemu-io prints goes to QEMU's log; what it wrote is read again from outside.
            line = f'qemu-io -d {name} "{command}"'
            refused = monitor.execute("human-monitor-command", **{"command-line": line})
        assert refused == ""

    def path(self, target: str) -> str:
        """Return the file that the definition has."""
        disks = self.domain.spec().devices.disks
        return next(str(one.source.file) for one in disks if one.target.dev == target)

    def reads(self, byte: int, offset: int = 0) -> bool:
        """Say whether both disks hold what was written; the domain is off."""
        assert not self.domain.active
        return all(_holds(self.path(target), byte, offset) for target in ("vda", "vdb"))

    def check(self) -> None:
        """See that every image is sound."""
        for path in {*self.vda.parent.glob("vd*")}:
            if path.suffix != ".content":
                _run("qemu-img", "check", "-q", "-U", path)


def _holds(path: str, byte: int, offset: int = 0) -> bool:
    told = _run("qemu-io", "-r", "-U", "-f", "qcow2", "-c", f"read -P {byte} {offset} 64k", path)
    return "verification failed" not in told


@pytest.fixture
def disks(hosts: Hosts, make_spec: Make) -> Disks:
    """Hold a domain that is off."""
    if shutil.which("qemu-img") is None or shutil.which("qemu-io") is None:
        pytest.skip("qemu-img and qemu-io are missing: apt install qemu-utils")
    paths = [hosts.root / f"{name}.img" for name in ("vda", "vdb")]
    for path in paths:
        _run("qemu-img", "create", "-q", "-f", "qcow2", path, SIZE)
    host = hosts.open()
    devices = "".join(DISK.format("qcow2", p, p.stem) for p in paths)
    domain = host.domains.define(make_spec(devices=devices))
    return Disks(host, domain, *paths)


ONLY_DISKS = SnapshotOptions(disk_only=True)


@pytest.mark.parametrize("active", [True, False])
def test_inside(disks: Disks, active: bool) -> None:
    """Disks go back to what was in them, with the guest's memory or without; then it goes."""
    disks.write(1)
    if active:
        disks.domain.start(paused=True)
    made = disks.domain.snapshots.create("one")
    assert made.state == ("paused" if active else "shut off")
    assert not made.external
    disks.write(2)
    spec = SnapshotSpec.from_xml(disks.domain.snapshots.xml("one"))
    assert spec.memory.mode == ("internal" if active else "no")
    assert [(d.name, d.snapshot) for d in spec.disks] == [("vda", "internal"), ("vdb", "internal")]
    disks.domain.snapshots.revert("one")
    assert disks.domain.state is (DomainState.PAUSED if active else DomainState.SHUTOFF)
    assert disks.domain.status().reason is StateReason.FROM_SNAPSHOT
    if active:
        disks.domain.destroy()
    assert disks.reads(1)
    disks.domain.snapshots.revert("one", paused=True)
    assert disks.domain.state is DomainState.PAUSED
    disks.domain.snapshots.delete("one")
    disks.domain.destroy()
    assert disks.reads(1)
    assert "snapshots" not in _facts(disks.vda)
    disks.check()
    assert disks.domain.snapshots.list() == []


def test_inside_needs_qcow2(hosts: Hosts, disks: Disks, make_spec: Make) -> None:
    """Where a disk cannot hold it, the refusal says what to do; nothing was kept of the others."""
    raw = hosts.root / "raw.img"
    raw.write_bytes(b"\0" * SIZE)
    devices = DISK.format("qcow2", disks.vda, "vda") + DISK.format("raw", raw, "vdb")
    domain = disks.host.domains.define(make_spec("other", devices=devices))
    domain.start(paused=True)
    with pytest.raises(Unsupported, match="vdb is raw, and only qcow2"):
        domain.snapshots.create("one")
    left_out = SnapshotSpec.from_xml(
        "<domainsnapshot><disks><disk name='vdb' snapshot='no'/></disks></domainsnapshot>"
    )
    domain.snapshots.create("one", options=SnapshotOptions(spec=left_out))
    assert SnapshotSpec.from_xml(domain.snapshots.xml("one")).disks[1].snapshot == "no"
    with pytest.raises(SemanticError, match="no disk 'vdz'"):
        domain.snapshots.create(
            "two",
            options=SnapshotOptions(
                spec=SnapshotSpec.from_xml(
                    "<domainsnapshot><disks><disk name='vdz'/></disks></domainsnapshot>"
                )
            ),
        )
    assert [one.name for one in domain.snapshots.list()] == ["one"]
    domain.destroy()


@pytest.mark.parametrize("active", [True, False])
def test_new_images(disks: Disks, active: bool) -> None:
    """All disks go on in new images at once, and definitions follow; merged, none is left."""
    disks.write(1)
    if active:
        disks.domain.start(paused=True)
    made = disks.domain.snapshots.create("one", options=ONLY_DISKS)
    assert made.external
    assert made.state == ("disk-snapshot" if active else "shut off")
    assert disks.path("vda") == str(disks.vda.with_suffix(".one"))
    (vda, vdb) = disks.domain.spec(inactive=True).devices.disks
    assert (vda.source.file, vdb.source.file) == (disks.path("vda"), disks.path("vdb"))
    facts = _facts(disks.path("vda"))
    assert facts["backing-filename"] == str(disks.vda)
    assert facts["backing-filename-format"] == "qcow2"
    disks.write(2)
    disks.write(3, 1 << 20)
    assert _holds(str(disks.vda), 1)
    assert _holds(str(disks.vda), 0, 1 << 20)
    with pytest.raises(AlreadyExists, match="'one' already"):
        disks.domain.snapshots.create("one", options=ONLY_DISKS)
    disks.domain.snapshots.delete("one")
    assert disks.path("vda") == str(disks.vda)
    assert not disks.vda.with_suffix(".one").exists()
    assert not disks.vdb.with_suffix(".one").exists()
    if active:
        assert disks.domain.state is DomainState.PAUSED
        disks.domain.destroy()
    assert disks.reads(2)
    assert disks.reads(3, 1 << 20)
    disks.check()
    disks.domain.start(paused=True)


@pytest.mark.parametrize("active", [True, False])
def test_back_to_new_images(disks: Disks, active: bool) -> None:
    """The domain goes back to what its images held, as often as is wanted; the images stay."""
    disks.write(1)
    if active:
        disks.domain.start(paused=True)
    disks.domain.snapshots.create("one", options=ONLY_DISKS)
    lost = disks.path("vda")
    for byte in (2, 3):
        disks.write(byte)
        disks.domain.snapshots.revert("one")
        assert disks.domain.state is DomainState.SHUTOFF
        assert disks.reads(1)
        assert not Path(lost).exists()
        lost = disks.path("vda")
        assert lost != str(disks.vda)
        disks.write(byte)
        assert _holds(str(disks.vda), 1)
    disks.domain.snapshots.revert("one", paused=True)
    assert disks.domain.state is DomainState.PAUSED
    disks.write(4)
    disks.domain.snapshots.delete("one")
    disks.domain.destroy()
    assert disks.path("vda") == str(disks.vda)
    assert disks.reads(4)
    disks.check()
    assert sorted(path.name for path in disks.vda.parent.glob("vd*")) == ["vda.img", "vdb.img"]


def test_tree_of_images(disks: Disks) -> None:
    """Branches grow, their images are told apart, and merging one leaves the other."""
    domain = disks.domain
    disks.write(1)
    domain.snapshots.create("root", options=ONLY_DISKS)
    disks.write(2)
    domain.snapshots.create("left", options=ONLY_DISKS)
    disks.write(3)
    domain.snapshots.revert("root")
    disks.write(4)
    domain.snapshots.create("right", options=ONLY_DISKS)
    disks.write(5)
    told = {one.name: (one.parent, one.current) for one in domain.snapshots.list()}
    assert told == {"root": (None, False), "left": ("root", False), "right": ("root", True)}
    with pytest.raises(OperationInvalid, match="two branches"):
        domain.snapshots.delete("root")
    domain.snapshots.revert("left")
    assert disks.reads(2)
    disks.write(6)
    # "right" ends a branch now: its image goes with it.
    domain.snapshots.delete("right")
    domain.start(paused=True)
    domain.snapshots.delete("root")
    assert [(one.name, one.parent) for one in domain.snapshots.list()] == [("left", None)]
    domain.snapshots.revert("left")
    assert disks.reads(2)
    domain.snapshots.delete("left")
    assert disks.reads(2)
    assert sorted(path.name for path in disks.vda.parent.glob("vd*")) == ["vda.img", "vdb.img"]
    disks.check()


def test_all_below(disks: Disks) -> None:
    """With its children a snapshot goes, and the domain's disks are as they were last."""
    domain = disks.domain
    domain.start(paused=True)
    for number, name in enumerate(("one", "two", "three"), 1):
        disks.write(number, number << 20)
        domain.snapshots.create(name, options=ONLY_DISKS)
    disks.write(4, 4 << 20)
    domain.snapshots.delete("two")
    assert [one.parent for one in domain.snapshots.list()] == [None, "one"]
    domain.snapshots.delete("one", children=True)
    assert domain.snapshots.list() == []
    domain.destroy()
    assert disks.path("vda") == str(disks.vda)
    for number in range(1, 5):
        assert disks.reads(number, number << 20)
    disks.check()


def _with_memory(path: Path) -> SnapshotSpec:
    return SnapshotSpec.from_xml(
        f"<domainsnapshot><memory snapshot='external' file='{path}'/></domainsnapshot>"
    )


@pytest.mark.parametrize("live", [True, False])
def test_memory_in_a_file(hosts: Hosts, live: bool) -> None:
    """The guest counts on after a snapshot, and from the snapshot's count after going back."""
    host = hosts.open()
    spec = hosts.counting()
    image = hosts.root / "tick.qcow2"
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", hosts.root / "tick.img", image)
    (disk,) = spec.devices.disks
    disk = attrs.evolve(
        disk,
        source=attrs.evolve(disk.source, file=str(image)),
        driver=attrs.evolve(disk.driver, type="qcow2"),
    )
    spec = attrs.evolve(spec, devices=attrs.evolve(spec.devices, disks=(disk,)))
    domain = host.domains.define(spec)
    domain.start()
    hosts.wait_for_count(3)
    memory = hosts.root / "memory"
    options = SnapshotOptions(spec=_with_memory(memory), live=live)
    made = domain.snapshots.create("one", options=options)
    assert made.external
    assert made.state == "running"
    assert domain.state is DomainState.RUNNING
    assert memory.read_bytes()[:16] == b"LibvirtQemudSave"
    hosts.wait_for_count(3)
    with pytest.raises(AlreadyExists, match="memory"):
        domain.snapshots.create("two", options=options)
    before = _ticks(hosts)
    domain.snapshots.revert("one")
    assert domain.status().reason is StateReason.FROM_SNAPSHOT
    deadline = time.monotonic() + 30
    while sorted(after := _ticks(hosts)[len(before) - 1 :]) == after:
        assert time.monotonic() < deadline, "it did not go back"
        time.sleep(0.02)
    hosts.wait_for_count(2)
    domain.snapshots.delete("one")
    assert not memory.exists()
    hosts.wait_for_count(2)
    assert domain.spec().devices.disks[0].source.file == str(image)
    domain.destroy()
    _run("qemu-img", "check", "-q", image)


def _ticks(hosts: Hosts) -> list[int]:
    lines = hosts.serial.read_bytes().split(b"\n")
    return [
        int(line.split()[1], 16) for line in lines if line.startswith(b"tick ") and len(line) > 8
    ]


def test_metadata_only(disks: Disks) -> None:
    """Forgotten, a snapshot leaves its images alone, and its document puts it back."""
    disks.write(1)
    disks.domain.snapshots.create("one", options=ONLY_DISKS)
    disks.write(2)
    xml = disks.domain.snapshots.xml("one")
    overlay = disks.path("vda")
    disks.domain.snapshots.delete("one", metadata_only=True)
    assert disks.domain.snapshots.list() == []
    assert disks.path("vda") == overlay
    again = SnapshotOptions(spec=SnapshotSpec.from_xml(xml), redefine=True, current=True)
    (found,) = [disks.domain.snapshots.create(options=again)]
    assert (found.name, found.current, found.external) == ("one", True, True)
    assert disks.domain.snapshots.xml("one") == xml
    disks.domain.snapshots.revert("one")
    assert disks.reads(1)


def test_an_image_is_missing(disks: Disks) -> None:
    """Without its image the domain does not go back, and goes on as it was."""
    disks.domain.snapshots.create("one", options=ONLY_DISKS)
    disks.domain.start(paused=True)
    disks.vdb.rename(disks.vdb.with_suffix(".away"))
    with pytest.raises(StorageError, match=r"vdb\.img is missing"):
        disks.domain.snapshots.revert("one")
    assert disks.domain.state is DomainState.PAUSED
    disks.vdb.with_suffix(".away").rename(disks.vdb)
    disks.domain.snapshots.revert("one")
    disks.domain.start(paused=True)


def test_an_image_is_in_use(disks: Disks) -> None:
    """What another process has locked is not touched, and the error says so in QEMU's words."""
    disks.write(1)
    line = ["qemu-io", "-f", "qcow2", str(disks.vdb)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write("length\n")
            other.stdin.flush()
            assert "8 MiB" in other.stdout.read(len("qemu-io> 8 MiB"))
            with pytest.raises(StorageError, match="lock"):
                disks.domain.snapshots.create("one")
            assert disks.domain.snapshots.list() == []
            assert "snapshots" not in _facts(disks.vda)
        finally:
            other.kill()
    disks.domain.snapshots.create("one")
    disks.write(2)
    disks.domain.snapshots.revert("one")
    assert disks.reads(1)


def test_no_room_for_a_new_image(disks: Disks) -> None:
    """If one of the new images cannot be made, none is, and the domain stays on the old ones."""
    disks.domain.start(paused=True)
    spec = SnapshotSpec.from_xml(
        "<domainsnapshot><disks><disk name='vdb'><source file='/proc/none/vdb'/></disk></disks>"
        "</domainsnapshot>"
    )
    with pytest.raises(StorageError, match="/proc/none/vdb"):
        disks.domain.snapshots.create("one", options=SnapshotOptions(spec=spec, disk_only=True))
    assert disks.path("vda") == str(disks.vda)
    assert not disks.vda.with_suffix(".one").exists()
    assert disks.domain.snapshots.list() == []
    disks.domain.snapshots.create("one", options=ONLY_DISKS)
    assert os.path.exists(disks.path("vda"))


def test_ends_after_a_snapshot(disks: Disks) -> None:
    """A domain that is to be halted is off when the snapshot is taken."""
    disks.domain.start(paused=True)
    disks.domain.snapshots.create("one", options=SnapshotOptions(disk_only=True, halt=True))
    assert disks.domain.status().state is DomainState.SHUTOFF
    assert disks.path("vda") != str(disks.vda)


@pytest.mark.parametrize("active", [True, False])
def test_a_removal_that_breaks_off(disks: Disks, active: bool) -> None:
    """What was not merged stays readable; there is no going back to it, only deleting it."""
    disks.write(1)
    if active:
        disks.domain.start(paused=True)
    disks.domain.snapshots.create("one", options=ONLY_DISKS)
    disks.write(2)

    def enough(progress: JobProgress) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        disks.domain.snapshots.delete("one", progress=enough)
    assert disks.domain.state is (DomainState.PAUSED if active else DomainState.SHUTOFF)
    assert disks.path("vda") == str(disks.vda.with_suffix(".one"))
    assert "<snapshotDeleteInProgress/>" in disks.domain.snapshots.xml("one")
    with pytest.raises(OperationInvalid, match="removal of the snapshot 'one' was begun"):
        disks.domain.snapshots.revert("one")
    disks.write(3, 1 << 20)
    disks.domain.snapshots.delete("one")
    if active:
        disks.domain.destroy()
    assert disks.path("vda") == str(disks.vda)
    assert disks.reads(2)
    assert disks.reads(3, 1 << 20)
    disks.check()


def test_qemu_stands_still(hosts: Hosts, disks: Disks) -> None:
    """Of a QEMU that is stopped nobody waits for ever; when it goes on, all is as before."""
    host = hosts.open(answer_timeout=2)
    domain = host.domains["guest"]
    domain.start(paused=True)
    pid = host._driver.guest(domain.uuid).runtime["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for options in (None, ONLY_DISKS):
            with pytest.raises(Timeout):
                domain.snapshots.create("one", options=options)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert domain.state is DomainState.PAUSED
    assert domain.snapshots.list() == []
    domain.snapshots.create("one")
    domain.snapshots.create("two", options=ONLY_DISKS)
    domain.snapshots.delete("two")
    domain.snapshots.revert("one")
    assert domain.state is DomainState.PAUSED


@attrs.define
class _Deaf:
    """A monitor on which a job is begun that says no more."""

    spent: Iterator[float]
    timeout: float = 0.0

    def execute(self, command: str, **arguments: object) -> None:
        """Take a command."""

    def next_event(self, timeout: float) -> None:
        """Hear nothing."""


def test_a_job_that_holds_qemu_up() -> None:
    """It is waited for as long as QEMU does anything, and no longer."""
    from polyvisor_qemu.jobs import run_job

    deaf = _Deaf(iter([1.0, 2.0, 3.0, 3.0, 4.0]))
    with pytest.raises(Timeout, match="stopped or hangs"):
        run_job(deaf, "snapshot-save", "save", "save", lambda: next(deaf.spent))
    assert next(deaf.spent) == 4.0
