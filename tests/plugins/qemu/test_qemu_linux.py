"""A guest with Linux on real QEMU, which answers as an operating system does."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.config import Config
from polyvisor.driver import SnapshotOptions
from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationFailed,
    OperationInvalid,
    PolyvisorError,
    StorageError,
    Timeout,
)
from polyvisor.events import EventKind
from polyvisor.model import SnapshotSpec
from polyvisor.states import DomainState
from polyvisor_qemu.qmp import Monitor
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def linux(boot_linux: Callable[..., Any]) -> Any:
    """Hold the domain of a guest in which Linux and the guest agent run.

    It writes into the file system on its disk, ``image.qcow2``, all the time.
    """
    return boot_linux()


def test_agent(linux: Any) -> None:
    """The real agent answers, refuses in its own words, and is asked anew after a timeout."""
    agent = linux.agent
    assert agent.info()["version"]
    assert agent.ask("guest-get-vcpus")[0]["online"]
    assert agent.ask("guest-sync", {"id": 7}) == 7
    with pytest.raises(HypervisorError, match="nonsense has not been found") as caught:
        agent.ask("nonsense")
    assert caught.value.native_code == "CommandNotFound"
    linux.suspend()
    with pytest.raises(Timeout):
        agent.ping(timeout=0.5)
    linux.resume()
    # What was asked in vain is answered too, to nobody.
    assert agent.ask("guest-sync", {"id": 8}) == 8

    (filesystem,) = agent.filesystems()
    assert (filesystem["mountpoint"], filesystem["type"]) == ("/data", "ext4")
    assert [targets for _, targets in agent.disks_of_filesystems()] == [["vda"]]
    assert agent.os_info()["kernel-release"].endswith("-cloud-amd64")
    assert [one["name"] for one in agent.interfaces()] == ["lo"]
    assert agent.guest_info("filesystem")["fs.0.mountpoint"] == "/data"
    moment = datetime(2031, 2, 3, tzinfo=UTC)
    agent.set_time(moment)
    assert timedelta(0) <= agent.time() - moment < timedelta(minutes=5)
    assert agent.vcpus() == {"vcpus": [0, 1], "online": [0, 1], "offlinable": [1]}
    agent.set_vcpus([1], online=False)
    assert agent.vcpus()["online"] == [0]
    with pytest.raises(OperationInvalid, match="vCPU '0' is not offlinable"):
        agent.set_vcpus([0, 1], online=False)
    with pytest.raises(InvalidArgument, match="missing vCPUs '2-3'"):
        agent.set_vcpus([0, 2, 3], online=True)
    agent.set_vcpus([0, 1], online=True)
    assert agent.vcpus()["online"] == [0, 1]
    agent.set_password("root", "secret")
    assert b"root:secret" in agent.execute("/bin/busybox", ["cat", "/run/passwords"]).output
    agent.add_ssh_keys("root", ["ssh-rsa AAAA one", "ssh-rsa BBBB two"])
    agent.remove_ssh_keys("root", ["ssh-rsa AAAA one"])
    assert agent.ssh_keys("root") == ["ssh-rsa BBBB two"]
    agent.add_ssh_keys("root", ["ssh-rsa CCCC three"], reset=True)
    assert agent.ssh_keys("root") == ["ssh-rsa CCCC three"]
    said = agent.execute("/bin/busybox", ["tr", "a-z", "A-Z"], input=b"loud")
    assert (said.exit_code, said.output) == (0, b"LOUD")
    assert agent.execute("/bin/busybox", ["false"]).exit_code == 1


def test_virsh_asks_the_agent(hosts: Hosts, linux: Any) -> None:
    """Commands of virsh for the agent, through polyvisord."""
    if shutil.which("virsh") is None:
        pytest.skip("virsh is missing: apt install libvirt-clients")
    server = Server(opener(Config(root=str(hosts.root / "a"))))
    server.start()
    server.listen(UnixListener.bind(str(hosts.root / "socket")))

    def virsh(*words: str) -> str:
        uri = f"qemu+unix:///session?socket={hosts.root}/socket"
        done = subprocess.run(
            ["virsh", "-c", uri, *words], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        assert "fs.0.mountpoint     : /data" in virsh("guestinfo", "guest", "--filesystem")
        assert virsh("domfsinfo", "guest").split()[-4:] == ["/data", "vda", "ext4", "vda"]
        virsh("domtime", "guest", "--time", "2000000000")
        assert 0 <= int(virsh("domtime", "guest").split()[1]) - 2000000000 < 300
        assert virsh("domfsfreeze", "guest").strip() == "Froze 1 filesystem(s)"
        assert linux.agent.frozen()
        assert virsh("domfsthaw", "guest").strip() == "Thawed 1 filesystem(s)"
        assert not linux.agent.frozen()
        assert virsh("domhostname", "guest", "--source", "agent").strip() == "(none)"
        assert "online         : 0-1" in virsh("guestvcpus", "guest")
        virsh("guestvcpus", "guest", "--disable", "--cpulist", "1")
        assert linux.agent.vcpus() == {"vcpus": [0, 1], "online": [0], "offlinable": [1]}
        virsh("guestvcpus", "guest", "--enable", "--cpulist", "1")
        virsh("set-user-password", "guest", "root", "word")
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAabcdefghijklmnopqrstuvwxyz a key"
        (hosts.root / "keys").write_text(f"{key}\n")
        virsh("set-user-sshkeys", "guest", "root", "--file", str(hosts.root / "keys"))
        assert key in virsh("get-user-sshkeys", "guest", "root")
        assert '"return":{}' in virsh("qemu-agent-command", "guest", '{"execute":"guest-ping"}')
        disks = ("--disk-only", "--quiesce", "--no-metadata", "--atomic")
        virsh("snapshot-create-as", "guest", "kept", *disks)
        assert not _unclean(hosts.root / "image.qcow2")
        assert (hosts.root / "image.kept").exists()
        assert virsh("snapshot-list", "guest", "--name").strip() == ""
    finally:
        server.stop(1.0)


def _unclean(image: Path) -> bool:
    """Say whether the file system in an image has to be recovered from its journal."""
    raw = image.with_suffix(".look")
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", image, raw], check=True)
    told = subprocess.run(["dumpe2fs", "-h", raw], check=True, capture_output=True, text=True)
    return "needs_recovery" in told.stdout


def test_quiesced(hosts: Hosts, linux: Any) -> None:
    """While disks are snapshot the guest's file systems are frozen, and only then."""
    agent = linux.agent
    linux.snapshots.create("crash", options=SnapshotOptions(disk_only=True))
    linux.snapshots.create("clean", options=SnapshotOptions(disk_only=True), quiesce=True)
    assert _unclean(hosts.root / "image.qcow2")
    assert not _unclean(hosts.root / "image.crash")
    assert not agent.frozen()

    spec = SnapshotSpec.from_xml(
        f"<domainsnapshot><disks><disk name='vda' snapshot='external'>"
        f"<source file='{hosts.root}/image.raw/no folder'/></disk></disks></domainsnapshot>"
    )
    with pytest.raises(StorageError, match="Not a directory"):
        linux.snapshots.create(
            "none", options=SnapshotOptions(spec=spec, disk_only=True), quiesce=True
        )
    assert not agent.frozen()
    with pytest.raises(InvalidArgument, match="disks alone"):
        linux.snapshots.create("memory", quiesce=True)

    assert agent.freeze() == 1
    with pytest.raises(HypervisorError):
        linux.snapshots.create("twice", options=SnapshotOptions(disk_only=True), quiesce=True)
    assert agent.frozen()  # Who froze them thaws them.
    assert agent.thaw() == 1
    assert [one.name for one in linux.snapshots.list()] == ["crash", "clean"]

    linux.suspend()
    with pytest.raises(Timeout):
        linux.snapshots.create("late", options=SnapshotOptions(disk_only=True), quiesce=True)
    linux.resume()
    # It may have frozen them later, when it ran again, and thawed them then.
    deadline = time.monotonic() + 30
    while agent.frozen():
        assert time.monotonic() < deadline
    assert [one.name for one in linux.snapshots.list()] == ["crash", "clean"]


