"""Migrations of real guests that take their disks along."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import Cancelled, InvalidArgument, MigrationError, PolyvisorError
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress

# The conftest's own class; tests are no package that could be imported from.
Hosts = Any

pytestmark = pytest.mark.real

#: Bytes of the disk that comes along, and of what is in it.
SIZE, FILLED = 16 << 20, 3 << 20


def image(path: Path, form: str = "raw", size: int = SIZE, *more: str) -> Path:
    """Make an image."""
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", form, *more, str(path), str(size)], check=True
    )
    return path


def fill(path: Path, form: str, at: int, length: int, byte: int) -> None:
    """Write into an image that nobody uses."""
    order = f"write -P {byte} {at} {length}"
    words = ["qemu-io", "-f", form, "-c", order, str(path)]
    subprocess.run(words, check=True, capture_output=True)


def same(one: Path, other: Path) -> bool:
    """Say whether two images have the same in them, whatever their formats."""
    done = subprocess.run(
        ["qemu-img", "compare", "-U", str(one), str(other)], check=False, capture_output=True
    )
    return done.returncode == 0


def disk(path: Path, form: str) -> str:
    """Return a data disk."""
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{form}'/>"
        f"<source file='{path}'/><target dev='vdb' bus='virtio'/></disk>"
    )


@attrs.frozen
class Two:
    """A guest with a disk, and where its copy is to be."""

    spec: DomainSpec
    mine: Path
    theirs: Path

    def over_there(self, domain: Domain) -> DomainSpec:
        """Return what a running guest is to be with its disk at the other place."""
        return _moved(domain, self.mine, self.theirs)

    def at_home(self, domain: Domain) -> DomainSpec:
        """Return what it is to be with its disk at the first place."""
        return _moved(domain, self.theirs, self.mine)


def _moved(domain: Domain, old: Path, new: Path) -> DomainSpec:
    return DomainSpec.from_xml(domain.spec().to_xml().replace(str(old), str(new)))


@pytest.fixture(params=["raw", "qcow2"])
def two(request: pytest.FixtureRequest, hosts: Hosts) -> Two:
    """Hold the definitions of a guest with a filled disk, here and there."""
    form: str = request.param
    mine = image(hosts.root / "mine", form)
    theirs = hosts.root / "theirs"
    fill(mine, form, 1 << 20, FILLED, 0x5A)
    spec = hosts.counting(more=disk(mine, form))
    return Two(spec, mine, theirs)


def along(spec: DomainSpec) -> dict[str, Any]:
    """Return what takes the disk along."""
    return {"copy_storage": "all", "disks": ["vdb"], "spec": spec}


def at_disks(act: Callable[[], Any]) -> Callable[[JobProgress], None]:
    """Return what does something once disks are copied."""
    done = False

    def progress(told: JobProgress) -> None:
        nonlocal done
        if told.phase == "disks" and told.disk_total and not done:
            done = True
            act()

    return progress


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@pytest.mark.parametrize("way", ["local", "unix", "tcp", "tcp-disks"])
def test_it_comes_along(hosts: Hosts, two: Two, way: str) -> None:
    """The destination makes the image, and both sides have the same when the guest is there."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    means: dict[str, Any] = {}
    if way == "unix":
        means = {"uri": f"unix:{hosts.root}/stream", "disks_uri": f"unix:///{hosts.root}/disks"}
    elif way.startswith("tcp"):
        means = {"uri": f"tcp:127.0.0.1:{free_port()}"}
    if way == "tcp-disks":
        means["disks_uri"] = f"tcp://127.0.0.1:{free_port()}"
    seen: list[JobProgress] = []
    there = domain.migrate(
        destination,
        copy_storage="all",
        disks=["vdb"],
        spec=two.over_there(domain),
        progress=seen.append,
        **means,
    )
    assert there.state is DomainState.RUNNING
    assert source.domains.list() == []
    hosts.wait_for_count()
    there.destroy()
    assert same(two.mine, two.theirs)
    copying = [told for told in seen if told.phase == "disks"]
    assert copying[-1].disk_remaining == 0
    assert copying[-1].disk_processed >= FILLED
    memory = [told for told in seen if told.phase == "memory" and told.disk_total]
    assert all(told.total >= told.disk_total >= FILLED for told in memory)
    assert not (hosts.root / "disks").exists()


