"""polyvisord as a process of its own, and libvirt's programs beside it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

__all__ = ["Served", "need", "run", "served"]


@attrs.frozen
class Served:
    """A daemon that runs.

    Attributes:
        folder: where its files are.
        pid: its process.
        socket: its local socket.
        port: its TCP port, or ``None``.
    """

    folder: Path
    pid: int
    socket: str
    port: int | None = None

    def uri(self, scheme: str = "test", path: str = "/default") -> str:
        """Return a URI for libvirt's clients."""
        return f"{scheme}+unix://{path}?socket={self.socket}"


def need(program: str, package: str) -> str:
    """Return the path of a program, or skip; where nothing may be skipped, fail."""
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed: apt install {package}"
        if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(*command: str, timeout: float = 60, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"},
    )


@contextmanager
def served(folder: Path, *options: str, config: str = "", ends: int = 0) -> Iterator[Served]:
    """Run a daemon with a root of its own, and end it; ``ends`` is the status to expect."""
    folder.mkdir(exist_ok=True)
    file = folder / "polyvisor.toml"
    file.write_text(f"root = '{folder}/root'\n{config}")
    socket = f"{folder}/sock"
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "polyvisor_remote",
            "--config",
            str(file),
            "--listen",
            f"unix:{socket}",
            *options,
        ],
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while "listens on" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield Served(folder, process.pid, socket)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == ends, (folder / "log").read_text()
        finally:
            process.kill()
            log.close()
    assert os.path.exists(socket) is (ends != 0)
