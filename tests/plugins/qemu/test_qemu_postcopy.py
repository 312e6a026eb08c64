"""Real guests that go on at the destination before all of their memory is there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from halves import ENDLESS, MEMORY, POSTCOPY, REST, SLOW, need_faults, switching, until

import polyvisor
from polyvisor.errors import (
    MigrationError,
    NotFound,
    OperationInvalid,
    PolyvisorError,
    Unsupported,
)
from polyvisor.events import EventKind
from polyvisor.states import DomainState, DomainStatus, StateReason
from polyvisor.testing.counting import write_image

if TYPE_CHECKING:
    from polyvisor.connection import Connection

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _faults() -> None:
    need_faults()


def test_switched_by_hand(hosts: Hosts) -> None:
    """The guest runs on over there; meanwhile either side says in which half it is."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    heard = {side: side.events(timeout=20) for side in (here, there)}
    halves = []
    counted = []

    def look() -> None:
        halves.append((domain.status(), there.domains["guest"].status()))
        counted.append(hosts.wait_for_count())
        domain.steer_migration(post_copy_bandwidth=1 << 40)

    moved = domain.migrate(
        there,
        bandwidth=SLOW,
        post_copy=True,
        post_copy_bandwidth=ENDLESS,
        progress=switching(domain, look, there),
    )
    assert halves == [
        (
            DomainStatus(DomainState.PAUSED, POSTCOPY),
            DomainStatus(DomainState.RUNNING, POSTCOPY),
        )
    ]
    assert counted, "the guest ran with part of its memory"
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    assert here.domains.list() == []
    assert len(hosts.processes()) == 1
    hosts.wait_for_count()
    assert told_of(heard[here], EventKind.STOPPED) == [
        (EventKind.SUSPENDED, "post-copy"),
        (EventKind.STOPPED, "migrated"),
    ]
    assert told_of(heard[there], EventKind.RESUMED, 2) == [
        (EventKind.STARTED, "migrated"),
        (EventKind.RESUMED, "post-copy"),
        (EventKind.RESUMED, "migrated"),
    ]


def told_of(events: Any, last: EventKind, times: int = 1) -> list[tuple[EventKind, str]]:
    """Return what happened to a domain's life, up to something that happens so many times."""
    life = (EventKind.STARTED, EventKind.SUSPENDED, EventKind.RESUMED, EventKind.STOPPED)
    heard: list[tuple[EventKind, str]] = []
    for event in events:
        if event.kind in life:
            heard.append((event.kind, event.detail))
            times -= event.kind is last
        if not times:
            break
    return heard


def test_switched_when_its_time_is_up(hosts: Hosts) -> None:
    """A migration that does not come to an end in time goes on as post-copy."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    phases = set()
    moved = domain.migrate(
        there,
        bandwidth=SLOW,
        post_copy=True,
        timeout=0.5,
        timeout_action="post-copy",
        progress=lambda told: phases.add(told.phase),
    )
    assert "post-copy" in phases
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    hosts.wait_for_count()


def test_switched_after_a_pass(hosts: Hosts) -> None:
    """The command line switches a guest that writes too fast to be sent, as virsh does."""
    here, there = hosts.open("a"), hosts.open("b")
    spec = hosts.counting(memory=MEMORY)
    write_image(hosts.root / "tick.img", writing=True)
    here.domains.create(spec)
    hosts.wait_for_count()
    heard = here.events(timeout=60)
    line = [sys.executable, "-m", "polyvisor", "-c", hosts.uri("a"), "migrate", "--live", "guest"]
    line += [hosts.uri("b"), "--postcopy", "--postcopy-after-precopy", "--bandwidth", "1"]
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert told_of(heard, EventKind.STOPPED)[0] == (EventKind.SUSPENDED, "post-copy")
    moved = there.domains["guest"]
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    hosts.wait_for_count()


def test_allowed_but_not_needed(hosts: Hosts) -> None:
    """A guest that gets there before anybody switches it has migrated as any other."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    moved = domain.migrate(there, post_copy=True)
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    back = moved.migrate(here, post_copy=True)
    assert back.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    back.suspend()
    back.save(hosts.root / "image")  # QEMU is not left with the means of a migration.
    here.domains.restore(hosts.root / "image").destroy()


def test_begun_without(hosts: Hosts) -> None:
    """What was not begun as post-copy cannot be switched, and goes on."""
    domain = hosts.open("a").domains.create(hosts.counting(memory=MEMORY))
    refused = []

    def ask() -> None:
        with pytest.raises(OperationInvalid, match="begun without post_copy") as caught:
            domain.steer_migration(post_copy=True)
        refused.append(caught.value)
        domain.steer_migration(bandwidth=1 << 40)

    moved = domain.migrate(hosts.open("b"), bandwidth=SLOW, progress=hosts.once_sending(ask))
    assert refused
    assert moved.state is DomainState.RUNNING


