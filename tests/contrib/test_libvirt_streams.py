"""Streams, events, loops and migration of the module ``libvirt``, beside libvirt's binding."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

SOURCE = Path(__file__).parents[2] / "contrib" / "libvirt-python"
HERE = Path(__file__).parent
BINDING = "/usr/bin/python3"
AIO = Path("/usr/lib/python3/dist-packages/libvirtaio.py")


def run(python: str, script: str, *arguments: str, path: str = "") -> str:
    """Run a script and return what it prints."""
    environment = {**os.environ, "HOME": "/nonexistent", "LC_ALL": "C"}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        [python, str(HERE / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_a_daemon(folder: Path) -> list[list[str]]:
    """Run the script of streams on two hosts in its own process."""
    (folder / "pool").mkdir()
    here, there = (f"sim:///{name}?root={folder}/root" for name in "ab")
    arguments = (here, there, str(folder / "pool"), there)
    found: list[list[str]] = json.loads(
        run(sys.executable, "libvirt_streams.py", *arguments, path=str(SOURCE))
    )
    return found


def test_streams_events_and_migration_without_a_daemon(own_home: Path) -> None:
    """What a script asks for in its own process it gets, from streams to moving a guest."""
    said = without_a_daemon(own_home)
    assert len(said) > 25
    assert said[0] == ["'tick'"]
    assert said[-1] == ["True", "True"]


@attrs.frozen
class Daemon:
    """A polyvisord of its own."""

    socket: Path
    port: int

    def uris(self) -> tuple[str, str, str]:
        """Return two hosts, and the second one as the daemon itself can open it."""
        here, there = (f"sim+unix:///{name}?socket={self.socket}" for name in "ab")
        return here, there, f"sim+tcp://127.0.0.1:{self.port}/b"


@pytest.fixture
def daemon(own_home: Path) -> Iterator[Daemon]:
    """Run polyvisord on a local socket, and on a port for its own migrations."""
    folder = own_home / "d"
    folder.mkdir()
    (folder / "polyvisor.toml").write_text(
        f"root = '{folder}/root'\n[plugins.remote]\nauth_tcp = 'none'\n"
    )
    command = [sys.executable, "-m", "polyvisor_remote", "--listen", f"unix:{folder}/s"]
    command += ["--listen", "tcp:127.0.0.1:0", "--config", str(folder / "polyvisor.toml")]
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        deadline = time.monotonic() + 30
        while not (found := re.search(r"listens on tcp:127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield Daemon(folder / "s", int(found[1]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def need(found: bool) -> None:
    """Skip where libvirt's binding is not installed, or fail."""
    if not found:
        reason = "libvirt's binding is not installed: apt install python3-libvirt"
        if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.real
def test_the_binding_says_the_same(daemon: Daemon, own_home: Path) -> None:
    """Every answer and every error is what libvirt's binding gets from polyvisord."""
    need(subprocess.run([BINDING, "-c", "import libvirt"], check=False).returncode == 0)
    alone = own_home / "alone"
    alone.mkdir()
    said = []
    for python, path in ((BINDING, ""), (sys.executable, str(SOURCE))):
        here, there, far = daemon.uris()
        pool = own_home / f"pool-{len(said)}"
        pool.mkdir()
        arguments = (here, there, str(pool), far)
        said.append(json.loads(run(python, "libvirt_streams.py", *arguments, path=path)))
    theirs, ours = said
    assert ours == theirs
    assert without_a_daemon(alone) == theirs


@pytest.mark.real
@pytest.mark.parametrize("side", ["binding", "ours"])
def test_a_loop_of_somebody_elses(side: str, daemon: Daemon, tmp_path: Path) -> None:
    """``libvirtaio``, libvirt's own, has its functions called in asyncio's loop."""
    need(AIO.exists())
    shutil.copy(AIO, tmp_path)
    uri = f"test+unix:///default?socket={daemon.socket}"
    if side == "binding":
        said = run(BINDING, "libvirt_loop.py", uri)
    else:
        said = run(sys.executable, "libvirt_loop.py", uri, path=f"{SOURCE}:{tmp_path}")
    events = [("p", 0, 0, "x"), ("p", 2, 0, "x"), ("p", 5, 1, "x"), ("p", 1, 0, "x")]
    assert said.strip() == str(events)