def test_linux_lets_go(
    hosts: Hosts, linux: Any, until_let_go: Callable[[Callable[[], None]], None]
) -> None:
    """Linux lets go of a PCI disk and of an interface, which are then gone for QEMU as well."""
    image = hosts.root / "vdb"
    image.write_bytes(bytes(1 << 20))
    for xml in (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{image}'/><target dev='vdb' bus='virtio'/></disk>",
        "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/>"
        "</interface>",
    ):
        for _ in range(2):
            linux.attach_device(xml, live=True)
            time.sleep(1)  # Linux finds it, and asks for it to stay until then.
            until_let_go(lambda xml=xml: linux.detach_device(xml, live=True))
        linux.attach_device(xml, live=True)
        time.sleep(1)
        linux.suspend()
        with pytest.raises(OperationFailed, match="has not let go"):
            linux.detach_device(xml, live=True)
        linux.resume()
        # It is let go of now, and whoever asks again is told so.
        until_let_go(lambda xml=xml: linux.detach_device(xml, live=True))
    held = linux.spec().devices
    assert (len(held.disks), held.interfaces) == (1, ())


def test_linux_lets_go_of_a_shared_folder(
    hosts: Hosts,
    boot_linux: Callable[..., Any],
    until_let_go: Callable[[Callable[[], None]], None],
) -> None:
    """The process that shares a folder begins with it and ends with it, and it can come again."""
    if os.geteuid() != 0 or not Path("/usr/lib/qemu/virtiofsd").exists():
        pytest.skip("virtiofsd is not installed, or this is not root")
    shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    linux = boot_linux(more=shared)
    folder = hosts.root / "shared"
    folder.mkdir()
    xml = (
        f"<filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/>"
        f"</binary><source dir='{folder}'/><target dir='b'/></filesystem>"
    )

    def sharing() -> int:
        found = 0
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = entry.read_bytes().split(b"\0")
                found += b"virtiofsd" in words[0] and f"source={folder}".encode() in words
        return found

    for _ in range(2):
        linux.attach_device(xml, live=True)
        assert sharing()
        assert [one.target for one in linux.spec().devices.filesystems] == ["b"]
        time.sleep(1)  # Linux finds it, and asks for it to stay until then.
        until_let_go(lambda: linux.detach_device(xml, live=True))
        assert linux.spec().devices.filesystems == ()
        deadline = time.monotonic() + 30
        while sharing():
            assert time.monotonic() < deadline, "virtiofsd outlives its device"
            time.sleep(0.02)
    linux.agent.ping()


