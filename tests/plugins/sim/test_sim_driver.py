"""``sim:///NAME`` as those who use it see it, from one process or several."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import polyvisor
from polyvisor.driver import MigrationOptions
from polyvisor.errors import (
    Cancelled,
    MigrationError,
    OperationInvalid,
    SchemaError,
    SemanticError,
    UriError,
)
from polyvisor.events import EventKind
from polyvisor.jobs import Job
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress
    from polyvisor.model import DomainSpec

    Make = Callable[..., DomainSpec]
    Hosts = Callable[[str], polyvisor.Connection]


def ticks(domain: Domain) -> int:
    """Return how many ticks the guest has done; all of its memory must be right."""
    found = domain.connection.driver.verify_memory(domain.uuid)
    assert found.ok, f"page {found.wrong_page}: {found.fault}"
    return int(found.ticks)


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start another Python that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys, polyvisor\n{code}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# Hosts


def test_each_name_is_a_host(hosts: Hosts, make_spec: Make) -> None:
    """Hosts of different names have their own domains; a name leads to the same host again."""
    a, b = hosts("a"), hosts("b")
    a.domains.define(make_spec())
    assert not list(b.domains)
    assert "guest" in hosts("a").domains
    assert (a.host.hostname, b.host.hostname) == ("a", "b")
    assert a.host.hypervisor == "simulator"


def test_the_default_host(own_home: Path) -> None:
    """No name means ``default``; its files are in the user's folders, closed to others."""
    with polyvisor.open() as one, polyvisor.open("sim:///") as other:
        assert one.uri == other.uri == "sim:///default"
        assert one.host.hostname == "default"
    made = [path for path in own_home.rglob("*") if path.name == "default"]
    assert made
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sim:///a/b", "cannot be the name"),
        ("sim:///..", "cannot be the name"),
        ("sim:///-a", "cannot be the name"),
        ("sim:///a%0Ab", "cannot be the name"),
        (f"sim:///{'a' * 65}", "at most 64"),
        ("sim://a", "three slashes"),
        ("sim:///a?rot=/tmp", "unknown parameter 'rot'.*root"),
    ],
)
def test_uris_that_mean_nothing(uri: str, words: str) -> None:
    """What cannot be a host is refused with the rule that it breaks."""
    with pytest.raises(UriError, match=words):
        polyvisor.open(uri)


def test_any_hypervisors_definition_runs(hosts: Hosts, make_spec: Make) -> None:
    """The simulator plays whatever hypervisor a definition is for."""
    host = hosts("a")
    for kind in ("qemu", "kvm", "xen", "lxc", "test"):
        domain = host.domains.create(make_spec(kind, kind=kind))
        assert domain.state is DomainState.RUNNING
        assert domain.spec().type == kind


@pytest.mark.parametrize("memory", [0, 1 << 40])
def test_memory_that_cannot_be(hosts: Hosts, make_spec: Make, memory: int) -> None:
    """None at all, or more than any file holds, is refused when it is defined."""
    with pytest.raises(SemanticError, match=r"at most 64 TiB|no memory"):
        hosts("a").domains.define(make_spec(memory=memory))


