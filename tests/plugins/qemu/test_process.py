"""A process runs until the last of its threads has ended; it is waited for, and watched."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from polyvisor_qemu.process import Process, Watch, spawn

# Its first thread ends and leaves another behind, as exit_group() may for a moment.
LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def _state(process: Process) -> str:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def _wait_for_zombie(process: Process) -> None:
    deadline = time.monotonic() + 30
    while _state(process) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_threads_outlive_the_first(tmp_path: Path) -> None:
    """A process whose first thread alone has ended runs, and can be ended."""
    process = spawn([sys.executable, "-c", LEADERLESS], fds={}, log=str(tmp_path / "log"))
    try:
        _wait_for_zombie(process)
        assert process.alive
        assert not process.wait(0.1)
    finally:
        process.kill()
    assert not process.alive
    assert not Path(f"/proc/{process.pid}").exists()


def test_whoever_finds_it_ended_waits_for_it(tmp_path: Path) -> None:
    """Looking once whether it runs leaves no zombie behind."""
    process = spawn([sys.executable, "-c", ""], fds={}, log=str(tmp_path / "log"))
    _wait_for_zombie(process)
    assert not process.alive
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)


def test_a_watch_tells_that_any_has_ended(tmp_path: Path) -> None:
    """Not before, from then on each time, and it holds no descriptor when it is dropped."""
    before = len(os.listdir("/proc/self/fd"))
    line = [sys.executable, "-c", "import time; time.sleep(60)"]
    first, second = (spawn(line, fds={}, log=str(tmp_path / "log")) for _ in range(2))
    try:
        watch = Watch((first, second))
        assert not watch.ended()
        second.kill()
        assert watch.ended()
        assert watch.ended()
        with pytest.raises(ProcessLookupError):
            Watch((first, second))
        del watch
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        for process in (first, second):
            process.kill()


def test_a_watch_leaves_descriptors_for_others() -> None:
    """More processes than a fraction of the descriptors that we may have are not watched."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))
    try:
        with pytest.raises(OSError, match="too many"):
            Watch([Process.of(os.getpid())] * 101)
        assert not Watch([Process.of(os.getpid())] * 100).ended()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