def test_linux_lets_go_later(hosts: Hosts, linux: Any) -> None:
    """A device that goes after its asker's end is told of, and gone from the definition."""
    image = hosts.root / "vdb"
    image.write_bytes(bytes(1 << 20))
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{image}'/><target dev='vdb' bus='virtio'/></disk>"
    )
    net = (
        "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/>"
        "</interface>"
    )

    def found() -> int:
        places = ["ls", "/sys/bus/virtio/devices"]
        try:
            return len(linux.agent.execute("/bin/busybox", places).output.split())
        except Timeout:
            return 0  # a busy machine's guest has not answered in time

    def attached() -> None:
        there = max(found(), found())
        assert there
        wanted = there + 2
        linux.attach_device(disk, live=True)
        linux.attach_device(net, live=True)
        # Until Linux has found them it asks for them to stay.
        deadline = time.monotonic() + 60
        while found() < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)

    def asked_in_vain() -> None:
        linux.suspend()
        hosts.run_process(
            """
            from polyvisor.errors import OperationFailed
            import polyvisor_qemu.unplugging as unplugging
            unplugging.LETTING_GO = 0.5
            with polyvisor.open(uri) as host:
                for alias in sys.argv[1:]:
                    try:
                        host.domains["guest"].detach_device_alias(alias)
                    except OperationFailed as error:
                        assert "has not let go" in str(error), error
                    else:
                        raise AssertionError("it has let go")
            """,
            "virtio-disk1",
            "net0",
        )

    def held() -> tuple[int, int]:
        devices = linux.spec().devices
        return len(devices.disks), len(devices.interfaces)

    def until(state: tuple[int, int], look: Callable[[], Any] = lambda: None) -> None:
        deadline = time.monotonic() + 60
        while held() != state:
            look()
            assert time.monotonic() < deadline, held()
            time.sleep(0.1)

    # Somebody watches.
    attached()
    assert held() == (2, 1)
    events = hosts.opened[0]._driver.events.stream(timeout=30)
    asked_in_vain()
    assert held() == (2, 1)
    linux.resume()
    gone = set()
    for event in events:
        if event.kind is EventKind.DEVICE_REMOVED:
            gone.add(event.data["device"])
        if gone == {"virtio-disk1", "net0"}:
            break
    assert gone == {"virtio-disk1", "net0"}
    until((1, 0))
    events.close()
    # Nobody does: who next changes something notices.
    host = hosts.opened.pop()
    host.close()
    linux = hosts.open().domains["guest"]
    attached()
    asked_in_vain()
    linux.resume()
    control = str(next(hosts.root.rglob("control")))
    deadline = time.monotonic() + 60
    while True:
        with Monitor(control) as monitor:
            there = monitor.execute("qom-list", path="/machine/peripheral")
        if not {"virtio-disk1", "net0"} & {one["name"] for one in there}:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert held() == (2, 1)
    linux.attach_device(net, live=True)
    assert held() == (1, 1)
    with Monitor(control) as monitor:
        assert str(image) not in str(monitor.execute("query-named-block-nodes", flat=True))
    with pytest.raises(NotFound, match="none called 'virtio-disk1'"):
        linux.detach_device_alias("virtio-disk1", live=True)


