"""QEMU that is stopped (SIGSTOP) while a guest of it is saved or migrated."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import MigrationError, PolyvisorError, Timeout
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Bytes per second, at which a guest is on its way for a while.
SLOW = 100_000
#: Seconds in which an operation has given up a QEMU that answers no more.
PATIENCE = 100


def stopping(stopped: list[int], pid: int) -> Any:
    """Return a progress function that stops a QEMU as soon as something is told of its work."""

    def progress(told: JobProgress) -> None:
        if not stopped:
            stopped.append(pid)
            os.kill(pid, signal.SIGSTOP)

    return progress


def let_go_on(stopped: list[int]) -> None:
    """Let it go on, if it is there yet."""
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_while_a_guest_migrates(hosts: Hosts) -> None:
    """It fails in words and in time; the guest is the source's, and goes on once it can."""
    here, there = hosts.open("a", answer_timeout=2), hosts.open("b")
    domain = here.domains.create(hosts.counting())
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    stopped: list[int] = []
    begun = time.monotonic()
    try:
        with pytest.raises(MigrationError, match="stopped or hangs") as caught:
            domain.migrate(there, bandwidth=SLOW, progress=stopping(stopped, ours))
    finally:
        let_go_on(stopped)
    assert time.monotonic() < begun + PATIENCE
    assert caught.value.owner == "source"
    assert there.domains.list() == []
    assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()
    assert hosts.processes() == [ours]
    moved = domain.migrate(there)
    hosts.wait_for_count()
    assert moved.state is DomainState.RUNNING
    assert len(hosts.processes()) == 1


def test_while_a_guest_is_saved(hosts: Hosts) -> None:
    """There is no image; the guest goes on once it can, and can be saved then."""
    host = hosts.open(answer_timeout=2)
    domain = host.domains.create(hosts.counting(memory=1024))
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    stopped: list[int] = []
    image = hosts.root / "image"

    def stop() -> None:
        deadline = time.monotonic() + 30
        while not list(hosts.root.glob(".image*")):  # where it is written
            assert time.monotonic() < deadline
        stopped.append(ours)
        os.kill(ours, signal.SIGSTOP)

    watcher = threading.Thread(target=stop)
    try:
        watcher.start()
        with pytest.raises(Timeout, match="stopped or hangs"):
            domain.save(image)
    finally:
        watcher.join()
        let_go_on(stopped)
    assert not image.exists()
    assert list(hosts.root.glob(".image*")) == []
    deadline = time.monotonic() + 30
    while True:
        with suppress(PolyvisorError):
            if domain.state is DomainState.PAUSED:
                domain.resume()
            if domain.state is DomainState.RUNNING:
                break
        assert time.monotonic() < deadline
    hosts.wait_for_count()
    domain.save(image)
    assert hosts.processes() == []
    host.domains.restore(image)
    hosts.wait_for_count()
