"""Guests of real QEMU that stop answering, die, outlive their starter or have no room."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError, OperationInvalid, StorageError, Timeout
from polyvisor.events import EventKind
from polyvisor.states import DomainState, StateReason
from polyvisor_qemu.qmp import Monitor, QmpError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polyvisor.model import DomainSpec

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real


@pytest.fixture
def stopped(hosts: Hosts) -> Callable[[], int]:
    """Hold a function that stops the one QEMU there is, as a hanging one would be."""

    def stop() -> int:
        (pid,) = hosts.processes()
        os.kill(pid, signal.SIGSTOP)
        return int(pid)

    return stop


# QEMU's monitor


def test_the_real_monitor(hosts: Hosts) -> None:
    """Real QEMU answers, refuses with words, and tells of events, on one connection."""
    host = hosts.open()
    host.domains.create(hosts.counting(), paused=True)
    (pid,) = hosts.processes()
    control = next(hosts.root.rglob("control"))
    with Monitor(str(control)) as monitor:
        assert monitor.execute("query-status")["status"] in ("prelaunch", "paused")
        with pytest.raises(QmpError, match="refuses no-such-thing") as caught:
            monitor.execute("no-such-thing")
        assert caught.value.native_code == "CommandNotFound"
        # The longest answer there is.
        assert len(monitor.execute("query-qmp-schema")) > 500
        monitor.execute("cont")
        event = monitor.next_event(10)
        assert event is not None
        assert event["event"] == "RESUME"
        with pytest.raises(Timeout):
            Monitor(str(control), timeout=0.2)  # it serves one at a time
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(HypervisorError, match="closed its monitor"):
            monitor.execute("query-status")


# Stopped, killed


def test_hanging_qemu(hosts: Hosts, stopped: Callable[[], int]) -> None:
    """A command to a QEMU that hangs ends with an error in time, however many were tried."""
    hosts.open().domains.create(hosts.counting())
    domain = hosts.open(answer_timeout=0.1).domains["guest"]
    pid = stopped()
    begun = time.monotonic()
    for _ in range(12):  # more than may wait at a socket
        with pytest.raises(Timeout, match="stopped or hangs"):
            domain.suspend()
    assert domain.state is DomainState.RUNNING
    assert time.monotonic() - begun < 15
    os.kill(pid, signal.SIGCONT)
    for _ in range(100):
        try:
            domain.suspend()
            break
        except Timeout:  # it greets all those who went away first
            continue
    assert domain.state is DomainState.PAUSED


def test_destroying_a_hanging_qemu(hosts: Hosts, stopped: Callable[[], int]) -> None:
    """A guest whose QEMU hangs can be destroyed, and soon."""
    domain = hosts.open().domains.create(hosts.counting())
    stopped()
    begun = time.monotonic()
    domain.destroy()
    assert time.monotonic() - begun < 10
    assert hosts.processes() == []


def test_killed_qemu(hosts: Hosts) -> None:
    """A guest whose QEMU is killed is shut off for having crashed, and its listener is told."""
    host = hosts.open()
    domain = host.domains.define(hosts.counting())
    domain.start()
    events = host.events(timeout=0.5)
    (pid,) = hosts.processes()
    os.kill(pid, signal.SIGKILL)
    status = domain.wait(timeout=30)
    assert status.state is DomainState.SHUTOFF
    assert status.reason is StateReason.CRASHED
    assert [(event.kind, event.detail) for event in events] == [(EventKind.STOPPED, "crashed")]
    domain.start()
    assert domain.state is DomainState.RUNNING


def test_killed_unseen(hosts: Hosts) -> None:
    """What happened while nobody watched is found, and told, by who looks next."""
    hosts.run_process(
        """
        with polyvisor.open(uri) as host:
            host.domains.define(sys.argv[1]).start()
        """,
        hosts.counting().to_xml(),
    )
    (pid,) = hosts.processes()
    os.kill(pid, signal.SIGKILL)
    domain = hosts.open().domains["guest"]
    assert domain.wait(timeout=30).reason is StateReason.CRASHED
    assert not list(hosts.root.rglob("control"))


def test_quit_is_no_crash(hosts: Hosts) -> None:
    """A QEMU that ends of itself in good order leaves its domain shut down."""
    domain = hosts.open().domains.define(hosts.counting())
    domain.start()
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        monitor.execute("quit")
    status = domain.wait(timeout=30)
    assert (status.state, status.reason) == (DomainState.SHUTOFF, StateReason.SHUTDOWN)


def test_a_reset_is_one_reboot(hosts: Hosts) -> None:
    """SeaBIOS, which has run before, resets the machine again, and that nobody is told of."""
    host = hosts.open()
    domain = host.domains.create(hosts.counting())
    hosts.wait_for_count()
    events = host.events(timeout=2)
    for _ in range(2):
        domain.reset()
        hosts.wait_for_count(5)
        assert [event.kind for event in events] == [EventKind.REBOOT]
        events = host.events(timeout=2)


# Several processes


def test_guest_outlives_its_starter(hosts: Hosts) -> None:
    """A guest runs on when the process that started it ends, and the next one has it."""
    hosts.run_process(
        """
        with polyvisor.open(uri) as host:
            host.domains.create(sys.argv[1])
        """,
        hosts.counting().to_xml(),
    )
    hosts.wait_for_count()
    domain = hosts.open().domains["guest"]
    assert domain.state is DomainState.RUNNING
    domain.suspend()
    domain.resume()
    hosts.wait_for_count()
    out = hosts.run_process(
        """
        with polyvisor.open(uri) as host:
            host.domains["guest"].destroy()
            print(len(host.domains))
        """
    )
    assert out.strip() == "0"
    assert hosts.processes() == []


def test_guest_outlives_its_starters_group(hosts: Hosts) -> None:
    """Ctrl-C and a closed terminal reach a process's whole group; guests are not in it."""
    process = hosts.start_process(
        """
        os.setpgid(0, 0)
        with polyvisor.open(uri) as host:
            host.domains.create(sys.argv[1])
            print("started", flush=True)
            sys.stdin.read()
        """,
        hosts.counting().to_xml(),
    )
    with process:
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    hosts.wait_for_count()
    assert hosts.open().domains["guest"].state is DomainState.RUNNING


