"""Hearing of changes without polling."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor_sim.bell import Bell, FifoBell, Listener, ProcessBell


@pytest.fixture(params=["fifo", "process"])
def bell(request: pytest.FixtureRequest, tmp_path: Path) -> Bell:
    """Hold a bell nobody listens to."""
    return FifoBell(str(tmp_path / "bell")) if request.param == "fifo" else ProcessBell()


def heard(listener: Listener, timeout: float = 0) -> bool:
    """Say whether the bell has rung, waiting ``timeout`` seconds at most."""
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def test_ringing_where_nobody_listens_does_nothing(bell: Bell) -> None:
    """Neither before nor after there were listeners is ringing an error."""
    bell.ring()
    bell.listen().close()
    bell.ring()


def test_everybody_hears_each_ring(bell: Bell) -> None:
    """All listeners hear a ring, and hear the next one once they are ready for it."""
    with bell.listen() as one, bell.listen() as other:
        assert not heard(one)
        bell.ring()
        assert heard(one)
        assert heard(other)
        one.rearm()
        assert not heard(one)
        assert heard(other), "another's being ready again changes nothing"
        bell.ring()
        assert heard(one)
        other.rearm()
        assert not heard(other)


def test_rings_before_being_ready_are_one(bell: Bell) -> None:
    """Many rings wake a listener once."""
    with bell.listen() as listener:
        for _ in range(1000):
            bell.ring()
        assert heard(listener)
        listener.rearm()
        assert not heard(listener)


def test_another_process_rings(tmp_path: Path) -> None:
    """A bell on disk is heard across processes, and a killed listener disturbs nobody."""
    path = str(tmp_path / "bell")
    code = (
        "import sys; from polyvisor_sim.bell import FifoBell; import os, signal\n"
        "bell = FifoBell(sys.argv[1]); listener = bell.listen(); bell.ring()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with FifoBell(path).listen() as listener:
        child = subprocess.Popen([sys.executable, "-c", code, path])
        assert heard(listener, 10)
        child.wait()
        listener.rearm()
        FifoBell(path).ring()
        assert heard(listener)