def test_linux_gains_and_loses_a_vcpu(
    linux: Any, until_let_go: Callable[[Callable[[], None]], None]
) -> None:
    """A vCPU is plugged in, used by the guest, and let go of by it again."""

    def seen(numbers: list[int]) -> None:
        deadline = time.monotonic() + 30
        while linux.agent.vcpus()["vcpus"] != numbers:
            assert time.monotonic() < deadline, linux.agent.vcpus()
            time.sleep(0.1)

    seen([0, 1])
    linux.set_vcpus(3, live=True)
    seen([0, 1, 2])
    linux.agent.set_vcpus([2], online=True)
    assert linux.agent.vcpus()["online"] == [0, 1, 2]
    until_let_go(lambda: linux.set_vcpus(2, live=True))
    seen([0, 1])
    assert linux.spec().vcpu.current == 2
    with pytest.raises(HypervisorError, match="cannot go while it runs"):
        linux.set_vcpus(1, live=True)


def test_a_reboot_that_nobody_sees(hosts: Hosts, linux: Any) -> None:
    """The process that asked is gone when Linux shuts down; who looks next starts it afresh."""

    def boot() -> str:
        told = linux.agent.execute("/bin/busybox", ["cat", "/proc/sys/kernel/random/boot_id"])
        return str(told.output)

    first = boot()
    process = hosts.processes()
    hosts.run_process("polyvisor.open(uri).domains['guest'].reboot(mode='acpi')")
    assert linux.reboot_pending
    with suppress(PolyvisorError):
        linux.agent.execute("/bin/busybox", ["poweroff", "-f"], timeout=1)
    deadline = time.monotonic() + 60
    while linux.reboot_pending:
        assert linux.state is DomainState.RUNNING
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while True:
        with suppress(PolyvisorError):
            assert boot() != first
            break
        assert time.monotonic() < deadline + 60
    assert hosts.processes() == process