def test_two_start_at_once(hosts: Hosts) -> None:
    """Of two processes that start a domain at once one does; the other is told it runs."""
    hosts.open().domains.define(hosts.counting())
    code = """
        from polyvisor.errors import PolyvisorError
        with polyvisor.open(uri) as host:
            domain = host.domains["guest"]
            print("ready", flush=True)
            sys.stdin.readline()
            try:
                domain.start()
            except PolyvisorError as error:
                print(error.code, error.message)
            else:
                print("done")
        """
    both = [hosts.start_process(code) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    told = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert told == ["done", "operation-invalid start 'guest': it is already active (running)"]
    assert len(hosts.processes()) == 1


# What cannot be started


def test_missing_disk(hosts: Hosts, make_spec: Make) -> None:
    """A missing image is named before anything is started."""
    disk = "<disk type='file'><source file='/no/such/image'/><target dev='vda'/></disk>"
    domain = hosts.open().domains.define(make_spec(devices=disk))
    with pytest.raises(StorageError, match="/no/such/image is missing"):
        domain.start()
    assert domain.state is DomainState.SHUTOFF


def test_qemus_own_words(hosts: Hosts, make_spec: Make) -> None:
    """What QEMU has against a machine is told in its words, and nothing is left."""
    domain = hosts.open().domains.define(make_spec(machine="no-such-machine"))
    with pytest.raises(HypervisorError, match="unsupported machine type") as caught:
        domain.start()
    assert caught.value.native_message
    assert domain.status().reason is StateReason.FAILED
    assert not list(hosts.root.rglob("control"))


def test_emulator_that_cannot_run(hosts: Hosts, make_spec: Make) -> None:
    """A file that is no program is refused as an error of ours."""
    emulator = hosts.root / "qemu"
    emulator.write_bytes(b"\x7fELF and no more")
    emulator.chmod(0o755)
    domain = hosts.open().domains.define(make_spec(devices=f"<emulator>{emulator}</emulator>"))
    with pytest.raises(HypervisorError, match="cannot run"):
        domain.start()


def test_emulator_that_never_speaks(hosts: Hosts, make_spec: Make) -> None:
    """A program that is not QEMU is ended when it has not spoken in time."""
    emulator = hosts.root / "qemu"
    emulator.write_text("#!/bin/sh\nexec sleep 60\n")
    emulator.chmod(0o755)
    domain = hosts.open(answer_timeout=0.3).domains.define(
        make_spec(devices=f"<emulator>{emulator}</emulator>")
    )
    with pytest.raises(Timeout):
        domain.start()
    assert domain.state is DomainState.SHUTOFF


# Saving where it does not go


@pytest.fixture
def tiny(hosts: Hosts) -> Path:
    """Hold a folder to mount a tiny file system on, in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs root and unshare (Debian: util-linux)")
    folder: Path = hosts.root / "tiny"
    folder.mkdir()
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no mount namespaces here: {tried.stderr.strip()}")
    return folder


SAVE_TO_TINY = """
    from polyvisor.errors import PolyvisorError

    folder = sys.argv[1]
    with polyvisor.open(uri) as host:
        domain = host.domains["guest"]
        try:
            domain.save(folder + "/image")
        except PolyvisorError as error:
            print(error.code, error.to_dict().get("native_code"), error.message)
        print(domain.state, domain.status().reason, os.listdir(folder))
"""


def test_save_to_a_full_disk(hosts: Hosts, tiny: Path) -> None:
    """The guest runs on, the error says that the disk is full, and no half file is left."""
    domain = hosts.open().domains.create(hosts.counting())
    hosts.wait_for_count()
    code = f"import os, sys, polyvisor\nuri = {hosts.uri()!r}\n" + textwrap.dedent(SAVE_TO_TINY)
    done = subprocess.run(
        [
            "unshare", "-m", "sh", "-c",
            'mount -t tmpfs -o size=64k tiny "$1" && exec "$2" -c "$3" "$1"',
            "sh", str(tiny), sys.executable, code,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    if "mount:" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told, state = done.stdout.strip().splitlines()
    assert told.startswith("storage ENOSPC"), told
    assert "No space left on device" in told
    assert state == "running save canceled []"
    hosts.wait_for_count()
    assert domain.state is DomainState.RUNNING
    domain.save(hosts.root / "image")
    assert domain not in hosts.open().domains.list()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_save_past_the_cache(hosts: Hosts, compression: str) -> None:
    """With ``bypass_cache`` nothing but the header of an image stays in the host's cache."""

    def cached(image: Path) -> int:
        told = subprocess.run(
            ["fincore", "--bytes", "--noheadings", "--output", "RES", image],
            check=True,
            capture_output=True,
        )
        return int(told.stdout)

    host = hosts.open()
    domain = host.domains.create(hosts.counting(memory=64))
    hosts.wait_for_count()
    sizes = {}
    for bypass_cache in (False, True):
        image = hosts.root / "image"
        domain.save(image, compression=compression, bypass_cache=bypass_cache)
        sizes[bypass_cache] = cached(image)
        host.domains.restore(image, bypass_cache=bypass_cache)
        hosts.wait_for_count()
        if bypass_cache:
            assert cached(image) <= sizes[True]
    assert sizes[True] <= 16384 < sizes[False]
    domain.destroy()


def test_save_into_a_missing_folder(hosts: Hosts) -> None:
    """The guest is not even stopped."""
    host = hosts.open()
    domain = host.domains.create(hosts.counting())
    events = host.events(timeout=0.1)
    with pytest.raises(StorageError, match="No such file"):
        domain.save(hosts.root / "none" / "image")
    assert list(events) == []
    assert domain.state is DomainState.RUNNING


def test_save_twice_at_once(hosts: Hosts) -> None:
    """Of two processes that save a domain at once one does; the other finds it gone."""
    hosts.open().domains.define(hosts.counting()).start()
    code = """
        from polyvisor.errors import PolyvisorError
        with polyvisor.open(uri) as host:
            domain = host.domains["guest"]
            try:
                domain.save(sys.argv[1])
            except PolyvisorError as error:
                print(error.code)
            else:
                print("done")
        """
    both = [hosts.start_process(code, str(hosts.root / f"image{n}")) for n in range(2)]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in both)
    assert told == ["done", OperationInvalid.code]
    assert len(list(hosts.root.glob("image*"))) == 1
    assert hosts.processes() == []


