"""A process runs until the last of its threads has ended, and is waited for when it has."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from polyvisor_qemu.process import Process, spawn

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
