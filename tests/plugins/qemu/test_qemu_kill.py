"""SIGKILL of the process that works on a guest, at each step of what it tells QEMU.

A process does the operation and dies before its first step, another before the second, and
so on until one survives. After each death the next process must find everything in order.
The steps are the phases of a migration and the commands that QEMU is given; those between
them, at which something is recorded, are the core's and tested there.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.states import DomainState

if TYPE_CHECKING:
    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = pytest.mark.real

# Runs in one process that forks for each step, since starting Python takes so long.
FRAME = """
import contextlib, os, signal, sys, time, traceback
import polyvisor, polyvisor.migration, polyvisor.local._driver, polyvisor.local._recovery
import polyvisor.state._sqlite, polyvisor_qemu.migration, polyvisor_qemu.saving
from polyvisor.errors import *
from polyvisor.local._migration import LocalMigration
from polyvisor_qemu.qmp import Monitor

uri, peer_uri, root, xml = sys.argv[1:5]
image = f"{root}/image"
serial = f"{root}/serial"

def count():
    try:
        with open(serial, "rb") as file:
            return file.read().count(b"\\n")
    except FileNotFoundError:
        return 0

def counts_on(more=1):
    wanted = count() + more
    deadline = time.monotonic() + 30
    while count() < wanted:
        assert time.monotonic() < deadline, "the guest does not count"
        time.sleep(0.01)

def numbers():
    # Of each boot: what was counted, in order.
    with open(serial, "rb") as file:
        lines = [line.strip() for line in file.read().split(b"\\n")]
    return [int(line[5:], 16) for line in lines if line.startswith(b"tick ") and len(line) == 9]

def guests():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    line = file.read()
                with open(f"/proc/{entry}/stat") as file:
                    state = file.read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            ours = f"{root}/tick.img".encode() in line and b"qemu-system" in line.split(b"\\0")[0]
            if ours and state not in "ZX":
                found.append(int(entry))
    return found

def started(host):
    domain = host.domains.define(xml)
    domain.start()
    counts_on()
    return domain

@contextlib.contextmanager
def one_owner(number):
    # Each is looked at first in turn, since it must not matter.
    with polyvisor.open(uri) as host, polyvisor.open(peer_uri) as peer:
        for connection in (peer, host) if number % 2 else (host, peer):
            for domain in connection.domains:
                domain.status()
        states = [str(domain.state) for side in (host, peer) for domain in side.domains]
        assert states.count("running") == 1, states
        assert set(states) <= {"running", "shut off"}, states
        assert len(guests()) == 1, guests()
        (owner,) = [d for side in (host, peer) for d in side.domains if d.active]
        counts_on()
        yield host, peer, owner
        told = numbers()
        assert told == sorted(told), told