# Names and paths that mean something to QEMU


@pytest.mark.parametrize(
    "name",
    [
        "comma,id=x",
        "a=b,,c",
        "tür £ 𝄞",
        "{run}{control}",
        "%s %n",
        "-S",
        "--help",
        "a'b\"c\\d",
        "$(id)",
    ],
)
def test_odd_names(hosts: Hosts, name: str) -> None:
    """A name is a name, whatever it would mean elsewhere, in the folders it stands in too."""
    domain = hosts.open(name="a").domains.create(hosts.counting(name), paused=True)
    assert domain.name == name
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        assert monitor.execute("query-name")["name"] == name


@pytest.mark.parametrize("folder", ["a,b=c", "tür 𝄞", "{run}", "fd/RUN", "l" * 150])
def test_odd_folders(hosts: Hosts, make_spec: Make, folder: str) -> None:
    """Files are found in folders of any name, by disks, ports and the guest's own sockets."""
    from polyvisor.testing.counting import write_image

    place = hosts.root / "f" / folder
    place.mkdir(parents=True)
    write_image(place / "disk,.img")
    serial = place / "serial,x=y"
    domain = hosts.open().domains.create(
        make_spec(
            devices=f"<disk type='file' device='disk'><source file='{place}/disk,.img'/>"
            f"<target dev='hda' bus='ide'/></disk>"
            f"<serial type='file'><source path='{serial}'/><target port='0'/></serial>"
        )
    )
    deadline = time.monotonic() + 30
    while not (serial.exists() and b"tick" in serial.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert domain.state is DomainState.RUNNING


# Other tools' definitions

# What virt-install needs to know of the host whose libvirt it is not connected to.
CAPABILITIES = """\
<capabilities>
  <host><cpu><arch>x86_64</arch></cpu></host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <emulator>{emulator}</emulator>
      <machine maxCpus='255'>pc</machine>
      <machine maxCpus='288'>q35</machine>
      <domain type='qemu'/>
    </arch>
    <features><acpi default='on' toggle='yes'/></features>
  </guest>
</capabilities>
"""


@pytest.mark.parametrize("system", ["detect=on,require=off", "debian11", "win10"])
@pytest.mark.parametrize("graphics", ["none", "vnc"])
def test_virt_installs_definition(hosts: Hosts, system: str, graphics: str) -> None:
    """What virt-install writes is defined, started and destroyed as it stands."""
    program = shutil.which("virt-install")
    if program is None:
        pytest.skip("virt-install is not installed (Debian: virtinst)")
    disk = hosts.root / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    capabilities = hosts.root / "capabilities.xml"
    emulator = shutil.which("qemu-system-x86_64")
    capabilities.write_text(CAPABILITIES.format(emulator=emulator))
    # virt-install's own tests have it take such a URI for a connection to QEMU (virtinst/uri.py).
    uri = f"__virtinst_test__test:///default,caps={capabilities},fakeuri=qemu:///session"
    done = subprocess.run(
        [
            program, "--connect", uri, "--print-xml", "--import",
            "--name", "from-virt-install", "--memory", "64", "--vcpus", "2",
            "--osinfo", system, "--virt-type", "qemu", "--arch", "x86_64",
            "--disk", f"path={disk},format=raw", "--network", "user", "--graphics", graphics,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    if "Unknown OS name" in done.stderr:
        pytest.skip(f"this system's osinfo-db does not know {system}")
    assert done.returncode == 0, done.stderr
    domain = hosts.open().domains.define(done.stdout)
    domain.start()
    assert domain.state is DomainState.RUNNING
    domain.destroy()
    assert domain.state is DomainState.SHUTOFF