@pytest.mark.parametrize(
    "means",
    [{"parallel": True}, {"compression": ["mt"]}, {"tunnelled": True}],
    ids=lambda means: next(iter(means)),
)
def test_what_does_not_go_with_it(hosts: Hosts, means: dict[str, Any]) -> None:
    """It is refused before the guest is touched."""
    domain = hosts.open("a").domains.create(hosts.counting())
    there = hosts.open("b")
    with pytest.raises(Unsupported, match="post_copy does not go with"):
        domain.migrate(there, post_copy=True, peer_to_peer="tunnelled" in means, **means)
    assert domain.status() == DomainStatus(DomainState.RUNNING, StateReason.BOOTED)
    assert there.domains.list() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run guests as others")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="apt install util-linux")
def test_a_host_that_does_not_let_qemu(hosts: Hosts, make_spec: Callable[..., Any]) -> None:
    """A destination at which QEMU cannot have userfaultfd says so, and the guest is as it was."""
    allowed = Path("/proc/sys/vm/unprivileged_userfaultfd")
    if not allowed.exists() or allowed.read_text().strip() != "0":
        pytest.skip("this host lets everybody have userfaultfd")
    domain = hosts.open("a").domains.create(make_spec())
    hosts.root.parent.chmod(0o711)
    hosts.root.chmod(0o711)
    config = hosts.root / "user.toml"
    config.write_text("[plugins.qemu]\nuser = 'nobody'\n")
    there = polyvisor.open(f"qemu:///system?root={hosts.root / 's'}", config=config)
    hosts.opened.append(there)
    with pytest.raises(MigrationError, match="userfaultfd, for root or with the sysctl") as caught:
        domain.migrate(there, post_copy=True)
    assert (caught.value.phase, caught.value.owner) == ("prepare", "source")
    assert domain.status() == DomainStatus(DomainState.RUNNING, StateReason.BOOTED)
    assert there.domains.list() == []
    assert len(hosts.processes()) == 1


def test_cancelling_comes_too_late(hosts: Hosts) -> None:
    """From the switch on nothing is given up, whoever asks for it."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    moved = domain.migrate(
        there,
        bandwidth=SLOW,
        post_copy=True,
        post_copy_bandwidth=REST,
        progress=switching(domain, domain.abort_job),
    )
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    hosts.wait_for_count()
    assert len(hosts.processes()) == 1


@pytest.mark.parametrize("peer_to_peer", [False, True])
def test_cut_off_and_taken_up_again(hosts: Hosts, peer_to_peer: bool) -> None:
    """Either side keeps its half until the stream flows again, and then the guest is whole."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.define(hosts.counting(memory=MEMORY))
    domain.start()
    hosts.wait_for_count()
    destination = hosts.uri("b") if peer_to_peer else there

    def cut() -> None:
        domain.steer_migration(post_copy_pause=True)

    with pytest.raises(MigrationError, match="cut off before all of its memory") as caught:
        domain.migrate(
            destination,
            bandwidth=SLOW,
            post_copy=True,
            post_copy_bandwidth=ENDLESS,
            undefine_source=True,
            progress=switching(domain, cut, there),
        )
    assert caught.value.owner == "destination"
    failed = StateReason.POSTCOPY_FAILED
    assert domain.status() == DomainStatus(DomainState.PAUSED, failed)
    arrived = there.domains["guest"]
    halves = DomainStatus(DomainState.RUNNING, failed)
    until(lambda: arrived.status() == halves, "the destination does not see it")
    with pytest.raises(OperationInvalid, match="the rest of its memory is here"):
        domain.resume()
    with pytest.raises(OperationInvalid, match="the rest of its memory is here"):
        domain.abort_job()
    assert len(hosts.processes()) == 2

    again = domain.migrate(destination, post_copy=True, post_copy_resume=True, undefine_source=True)
    assert again.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    assert here.domains.list() == []
    hosts.wait_for_count()
    assert len(hosts.processes()) == 1
    with pytest.raises(OperationInvalid, match="no migration of it by post-copy was cut off"):
        again.migrate(here, post_copy=True, post_copy_resume=True)