def test_there_and_back(hosts: Hosts, two: Two) -> None:
    """An image that is there is written over, and the guest can go home again."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    means: dict[str, Any] = {"copy_storage": "all", "disks": ["vdb"]}
    there = domain.migrate(destination, spec=two.over_there(domain), **means)
    fills = two.mine.read_bytes()
    home = there.migrate(source, spec=two.at_home(there), **means)
    assert home.state is DomainState.RUNNING
    hosts.wait_for_count()
    home.destroy()
    assert same(two.mine, two.theirs)
    assert len(two.mine.read_bytes()) >= len(fills) >= FILLED


def test_what_differs(hosts: Hosts) -> None:
    """Over a backing file that both sides have, only the upper image is copied."""
    base = image(hosts.root / "base", "raw")
    fill(base, "raw", 0, 1 << 20, 0x11)
    over = ("-b", str(base), "-F", "raw")
    mine = image(hosts.root / "mine", "qcow2", SIZE, *over)
    fill(mine, "qcow2", 4 << 20, 1 << 20, 0x22)
    theirs = hosts.root / "theirs"
    spec = hosts.counting(more=disk(mine, "qcow2"))
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(spec)
    hosts.wait_for_count()
    means: dict[str, Any] = {
        "copy_storage": "incremental",
        "disks": ["vdb"],
        "spec": _moved(domain, mine, theirs),
    }
    with pytest.raises(MigrationError, match="make it first"):
        domain.migrate(destination, **means)
    image(theirs, "qcow2", SIZE, *over)
    seen: list[JobProgress] = []
    moved = domain.migrate(destination, progress=seen.append, **means)
    hosts.wait_for_count()
    moved.destroy()
    assert same(mine, theirs)
    assert max(told.disk_total for told in seen) < 4 << 20


def test_which_disks_come_along_if_none_is_named(hosts: Hosts) -> None:
    """All that are its own and can be written to, as libvirt chooses; the others are shared."""
    source, destination = hosts.open("a"), hosts.open("b")
    own, fixed, shared = (image(hosts.root / name) for name in ("own", "fixed", "shared"))
    more = "".join(
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>"
        f"<source file='{path}'/><target dev='{target}' bus='{bus}'/>{words}</disk>"
        for device, path, target, bus, words in (
            ("disk", own, "vdb", "virtio", ""),
            ("disk", fixed, "vdc", "virtio", "<readonly/>"),
            ("disk", shared, "vdd", "virtio", "<shareable/>"),
            ("cdrom", fixed, "hdc", "ide", "<readonly/>"),
        )
    )
    domain = source.domains.create(hosts.counting(more=more))
    hosts.wait_for_count()
    tick = hosts.root / "tick.img"
    moved = domain.spec().to_xml()
    for path in (own, tick):
        moved = moved.replace(f"'{path}'", f"'{path}.copy'")
    seen: list[JobProgress] = []
    there = domain.migrate(
        destination,
        copy_storage="all",
        spec=DomainSpec.from_xml(moved),
        progress=seen.append,
    )
    assert max(told.disk_total for told in seen) == SIZE + tick.stat().st_size
    hosts.wait_for_count()
    there.destroy()
    made = sorted(path.name for path in hosts.root.glob("*.copy"))
    assert made == ["own.copy", "tick.img.copy"]
    assert same(tick, hosts.root / "tick.img.copy")


@pytest.mark.parametrize("two", ["raw"], indirect=True)  # qcow2 has tables, written later
@pytest.mark.parametrize("synchronous", [False, True])
def test_writes_are_waited_for_if_that_is_wanted(hosts: Hosts, two: Two, synchronous: bool) -> None:
    """What the guest writes while its disk is copied is there at once, or when its turn comes."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    (socket_of_events,) = hosts.root.glob("a/**/events")
    at, length = 12 << 20, 64 << 10
    found: list[bool] = []

    def write() -> None:
        # Through the device, as the guest itself would.
        order = (
            f'qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend "write -P 7 {at} {length}"'
        )
        with Monitor(str(socket_of_events)) as monitor:
            told = monitor.execute("human-monitor-command", command_line=order)
        assert told == "", told
        read = f"read -P 7 {at} {length}"
        words = ["qemu-io", "-r", "-U", "-f", "raw", "-c", read, str(two.theirs)]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        assert "read " in done.stdout, done.stderr
        found.append("verification failed" not in done.stdout)
        domain.abort_job()

    with pytest.raises(Cancelled):
        domain.migrate(
            destination,
            copy_storage="all",
            disks=["vdb"],
            spec=two.over_there(domain),
            synchronous_writes=synchronous,
            bandwidth=100_000,
            progress=at_disks(write),
        )
    assert found == [synchronous]
    assert domain.state is DomainState.RUNNING
    domain.destroy()


@pytest.mark.parametrize("there_already", [False, True])
def test_cancelled_while_copying(hosts: Hosts, two: Two, there_already: bool) -> None:
    """The guest runs on; an image that was made for it goes, one that was there stays."""
    source, destination = hosts.open("a"), hosts.open("b")
    form = "qcow2" if two.mine.read_bytes()[:3] == b"QFI" else "raw"
    if there_already:
        image(two.theirs, form)
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    means: dict[str, Any] = {
        "copy_storage": "all",
        "disks": ["vdb"],
        "spec": two.over_there(domain),
    }
    with pytest.raises(Cancelled):
        domain.migrate(destination, bandwidth=100_000, progress=at_disks(domain.abort_job), **means)
    assert domain.state is DomainState.RUNNING
    assert two.theirs.exists() == there_already
    assert destination.domains.list() == []
    hosts.wait_for_count()
    moved = domain.migrate(destination, **means)
    hosts.wait_for_count()
    moved.destroy()
    assert same(two.mine, two.theirs)


