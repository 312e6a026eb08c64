"""Guests of real QEMU as a user without rights: their files are its only as long as they run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import polyvisor
from polyvisor.driver import SnapshotOptions
from polyvisor.errors import ConfigError, StorageError
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState

Hosts = Any
Make = Callable[..., DomainSpec]

USER = "nobody"
#: Whoever images belonged to before.
OWNER, GROUP = 4321, 4322

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run guests as others"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="apt install util-linux"),
]


@attrs.frozen
class System:
    """A host whose guests run as another user, and a folder that is open to it."""

    hosts: Hosts
    folder: Path

    @property
    def uri(self) -> str:
        """What opens it."""
        return f"qemu:///system?root={self.hosts.root / 's'}"

    def open(self, **settings: str | bool) -> polyvisor.Connection:
        """Open it with further settings."""
        words = {True: "true", False: "false"}
        lines = [
            f"{key} = {words[value] if isinstance(value, bool) else repr(value)}"
            for key, value in {"user": USER, **settings}.items()
        ]
        config = self.hosts.root / "user.toml"
        config.write_text("\n".join(["[plugins.qemu]", *lines, ""]))
        self.hosts.opened.append(polyvisor.open(self.uri, config=config))
        connection: polyvisor.Connection = self.hosts.opened[-1]
        return connection

    def image(self, name: str, base: Path | None = None) -> Path:
        """Make an image that is somebody else's."""
        path = self.folder / name
        line = ["qemu-img", "create", "-q", "-f", "qcow2"]
        line += [str(path), "1M"] if base is None else ["-b", str(base), "-F", "qcow2", str(path)]
        subprocess.run(line, check=True, timeout=60)
        path.chmod(0o600)
        os.chown(path, OWNER, GROUP)
        return path

    def started(self, spec: DomainSpec) -> Any:
        """Define a domain and start it."""
        domain = self.open().domains.define(spec)
        domain.start()
        return domain


@pytest.fixture
def system(hosts: Hosts, own_home: Path) -> Iterator[System]:
    """Hold such a host; its guests end with the test."""
    for folder in (own_home, hosts.root):
        folder.chmod(0o711)
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp") as images:
        os.chmod(images, 0o755)
        found = System(hosts, Path(images))
        yield found
        if (hosts.root / "s").is_dir():
            with polyvisor.open(found.uri) as connection:
                for domain in connection.domains.list(inactive=False):
                    domain.destroy()


def _disk(path: Path, target: str = "vda") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{path}'/><target dev='{target}' bus='virtio'/></disk>"
    )