#: Where the process that drives a migration dies: what it does, and how.
DEATHS = {
    "before the word": "die_in(polyvisor_qemu.postcopy, 'suppress')",
    "with the word": "die_after_word()",
    "before finish": "die_in(LocalMigration, 'finish')",
    "in finish": "die_in(polyvisor.local._launch, 'let_run')",
    "before confirm": "die_in(LocalMigration, 'confirm')",
    "in confirm": "die_in(polyvisor_qemu.postcopy, 'send_rest')",
    "after the rest": "die_in(polyvisor.local._departure, 'let_go')",
}
DYING = """
import signal
import polyvisor.local._launch, polyvisor.local._departure, polyvisor_qemu.postcopy
from polyvisor.local._migration import LocalMigration
from polyvisor_qemu.qmp import Monitor

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in(owner, name):
    setattr(owner, name, die)

def die_after_word():
    plain = Monitor.execute
    def execute(self, command, **arguments):
        answer = plain(self, command, **arguments)
        if command == "migrate-start-postcopy":
            die()
        return answer
    Monitor.execute = execute

def progress(told):
    if told.processed and told.phase != "post-copy":
        domain.steer_migration(post_copy=True)

peer, death = sys.argv[1:3]
domain = polyvisor.open(uri).domains["guest"]
exec(death)
domain.migrate(
    polyvisor.open(peer), bandwidth=100_000, post_copy=True, post_copy_bandwidth=400_000,
    progress=progress, undefine_source=True,
)
"""


@pytest.mark.parametrize(
    ("death", "first"),
    [(death, "a") for death in DEATHS]
    + [(death, "b") for death in ("before the word", "with the word", "before finish")],
)
def test_killed(hosts: Hosts, death: str, first: str) -> None:
    """Whoever drives it dies: the guest runs on one side, whichever is looked at first."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.define(hosts.counting(memory=MEMORY))
    domain.start()
    hosts.wait_for_count()
    with hosts.start_process(DYING, hosts.uri("b"), DEATHS[death]) as process:
        _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    sides = {"a": here, "b": there}
    where = "b" if first == "a" else "a"
    owners: list[Connection] = []

    def settled() -> bool:
        owners.clear()
        for side in (sides[first], sides[where]):
            with suppress(NotFound):  # It may go between two looks.
                status = side.domains["guest"].status()
                if status.state is DomainState.RUNNING and status.reason is not POSTCOPY:
                    owners.append(side)
        return len(owners) == 1 and len(hosts.processes()) == 1

    until(settled, "nobody has it")
    assert owners[0] is (here if death == "before the word" else there)
    hosts.wait_for_count()
    owned = owners[0].domains["guest"]
    assert [each.persistent for each in owners[0].domains.summaries()] == [True]
    other = there if owners[0] is here else here
    assert other.domains.list() == []
    owned.migrate(other, persistent=True, undefine_source=True)
    hosts.wait_for_count()


def test_the_destination_dies_after_the_switch(hosts: Hosts) -> None:
    """Its guest is lost, which is said; nobody has a half of it, or believes to."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.define(hosts.counting(memory=MEMORY))
    domain.start()
    hosts.wait_for_count()
    (ours,) = hosts.processes()

    def kill() -> None:
        hosts.wait_for_count()
        (theirs,) = set(hosts.processes()) - {ours}
        hosts.kill(theirs)

    with pytest.raises(MigrationError, match="its guest was lost there") as caught:
        domain.migrate(
            there,
            bandwidth=SLOW,
            post_copy=True,
            post_copy_bandwidth=ENDLESS,
            persistent=True,
            undefine_source=True,
            progress=switching(domain, kill, there),
        )
    assert caught.value.owner == "destination"
    assert hosts.processes() == []
    assert here.domains.list() == []
    left = there.domains["guest"]
    assert left.state is DomainState.SHUTOFF
    left.start()
    hosts.wait_for_count()


def test_the_source_dies_after_the_switch(hosts: Hosts) -> None:
    """What is left of its guest stands at the destination, which has it, and says so."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    (ours,) = hosts.processes()

    def kill() -> None:
        os.kill(ours, signal.SIGKILL)

    with pytest.raises(PolyvisorError):
        domain.migrate(
            there,
            bandwidth=SLOW,
            post_copy=True,
            post_copy_bandwidth=ENDLESS,
            progress=switching(domain, kill, there),
        )
    until(lambda: here.domains.list() == [], "the source does not see that its guest is gone")
    arrived = there.domains["guest"]
    failed = DomainStatus(DomainState.RUNNING, StateReason.POSTCOPY_FAILED)
    until(lambda: arrived.status() == failed, "the destination does not see it")
    arrived.destroy()
    assert there.domains.list() == []
    assert hosts.processes() == []
