"""How a destination notices that the rest of its guest does not come, with nobody looking."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from halves import ENDLESS, MEMORY, SLOW, need_faults, switching

from polyvisor.errors import MigrationError
from polyvisor.local import PostCopy
from polyvisor.states import DomainState, DomainStatus, StateReason

if TYPE_CHECKING:
    from polyvisor.connection import Connection

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Seconds that somebody works on the domain for.
WORK = 1.5
#: Seconds in which a stream is cut off.
CUTTING = 2.0
LISTENING = """
with polyvisor.open(sys.argv[1]) as connection:
    events = connection.events(timeout=60)
    print("listens", flush=True)
    for event in events:
        print(event.kind, event.detail, flush=True)
"""


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hosts that cannot ask each other once the stream is cut off, as if a wire were."""
    need_faults()
    monkeypatch.setattr("polyvisor.local._switched._over_there", lambda hold: PostCopy.BROKEN)


@pytest.fixture
def cut() -> Iterator[threading.Event]:
    """Hold what says that the stream is cut off; who waits for the guest is gone before it is."""
    said, undo = threading.Event(), pytest.MonkeyPatch()

    def wait(*args: object) -> None:
        assert said.wait(60)
        time.sleep(CUTTING)
        undo.undo()
        raise MigrationError("cut off before all of its memory had arrived", owner="destination")

    undo.setattr("polyvisor.local._switched.wait_for_rest", wait)
    yield said
    undo.undo()


@contextmanager
def listening(hosts: Hosts) -> Iterator[subprocess.Popen[str]]:
    """Have a process listen at the destination, which is the one that watches there."""
    with hosts.start_process(LISTENING, hosts.uri("b")) as process:
        try:
            hear(process, "listens")
            yield process
        finally:
            process.kill()


def hear(process: subprocess.Popen[str], wanted: str) -> None:
    """Wait until such a process tells of something; it gives up after a minute of silence."""
    assert process.stdout is not None
    heard = []
    for line in process.stdout:
        heard.append(line.strip())
        if heard[-1] == wanted:
            return
    pytest.fail(f"it heard {heard}")


def cut_off(
    here: Connection,
    there: Connection,
    before: Callable[[], object],
    said: threading.Event | None = None,
) -> None:
    """Migrate a guest, do something after the switch, cut the stream off, and say so."""
    domain = here.domains["guest"]

    def cut() -> None:
        before()
        domain.steer_migration(post_copy_pause=True)
        if said is not None:
            said.set()

    with pytest.raises(MigrationError, match="cut off before all of its memory"):
        domain.migrate(
            there,
            bandwidth=SLOW,
            post_copy=True,
            post_copy_bandwidth=ENDLESS,
            progress=switching(domain, cut, there),
        )


def go_on(hosts: Hosts, here: Connection, there: Connection) -> None:
    """Look for the first time, and take the migration up again."""
    failed = DomainStatus(DomainState.RUNNING, StateReason.POSTCOPY_FAILED)
    assert there.domains["guest"].status() == failed
    moved = here.domains["guest"].migrate(there, post_copy=True, post_copy_resume=True)
    assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
    hosts.wait_for_count()


def test_while_somebody_works_on_it(hosts: Hosts) -> None:
    """It is told of once that is over, though what QEMU said came while the domain was held."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    locks = there.driver._keeper.home.locks
    begun: list[float] = []

    def work() -> None:
        taken = locks.acquire(str(domain.uuid), "test", 30)
        begun.append(time.monotonic())
        threading.Timer(WORK, taken.release).start()

    with listening(hosts) as watch:
        cut_off(here, there, work)
        assert time.monotonic() > begun[0] + WORK
        assert domain.status().reason is StateReason.POSTCOPY_FAILED
        hear(watch, "resumed post-copy-failed")
        go_on(hosts, here, there)
        hear(watch, "resumed migrated")


def test_by_one_that_was_started_anew(hosts: Hosts, cut: threading.Event) -> None:
    """The watch dies before the stream is cut off; the next one finds out, and goes on watching."""
    here, there = hosts.open("a"), hosts.open("b")
    here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    with listening(hosts) as watch:

        def kill() -> None:
            watch.send_signal(signal.SIGKILL)
            watch.wait(20)

        cut_off(here, there, kill, cut)
    with listening(hosts) as watch:
        hear(watch, "resumed post-copy-failed")
        go_on(hosts, here, there)
        hear(watch, "resumed migrated")


def test_by_one_that_came_after_the_switch(hosts: Hosts, cut: threading.Event) -> None:
    """It hears of it though QEMU as a whole may wait for a page, and lets nobody in by then."""
    here, there = hosts.open("a"), hosts.open("b")
    here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    started: list[Any] = []

    def start() -> None:
        started.append(listening(hosts))
        started.append(started[0].__enter__())

    try:
        cut_off(here, there, start, cut)
        hear(started[1], "resumed post-copy-failed")
        go_on(hosts, here, there)
        hear(started[1], "resumed migrated")
    finally:
        for one in started[:1]:
            one.__exit__(None, None, None)
