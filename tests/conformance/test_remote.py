"""The simulator behind polyvisord, driven over libvirt's protocol."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run polyvisord as a process of its own and hold its socket."""
    folder = tmp_path_factory.mktemp("daemon")
    config, socket, log = folder / "polyvisor.toml", folder / "sock", folder / "log"
    config.write_text("")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "polyvisor_remote", "--config", str(config)),
                *("--listen", f"unix:{socket}"),
            ],
            stderr=errors,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + 30
        while not os.path.exists(socket):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield str(socket)
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def target(daemon: str, tmp_path: Path, counting_spec, serial_ticks) -> Target:
    """Two hosts under the test's own folder, behind one daemon."""
    where = f"root={quote(str(tmp_path))}&socket={quote(daemon)}"
    return Target(
        uri=f"sim+unix:///a?{where}",
        peer=f"sim+unix:///b?{where}",
        spec=counting_spec("sim", 4),
        ticks=serial_ticks,
        against="simulator",
        served=True,
    )