def test_what_a_guest_prints(hosts: Hosts, make_spec: Make) -> None:
    """Its lines can be read without a file behind its serial port."""
    host = hosts("a")
    domain = host.domains.create(make_spec(sim="ticks-per-second='1000'"))
    time.sleep(0.02)
    domain.suspend()
    lines = host.driver.printed(domain.uuid).splitlines()
    assert lines == [f"tick {number:04X}" for number in range(ticks(domain) // 5)]
    assert lines


def test_a_wrong_simulation_is_not_defined(hosts: Hosts, make_spec: Make) -> None:
    """What ``<sim:guest>`` cannot mean is refused when it is defined."""
    host = hosts("a")
    with pytest.raises(SchemaError, match="working-set"):
        host.domains.define(make_spec(sim="working-set='-1'"))
    assert not list(host.domains)


# Guests


def test_a_guest_runs_while_nobody_looks(hosts: Hosts, make_spec: Make) -> None:
    """It needs no process; its ticks are those of the time that has gone by."""
    uri = hosts("a").uri
    code = (
        "with polyvisor.open(sys.argv[1]) as host: host.domains['guest'].start()\n"
        "print('started', flush=True)"
    )
    hosts("a").domains.define(make_spec(sim="ticks-per-second='1000'"))
    before = time.monotonic()
    child = python(code, uri)
    out, _ = child.communicate(timeout=30)
    assert out == "started\n"
    domain = hosts("a").domains["guest"]
    assert domain.state is DomainState.RUNNING
    time.sleep(0.05)
    assert 50 <= ticks(domain) <= (time.monotonic() - before) * 1000


def test_its_memory_is_real_and_sparse(hosts: Hosts, make_spec: Make, tmp_path: Path) -> None:
    """A page of the memory file that is spoilt behind its back is found and named."""
    domain = hosts("a").domains.create(make_spec(memory=1 << 20, sim="ticks-per-second='1000'"))
    domain.suspend()
    count = ticks(domain)
    (memory,) = tmp_path.rglob("memory")
    assert memory.stat().st_size >= 1 << 30
    assert memory.stat().st_blocks * 512 < 8 << 20
    with memory.open("r+b") as file:
        file.seek((1 << 30) - 1)
        file.write(b"!")
    found = domain.connection.driver.verify_memory(domain.uuid)
    assert (found.ticks, found.wrong_page) == (count, (1 << 30) // 4096 - 1)
    assert not found.ok


def test_verifying_needs_a_guest(hosts: Hosts, make_spec: Make) -> None:
    """There is no memory of a domain that does not run."""
    host = hosts("a")
    domain = host.domains.define(make_spec())
    with pytest.raises(OperationInvalid):
        host.driver.verify_memory(domain.uuid)


def test_a_guest_that_ends_is_heard_of(hosts: Hosts, make_spec: Make) -> None:
    """Powering off is an event, ends waiting, and is the domain's last state."""
    host = hosts("a")
    stream = host.events(timeout=20)
    domain = host.domains.define(make_spec(sim="poweroff-at='20'"))
    domain.start()
    assert domain.wait(timeout=20) == polyvisor.DomainStatus(
        DomainState.SHUTOFF, StateReason.SHUTDOWN
    )
    kinds = []
    for event in stream:
        kinds.append(event.kind)
        if event.kind is EventKind.STOPPED:
            assert event.detail == "shutdown"
            break
    assert kinds[-1] is EventKind.STOPPED
    stream.close()


def test_shutting_down(hosts: Hosts, make_spec: Make) -> None:
    """A guest takes its time, or does not listen at all."""
    host = hosts("a")
    slow = host.domains.define(make_spec("slow", sim="shutdown-delay='0.2'"))
    deaf = host.domains.define(make_spec("deaf", sim="ignore-shutdown='yes'"))
    for domain in (slow, deaf):
        domain.start()
    before = time.monotonic()
    for domain in (slow, deaf):
        domain.shutdown()
    assert slow.state is DomainState.RUNNING
    slow.wait(timeout=20)
    assert time.monotonic() - before >= 0.2
    assert deaf.state is DomainState.RUNNING


# What is kept of a guest


def test_snapshots_bring_memory_back(hosts: Hosts, make_spec: Make) -> None:
    """Reverting gives the ticks of the snapshot and every byte of them, again and again."""
    domain = hosts("a").domains.define(make_spec(sim="ticks-per-second='1000'"))
    domain.start()
    time.sleep(0.02)
    domain.suspend()
    count = ticks(domain)
    domain.snapshots.create("then")
    for _ in range(2):
        domain.resume()
        time.sleep(0.02)
        domain.reset()
        assert ticks(domain) >= 0
        domain.snapshots.revert("then", paused=True)
        assert ticks(domain) == count


def test_managed_save_in_another_process(hosts: Hosts, make_spec: Make) -> None:
    """What one process saved another starts, with not a tick lost."""
    host = hosts("a")
    domain = host.domains.define(make_spec(sim="ticks-per-second='1000'"))
    domain.start()
    time.sleep(0.02)
    domain.suspend()
    count = ticks(domain)
    child = python("polyvisor.open(sys.argv[1]).domains['guest'].managed_save()", host.uri)
    assert child.communicate(timeout=30) == ("", None)
    assert domain.state is DomainState.SHUTOFF
    domain.start(paused=True)
    assert ticks(domain) == count


# Migrating


def test_there_and_back_many_times(hosts: Hosts, make_spec: Make) -> None:
    """However often a running guest moves, its memory is what its running time says."""
    here, there = hosts("a"), hosts("b")
    sim = "ticks-per-second='2000' dirty-pages='8' working-set='3000'"
    started = time.monotonic()
    domain = here.domains.create(make_spec(memory=32 << 10, sim=sim))
    for _ in range(3):
        domain = domain.migrate(there)
        assert ticks(domain) > 0
        domain = domain.migrate(here)
    lived = time.monotonic() - started
    assert 0 < ticks(domain) <= lived * 2000
    assert not list(there.domains)


def test_cancelled_from_another_thread(hosts: Hosts, make_spec: Make) -> None:
    """A slow migration that is aborted leaves the guest here, running, and nothing there."""
    import threading

    here, there = hosts("a"), hosts("b")
    domain = here.domains.create(make_spec(sim="ticks-per-second='1000' dirty-pages='50'"))
    started = threading.Event()

    def on(progress: JobProgress) -> None:
        if progress.phase == "memory":
            started.set()

    def abort() -> None:
        assert started.wait(20)
        hosts("a").domains["guest"].abort_job()

    thread = threading.Thread(target=abort)
    thread.start()
    with pytest.raises(Cancelled):
        domain.migrate(there, bandwidth=200_000, progress=on)
    thread.join()
    assert domain.state is DomainState.RUNNING
    assert ticks(domain) > 0
    assert not list(there.domains)


def test_suspended_on_its_way(hosts: Hosts, make_spec: Make) -> None:
    """A guest that writes too fast arrives once somebody suspends it, and runs on over there."""
    import threading

    here, there = hosts("a"), hosts("b")
    sim = "ticks-per-second='1000' dirty-pages='50' working-set='256'"
    domain = here.domains.create(make_spec(memory=4 << 10, sim=sim))
    threads: list[threading.Thread] = []

    def on(progress: JobProgress) -> None:
        if progress.iteration == 3 and not threads:
            threads.append(threading.Thread(target=hosts("a").domains["guest"].suspend))
            threads[0].start()

    # It would never come to an end: a round takes a fifth of a second.
    moved = domain.migrate(
        there, bandwidth=5 << 20, downtime=0.01, timeout=30, timeout_action="abort", progress=on
    )
    threads[0].join()
    assert moved.state is DomainState.RUNNING
    assert not list(here.domains)
    count = ticks(moved)
    time.sleep(0.05)
    assert ticks(moved) > count


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4])
def test_the_process_that_migrates_is_killed(hosts: Hosts, make_spec: Make, delay: float) -> None:
    """Wherever it was, one side has the guest, with every byte, and the other nothing."""
    here, there = hosts("a"), hosts("b")
    domain = here.domains.define(make_spec(sim="ticks-per-second='1000' working-set='256'"))
    domain.start()
    time.sleep(0.1)
    code = (
        "there = polyvisor.open(sys.argv[2])\n"
        "domain = polyvisor.open(sys.argv[1]).domains['guest']\n"
        "print('go', flush=True)\n"
        "domain.migrate(there, bandwidth=4_000_000)\n"
    )
    child = python(code, here.uri, there.uri)
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    time.sleep(delay)
    child.kill()
    child.communicate()
    owners = [host for host in (here, there) if any(found.active for found in host.domains)]
    assert len(owners) == 1
    found = owners[0].domains["guest"]
    assert ticks(found) >= 100
    if found.state is DomainState.PAUSED:
        found.resume()
    assert found.state is DomainState.RUNNING
    before = ticks(found)
    time.sleep(0.02)
    assert ticks(found) > before
    found.destroy()


def test_a_guest_of_another_hypervisor_is_refused_before_anything_is_sent(
    hosts: Hosts, make_spec: Make
) -> None:
    """What a foreign source says of itself is enough; a live guest cannot be moved so."""
    here, there = hosts("a"), hosts("b")
    domain = here.domains.create(make_spec())
    with Job("migration") as job:
        leaving, arriving = here.driver.migration, there.driver.migration
        assert leaving is not None
        assert arriving is not None
        begun = leaving.begin(domain.uuid, MigrationOptions(), job)
        foreign = begun.cookie.replace(b'"hypervisor": "sim"', b'"hypervisor": "other"')
        assert foreign != begun.cookie
        with pytest.raises(MigrationError, match="same hypervisor") as caught:
            arriving.prepare(begun.spec, foreign, MigrationOptions())
        assert (caught.value.phase, caught.value.side) == ("prepare", "destination")
        leaving.confirm(domain.uuid, None, MigrationOptions(), cancelled=True)
    assert domain.state is DomainState.RUNNING
    assert there.domains.list() == []