def mine(left):
    seen = {}
    def point(what):
        nonlocal left
        seen[what] = seen.get(what, 0) + 1
        # QEMU is asked again and again how far it is; what is recorded is always another thing.
        if seen[what] > (2 if what not in recorded else 20):
            return
        if left == 0:
            sys.stderr.write(f"killed at {what}\\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
    def mined(owner, name, label=None, after=False):
        plain = getattr(owner, name)
        def call(self, *args, **kwargs):
            point(f"{label or args[0]}")
            answer = plain(self, *args, **kwargs)
            if after:
                point(f"after {label}")
            return answer
        setattr(owner, name, call)
    mined(Monitor, "_greeted", "greeting")
    mined(Monitor, "execute")
    mined(Monitor, "execute_all", "several commands", after=True)
    mined(Monitor, "_send_off", "sending them", after=True)
    mined(Monitor, "post", "posted commands", after=True)
    for phase in ("begin", "prepare", "perform", "finish", "confirm"):
        mined(LocalMigration, phase, phase, after=True)
    for owner, name in recorded.values():
        mined(owner, name, name)

recorded = {}

def in_child(step, number=None):
    pid = os.fork()
    if pid == 0:
        try:
            if number is not None:
                mine(number)
            step()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def clean():
    for target in (uri, peer_uri):
        with polyvisor.open(target) as host:
            for domain in host.domains:
                if domain.active:
                    domain.destroy()
                if domain.uuid in host.domains:
                    domain.undefine(managed_save=True, snapshots=True)
    assert guests() == [], "a guest is left that nobody knows"
    for name in os.listdir(root):
        assert "polyvisor-part" not in name, name
    for path in (image, serial):
        if os.path.exists(path):
            os.unlink(path)

{steps}

first = number = int(sys.argv[5])
while True:
    assert in_child(before) == 0, "before"
    code = in_child(act, number)
    assert code in (0, -signal.SIGKILL), f"the operation failed at step {number}"
    assert in_child(lambda: after(number)) == 0, f"after being killed at step {number}"
    assert in_child(clean) == 0, f"cleaning up after being killed at step {number}"
    number += 1
    if code == 0:
        break
    assert number < 60
print(number - first)
"""


def killed_everywhere(
    hosts: Hosts, steps: str, *, least: int, first: int = 0, timeout: float = 150
) -> None:
    """Run the frame with the functions ``before``, ``act`` and ``after``.

    Args:
        hosts: where.
        steps: the functions.
        least: how many steps there are at least.
        first: the first step to be killed at.
        timeout: seconds for all of it.
    """
    code = FRAME.replace("{steps}", textwrap.dedent(steps))
    done = subprocess.run(
        [
            sys.executable, "-c", code,
            hosts.uri("a"), hosts.uri("b"), str(hosts.root), hosts.counting().to_xml(),
            str(first),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) >= least, done.stderr[-4000:]


def test_start(hosts: Hosts) -> None:
    """It is off or runs, with one QEMU or none, and can be started."""
    killed_everywhere(
        hosts,
        """
        def before():
            with polyvisor.open(uri) as host:
                host.domains.define(xml)

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].start()

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                assert domain.state in ("running", "shut off")
                assert len(guests()) == (domain.state == "running")
                if domain.state == "shut off":
                    domain.start()
                counts_on()
        """,
        least=3,
    )


def test_save(hosts: Hosts) -> None:
    """It runs on beside the earlier file, or is saved whole and off; no half file is left."""
    killed_everywhere(
        hosts,
        """
        def before():
            with open(image, "w") as file:
                file.write("earlier")
            with polyvisor.open(uri) as host:
                started(host)

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].save(image)

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                if domain.state == "shut off":
                    assert domain.status().reason == "saved"
                    assert guests() == []
                    host.domains.restore(image)
                else:
                    with open(image) as file:
                        assert file.read() == "earlier"
                assert domain.state == "running", domain.state
                assert not [name for name in os.listdir(root) if "part" in name]
                counts_on()
                domain.save(image)
                host.domains.restore(image)
                counts_on()
                told = numbers()
                assert told == sorted(told), told
        """,
        least=6,
    )


def test_restore(hosts: Hosts) -> None:
    """It goes on from where it was saved, then or when it is restored again."""
    killed_everywhere(
        hosts,
        """
        def before():
            with polyvisor.open(uri) as host:
                started(host).save(image)

        def act():
            with polyvisor.open(uri) as host:
                host.domains.restore(image)

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                assert len(guests()) == (domain.state == "running")
                if domain.state == "shut off":
                    host.domains.restore(image)
                counts_on()
                told = numbers()
                assert told == sorted(told), told
        """,
        least=5,
    )


@pytest.mark.parametrize("live", [True, False])
def test_migrate(hosts: Hosts, live: bool) -> None:
    """Exactly one side runs the domain, it goes on counting, and the next command works."""
    killed_everywhere(
        hosts,
        f"""
        live = {live}

        def before():
            with polyvisor.open(uri) as host:
                started(host)

        def act():
            with polyvisor.open(uri) as host, polyvisor.open(peer_uri) as peer:
                host.domains["guest"].migrate(peer, live=live)

        def after(number):
            with one_owner(number) as (host, peer, owner):
                other = peer if owner.connection is host else host
                there = owner.migrate(other)
                assert there.state == "running"
                assert len(guests()) == 1, guests()
                counts_on()
        """,
        least=20 if live else 12,
        first=0 if live else 9,  # up to prepare they are the same
    )


@pytest.mark.parametrize("asks_first", ["a", "b"])
def test_killed_while_sending(hosts: Hosts, asks_first: str) -> None:
    """In the middle of the stream, QEMU still sending, the guest is the source's and runs."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.define(hosts.counting())
    domain.start()
    hosts.wait_for_count()
    process = hosts.start_process(
        """
        with polyvisor.open(uri) as host:
            def sent(progress):
                if progress.processed:
                    print(progress.processed, flush=True)
            host.domains["guest"].migrate(sys.argv[1], bandwidth=20_000, progress=sent)
        """,
        hosts.uri("b"),
    )
    with process:
        assert process.stdout.readline().strip().isdigit()
        assert len(hosts.processes()) == 2
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    if asks_first == "b":
        assert destination.domains.list() == []
    assert domain.state is DomainState.RUNNING
    assert destination.domains.list() == []
    deadline = time.monotonic() + 10
    while len(hosts.processes()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hosts.wait_for_count()
    there = domain.migrate(destination)
    assert there.state is DomainState.RUNNING
    hosts.wait_for_count()


# A guest whose disk is kept in snapshots. All that is recorded is a step too, since the core has
# no hypervisor of its own with disks, and so is each call of qemu-img.
DISKS = """
import shutil, subprocess
import polyvisor.local._hold, polyvisor.local._snapshots, polyvisor.local._snapshot_revert
import polyvisor.local._snapshot_delete, polyvisor.local._backups
import polyvisor_qemu.snapshots.inside, polyvisor_qemu.snapshots.overlays
import polyvisor_qemu.snapshots.merging, polyvisor_qemu.backups.copying
from polyvisor.driver import SnapshotOptions
from polyvisor.model import SnapshotSpec
from polyvisor.local._hold import Hold
from polyvisor.state._sqlite import SqliteStore

recorded = {
    "put": (Hold, "put"),
    "put_snapshots": (SqliteStore, "put_snapshots"),
    "put_object": (SqliteStore, "put_object"),
    "__init__": (subprocess.Popen, "__init__"),
}
disk, memory = f"{root}/tick.img.qcow2", f"{root}/memory"
xml = xml.replace("type='raw'", "type='qcow2'").replace(f"{root}/tick.img", disk)
outside = SnapshotOptions(spec=SnapshotSpec.from_xml(
    f"<domainsnapshot><memory snapshot='external' file='{memory}'/></domainsnapshot>"
))

def fresh(host):
    for name in os.listdir(root):
        if name.startswith("tick.img.") or name == "memory":
            os.unlink(f"{root}/{name}")
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", f"{root}/tick.img", disk], check=True
    )
    return started(host)

def image_of(domain):
    return domain.spec(inactive=True).devices.disks[0].source.file

def is_well(domain):
    domain.status()
    assert domain.state in ("running", "shut off"), domain.status()
    assert len(guests()) == (domain.state == "running")
    live = domain.spec().devices.disks[0].source.file
    assert live == image_of(domain), (live, image_of(domain))
    if domain.state == "shut off":
        domain.start()
    counts_on()

def nothing_is_left(domain):
    for one in list(domain.snapshots.list()):
        domain.snapshots.delete(one.name)
    assert domain.state == "running", domain.status()
    counts_on()
    domain.destroy()
    there = sorted(name for name in os.listdir(root) if name.startswith(("tick.img.", "mem")))
    assert there == [os.path.basename(image_of(domain))], there
    subprocess.run(["qemu-img", "check", "-q", image_of(domain)], check=True)
    told = subprocess.run(
        ["qemu-img", "info", image_of(domain)], check=True, capture_output=True, text=True
    ).stdout
    assert "Snapshot list" not in told and "backing file" not in told, told
"""


def killed_everywhere_on_disks(hosts: Hosts, steps: str, *, least: int) -> None:
    """Do :func:`killed_everywhere` with a guest whose disk is kept in snapshots."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing: apt install qemu-utils")
    killed_everywhere(hosts, DISKS + textwrap.dedent(steps), least=least, timeout=550)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["None", "outside"])
def test_snapshot(hosts: Hosts, options: str) -> None:
    """There is a whole snapshot or none; the guest counts on and goes back; nothing is left."""
    killed_everywhere_on_disks(
        hosts,
        f"""
        def before():
            with polyvisor.open(uri) as host:
                fresh(host)

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].snapshots.create("one", options={options})

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                is_well(domain)
                if not domain.snapshots.list():
                    assert image_of(domain) == disk
                    domain.snapshots.create("one", options={options})
                assert [one.name for one in domain.snapshots.list()] == ["one"]
                domain.snapshots.revert("one")
                assert domain.state == "running"
                counts_on()
                nothing_is_left(domain)
        """,
        least=10,
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", ["None", "outside"])
def test_revert(hosts: Hosts, options: str) -> None:
    """The domain has gone back, or it has not, or is off; its disk is there and it can go back."""
    killed_everywhere_on_disks(
        hosts,
        f"""
        def before():
            with polyvisor.open(uri) as host:
                domain = fresh(host)
                domain.snapshots.create("one", options={options})

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].snapshots.revert("one")

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                is_well(domain)
                domain.snapshots.revert("one")
                assert domain.state == "running"
                assert len(guests()) == 1
                counts_on()
                nothing_is_left(domain)
        """,
        least=10,
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", ["None", "outside"])
def test_delete_snapshot(hosts: Hosts, options: str) -> None:
    """The snapshot is gone, or there to be deleted; the guest counts on in what it had."""
    killed_everywhere_on_disks(
        hosts,
        f"""
        def before():
            with polyvisor.open(uri) as host:
                domain = fresh(host)
                domain.snapshots.create("one", options={options})
                counts_on()

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].snapshots.delete("one")

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                is_well(domain)
                assert len(domain.snapshots.list()) <= 1
                nothing_is_left(domain)
        """,
        least=4,
    )


@pytest.mark.slow
def test_backup(hosts: Hosts) -> None:
    """A backup goes on or there is none; a checkpoint is whole or not there; all can be ended."""
    killed_everywhere_on_disks(
        hosts,
        """
        socket = f"{root}/nbd"
        server = f"<server transport='unix' socket='{socket}'/>"
        pull = f"<domainbackup mode='pull'>{server}</domainbackup>"
        point = "<domaincheckpoint><name>c</name></domaincheckpoint>"

        def begin(domain):
            domain.backup.begin(pull, checkpoint=point)

        def before():
            with polyvisor.open(uri) as host:
                fresh(host)

        def act():
            with polyvisor.open(uri) as host:
                begin(host.domains["guest"])

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                is_well(domain)
                if domain.job() is not None:
                    domain.abort_job()
                assert domain.job() is None
                if "c" in domain.checkpoints.list():
                    domain.checkpoints.xml("c", sizes=True)
                    domain.checkpoints.delete("c")
                begin(domain)
                domain.abort_job()
                domain.checkpoints.delete("c")
                counts_on()
                nothing_is_left(domain)
        """,
        least=8,
    )