@pytest.mark.parametrize("phase", ["copying", "sending", "finish"])
def test_the_destination_dies(
    hosts: Hosts, two: Two, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever phase: the guest runs on, the half image goes, and it can be tried anew."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    killed: list[int] = []

    def kill() -> None:
        for pid in set(hosts.processes()) - {ours} - set(killed):
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    def progress(told: JobProgress) -> None:
        if (phase == "copying" and told.phase == "disks" and told.disk_total) or (
            phase == "sending" and told.phase == "memory" and told.disk_total
        ):
            kill()

    means: dict[str, Any] = {
        "copy_storage": "all",
        "disks": ["vdb"],
        "spec": two.over_there(domain),
    }
    # QEMU writes a first piece at once and then rests until its time is over.
    slow: dict[str, Any] = {"bandwidth": 4_000_000}
    if phase == "finish":
        part = destination.driver.migration
        act = part.finish
        slow = {}

        def finish(*arguments: Any, **more: Any) -> Any:
            kill()
            return act(*arguments, **more)

        monkeypatch.setattr(part, "finish", finish)
    with pytest.raises(MigrationError, match="on the source as before"):
        domain.migrate(destination, progress=progress, **slow, **means)
    monkeypatch.undo()
    assert killed
    assert domain.state is DomainState.RUNNING
    assert not two.theirs.exists()
    assert destination.domains.list() == []
    assert hosts.processes() == [ours]
    hosts.wait_for_count()
    moved = domain.migrate(destination, **means)
    hosts.wait_for_count()
    moved.destroy()
    assert same(two.mine, two.theirs)


def test_the_driving_process_is_killed(hosts: Hosts, two: Two) -> None:
    """Who comes next finds the guest at home, without mirrors, and no half image over there."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    spec = hosts.root / "there.xml"
    spec.write_text(two.over_there(domain).to_xml())
    process = hosts.start_process(
        """
        import signal
        def die(told):
            if told.phase == "disks" and told.disk_total:
                os.kill(os.getpid(), signal.SIGKILL)
        domain = polyvisor.open(uri).domains["guest"]
        domain.migrate(
            sys.argv[1], copy_storage="all", disks=["vdb"], bandwidth=100_000,
            spec=open(sys.argv[2]).read(), progress=die,
        )
        """,
        hosts.uri("b"),
        str(spec),
    )
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    domain.set_title("settled")  # Taking hold of it settles what was left.
    assert destination.domains.list() == []
    assert not two.theirs.exists()
    if domain.state is DomainState.PAUSED:
        domain.resume()
    hosts.wait_for_count()
    assert len(hosts.processes()) == 1
    moved = domain.migrate(
        destination, copy_storage="all", disks=["vdb"], spec=two.over_there(domain)
    )
    moved.destroy()
    assert same(two.mine, two.theirs)


def test_what_is_refused(hosts: Hosts, two: Two) -> None:
    """Disks that are not there, images that do not fit; the guest runs on each time."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(two.spec)
    hosts.wait_for_count()
    with pytest.raises((InvalidArgument, MigrationError), match="no disk 'vdz'"):
        domain.migrate(destination, copy_storage="all", disks=["vdz"], spec=two.over_there(domain))
    form = "qcow2" if two.mine.read_bytes()[:3] == b"QFI" else "raw"
    image(two.theirs, form, SIZE // 2)
    with pytest.raises(PolyvisorError, match="vdb could not be copied"):
        domain.migrate(destination, **along(two.over_there(domain)))
    assert domain.state is DomainState.RUNNING
    assert two.theirs.exists()
    assert destination.domains.list() == []
    hosts.wait_for_count()


@pytest.mark.slow
def test_killed_at_each_step(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever drives it and both sides die at each step: one owner, its disk whole, no half one."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from test_qemu_kill import killed_everywhere

    mine, theirs = hosts.root / "mine", hosts.root / "theirs"
    mine.write_bytes(bytes(range(256)) * 4096)
    killed_everywhere(
        hosts,
        f"""
        disk, theirs = {str(mine)!r}, {str(theirs)!r}
        more = f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        more += f"<source file='{{disk}}'/><target dev='vdb' bus='virtio'/></disk></devices>"
        xml = xml.replace("</devices>", more)
        content = open(disk, "rb").read()

        def before():
            if os.path.exists(theirs):
                os.unlink(theirs)
            with polyvisor.open(uri) as host:
                started(host)

        def act():
            with polyvisor.open(uri) as host, polyvisor.open(peer_uri) as peer:
                domain = host.domains["guest"]
                spec = domain.spec().to_xml().replace(disk, theirs)
                domain.migrate(peer, copy_storage="all", disks=["vdb"], spec=spec)

        def after(number):
            with one_owner(number) as (host, peer, owner):
                if owner.connection is host:
                    assert not os.path.exists(theirs), "a half image is left"
                    spec = owner.spec().to_xml().replace(disk, theirs)
                    owner = owner.migrate(peer, copy_storage="all", disks=["vdb"], spec=spec)
                counts_on()
                owner.destroy()
                with open(theirs, "rb") as file:
                    assert file.read() == content
        """,
        least=15,
        first=9,
        timeout=400,
    )
