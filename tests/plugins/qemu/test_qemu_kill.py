"""SIGKILL of the process that works on a guest, at each step of what it tells QEMU.

A process does the operation and dies before its first step, another before the second, and
so on until one survives. After each death the next process must find everything in order.
The steps are the phases of a migration and the commands that QEMU is given; those between
them, at which something is recorded, are the core's and tested there.
"""

from __future__ import annotations

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
import os, signal, sys, time, traceback
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

def mine(left):
    seen = {}
    def point(what):
        nonlocal left
        seen[what] = seen.get(what, 0) + 1
        if seen[what] > 2:  # QEMU is asked again and again how far it is
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
    for phase in ("begin", "prepare", "perform", "finish", "confirm"):
        mined(LocalMigration, phase, phase, after=True)

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
                    domain.undefine(managed_save=True)
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


def killed_everywhere(hosts: Hosts, steps: str, *, least: int, first: int = 0) -> None:
    """Run the frame with the functions ``before``, ``act`` and ``after``.

    Args:
        hosts: where.
        steps: the functions.
        least: how many steps there are at least.
        first: the first step to be killed at.
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
        timeout=150,
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
            with polyvisor.open(uri) as host, polyvisor.open(peer_uri) as peer:
                # Whoever looks first: it must not matter.
                for connection in (peer, host) if number % 2 else (host, peer):
                    for domain in connection.domains:
                        domain.status()
                states = [str(domain.state) for side in (host, peer) for domain in side.domains]
                assert states.count("running") == 1, states
                assert set(states) <= {{"running", "shut off"}}, states
                assert len(guests()) == 1, guests()
                (owner,) = [d for side in (host, peer) for d in side.domains if d.active]
                counts_on()
                other = peer if owner.connection is host else host
                there = owner.migrate(other)
                assert there.state == "running"
                assert len(guests()) == 1, guests()
                counts_on()
                told = numbers()
                assert told == sorted(told), told
        """,
        least=21 if live else 12,
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