def _owner(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_uid, there.st_gid


def _users(pid: int) -> set[int]:
    """Return the users that a process is, in whatever way (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith("Uid:")]
    (rights,) = [one for one in status.splitlines() if one.startswith("CapEff:")]
    assert int(rights.split()[1], 16) == 0
    return {int(word) for word in line.split()[1:]}


def _nobody() -> int:
    return pwd.getpwnam(USER).pw_uid


def test_life(system: System, make_spec: Make) -> None:
    """QEMU has no right of root's; all that a life needs works, and every file goes back."""
    image, other = system.image("disk"), system.image("other")
    acpi = "<features><acpi/></features>"
    domain = system.started(make_spec(more=acpi, devices=_disk(image)))
    (pid,) = system.hosts.processes()
    assert _users(pid) == {_nobody()}
    assert _owner(image)[0] == _nobody()
    domain.suspend()
    domain.resume()
    domain.attach_device(_disk(other, "vdb"))
    assert _owner(other)[0] == _nobody()
    domain.snapshots.create("one", options=SnapshotOptions(disk_only=True))
    (overlay,) = [Path(d.source.file) for d in domain.spec().devices.disks[:1]]
    assert overlay != image
    assert _owner(overlay)[0] == _nobody()
    domain.save(str(system.hosts.root / "saved"))
    assert [_owner(path) for path in (image, other)] == [(OWNER, GROUP)] * 2
    domain.connection.domains.restore(str(system.hosts.root / "saved"))
    (pid,) = system.hosts.processes()
    assert _users(pid) == {_nobody()}
    domain.snapshots.delete("one")
    domain.destroy()
    assert [_owner(path) for path in (image, other)] == [(OWNER, GROUP)] * 2
    domain.start()
    assert domain.state is DomainState.RUNNING


def test_layers_that_are_shared(system: System, make_spec: Make) -> None:
    """A layer below two guests' images goes back when the last of them has ended."""
    base = system.image("base")
    images = [system.image(name, base) for name in ("a", "b")]
    first, second = (system.started(make_spec(path.name, devices=_disk(path))) for path in images)
    assert {_owner(path)[0] for path in (base, *images)} == {_nobody()}
    first.destroy()
    assert _owner(images[0]) == (OWNER, GROUP)
    assert _owner(base)[0] == _nobody()
    second.destroy()
    assert [_owner(path) for path in (base, *images)] == [(OWNER, GROUP)] * 3


def test_layers_that_a_guest_claims(system: System, make_spec: Make) -> None:
    """What a guest wrote into a raw image itself names no file that is given away."""
    victim = system.image("victim")
    image = system.image("disk", victim)
    raw = _disk(image).replace("qcow2", "raw")
    domain = system.started(make_spec(devices=raw))
    assert _owner(image)[0] == _nobody()
    assert _owner(victim) == (OWNER, GROUP)
    domain.destroy()
    assert _owner(image) == (OWNER, GROUP)


def test_qemu_and_its_starter_killed(system: System, make_spec: Make) -> None:
    """Whoever looks at the domain next gives its files back."""
    image = system.image("disk")
    domain = system.started(make_spec(devices=_disk(image)))
    domain.connection.close()
    (pid,) = system.hosts.processes()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while system.hosts.processes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert _owner(image)[0] == _nobody()
    with polyvisor.open(system.uri, config=system.hosts.root / "user.toml") as host:
        assert host.domains["guest"].state is DomainState.SHUTOFF
        assert _owner(image) == (OWNER, GROUP)


KILLED = """
    import polyvisor_qemu.owning, signal
    chown, when = os.chown, sys.argv[3]
    def dying(path, *more, **settings):
        if str(path) != sys.argv[4]:
            return chown(path, *more, **settings)
        if when == "after":
            chown(path, *more, **settings)
        os.kill(os.getpid(), signal.SIGKILL)
    with polyvisor.open(sys.argv[1], config=sys.argv[2]) as host:
        domain = host.domains["guest"]
        if sys.argv[5] == "start":
            polyvisor_qemu.owning.os.chown = dying
            domain.start()
        else:
            domain.start()
            polyvisor_qemu.owning.os.chown = dying
            domain.destroy()
"""


@pytest.mark.parametrize("verb", ["start", "destroy"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_as_a_file_changes_hands(
    system: System, make_spec: Make, when: str, verb: str
) -> None:
    """Just before it and just after it: the file goes back, and the domain starts again."""
    image = system.image("disk")
    domain = system.open().domains.define(make_spec(devices=_disk(image)))
    config = str(system.hosts.root / "user.toml")
    process = system.hosts.start_process(KILLED, system.uri, config, when, str(image), verb)
    with process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    assert domain.state is DomainState.SHUTOFF
    assert _owner(image) == (OWNER, GROUP)
    assert system.hosts.processes() == []
    domain.start()
    assert _owner(image)[0] == _nobody()
    domain.destroy()
    assert _owner(image) == (OWNER, GROUP)


def test_restart_of_the_host(system: System, make_spec: Make) -> None:
    """What guests used when the host went down is given back when it is opened again."""
    image = system.image("disk")
    host = system.open()
    domain = host.domains.define(make_spec(devices=_disk(image)))
    domain.start()
    store = host._driver.home.store
    (known,) = store.objects("qemu-owner")
    domain.destroy()
    store.put_object(attrs.evolve(known, boot_id="another"))
    os.chown(image, _nobody(), 0)
    system.open()
    assert _owner(image) == (OWNER, GROUP)
    assert store.objects("qemu-owner") == []


def test_told_otherwise(system: System, make_spec: Make) -> None:
    """Ownership can be left alone; folders that are closed and users that are not are named."""
    image = system.image("disk")
    spec = make_spec(devices=_disk(image))
    domain = system.open(dynamic_ownership=False).domains.define(spec)
    with pytest.raises(polyvisor.PolyvisorError, match="Permission denied"):
        domain.start()
    assert _owner(image) == (OWNER, GROUP)
    os.chown(image, _nobody(), 0)
    domain.start()
    domain.destroy()
    assert _owner(image) == (_nobody(), 0)
    os.chmod(system.folder, 0o700)
    with pytest.raises(StorageError, match="is closed to it"):
        domain.start()
    assert system.hosts.processes() == []
    with pytest.raises(ConfigError, match="does not know"):
        system.open(user="no-such-user-here")
    with pytest.raises(ConfigError, match="does not know"):
        system.open(group="no-such-group-here")


TPM = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"


def test_what_is_kept(system: System, make_spec: Make) -> None:
    """TPMs and UEFI variables are kept where the user may come; what is private stays closed."""
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is missing: apt install swtpm")
    if not Path("/usr/share/qemu/firmware/60-edk2-x86_64.json").exists():
        pytest.skip("ovmf is not installed")
    wanted = "<firmware><feature enabled='no' name='secure-boot'/></firmware>"
    text = make_spec(machine="q35", memory=256, devices=TPM).to_xml()
    text = text.replace("<os>", "<os firmware='efi'>").replace("</type>", f"</type>{wanted}")
    domain = system.open().domains.define(text)
    domain.start(paused=True)
    (variables,) = system.hosts.root.rglob("guest_VARS.fd")
    assert _owner(variables)[0] == _nobody()
    (swtpm,) = _processes("swtpm", system)
    assert _users(swtpm) == {_nobody()}
    (state,) = system.hosts.root.rglob("tpm2")
    assert {_owner(path)[0] for path in (state, *state.iterdir())} == {_nobody()}
    private = system.hosts.root / "s/system/lib/qemu"
    assert private.stat().st_mode & 0o077 == 0
    assert not variables.is_relative_to(private)
    domain.destroy()
    assert _owner(variables)[0] == os.geteuid()
    written = variables.read_bytes()[:-1] + b"\x01"
    variables.write_bytes(written)
    kept = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    # Guests of root's have them where they always were.
    config = system.hosts.root / "root.toml"
    config.write_text("")
    with polyvisor.open(system.uri, config=config) as host:
        ours = host.domains["guest"]
        ours.start(paused=True)
        (moved,) = system.hosts.root.rglob("guest_VARS.fd")
        assert moved.is_relative_to(private)
        assert moved.read_bytes() == written
        (state,) = system.hosts.root.rglob("tpm2")
        assert state.is_relative_to(private)
        assert kept.keys() <= {path.name for path in state.iterdir()}
        ours.destroy()
    domain.start(paused=True)
    assert variables.read_bytes() == written
    domain.destroy()
    domain.undefine(nvram=True)
    assert not list(system.hosts.root.rglob("guest_VARS.fd"))
    assert not list(system.hosts.root.rglob("tpm2"))


def _processes(name: str, system: System) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(name.encode()) and str(system.hosts.root).encode() in b" ".join(
                words
            ):
                found.append(int(entry.name))
    return found


def test_files_of_devices(system: System, make_spec: Make) -> None:
    """Files and devices of the host go back when the device that used them has gone."""
    ours, theirs = os.openpty()
    terminal = Path(os.ttyname(theirs))
    before = _owner(terminal)
    module = system.folder / "module"
    module.write_bytes(bytes(16 << 20))
    os.chown(module, OWNER, GROUP)
    cell = (
        "<features><acpi/></features><maxMemory slots='2' unit='GiB'>1</maxMemory>"
        "<cpu><numa><cell id='0' cpus='0' memory='16' unit='MiB'/></numa></cpu>"
    )
    devices = (
        "<controller type='usb' model='qemu-xhci'/><controller type='scsi' model='virtio-scsi'/>"
    )
    domain = system.started(make_spec(devices=devices, more=cell))
    port = (
        f"<serial type='dev'><source path='{terminal}'/>"
        f"<target type='usb-serial' port='1'/></serial>"
    )
    domain.attach_device(port, live=True)
    assert _owner(terminal)[0] == _nobody()
    domain.detach_device(port, live=True)
    assert _owner(terminal) == before
    disks = [
        _disk(system.image(name), f"sd{name}").replace("bus='virtio'", "bus='scsi'")
        for name in ("a", "b")
    ]
    for disk in disks:
        domain.attach_device(disk, live=True)
    domain.detach_device(disks[0], live=True)
    assert _owner(system.folder / "a") == (OWNER, GROUP)
    assert _owner(system.folder / "b")[0] == _nobody()
    domain.attach_device(
        f"<memory model='virtio-pmem' access='shared'><source><path>{module}</path></source>"
        f"<target><size unit='MiB'>16</size></target></memory>",
        live=True,
    )
    assert _owner(module)[0] == _nobody()
    refused = _disk(system.image("c"), "sdb").replace("bus='virtio'", "bus='scsi'")
    with pytest.raises(polyvisor.PolyvisorError):
        domain.attach_device(refused, live=True)
    assert _owner(system.folder / "c") == (OWNER, GROUP)
    domain.destroy()
    assert [_owner(system.folder / name) for name in ("b", "module")] == [(OWNER, GROUP)] * 2
    # It was QEMU's terminal: had it gone before, QEMU would have hung up.
    os.close(ours)
    os.close(theirs)


def test_shared_folder_comes(system: System, make_spec: Make) -> None:
    """The process that shares a folder is root's, and a guest that is not comes to it."""
    if not Path("/usr/lib/qemu/virtiofsd").exists():
        pytest.skip("virtiofsd is not installed")
    shared = (
        "<features><acpi/></features>"
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    )
    xml = (
        f"<filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/>"
        f"</binary><source dir='{system.folder}'/><target dir='b'/></filesystem>"
    )
    domain = system.started(make_spec(more=shared))
    domain.attach_device(xml, live=True)
    assert domain.spec().devices.filesystems[0].target == "b"
    domain.destroy()
