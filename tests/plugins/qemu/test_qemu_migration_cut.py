"""Migrations of real guests between two hosts with a wire between them, which is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import polyvisor
from polyvisor.errors import Cancelled, MigrationError, PolyvisorError
from polyvisor.states import DomainState, DomainStatus, StateReason

if TYPE_CHECKING:
    from polyvisor.connection import Connection

# The conftest's own class; tests are no package that could be imported from.
Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Addresses of the two ends (RFC 2544's network for tests; no other end is ever connected).
ENDS = {"a": "198.18.7.1", "b": "198.18.7.2"}
#: MiB of the guest and bytes per second: its empty pages alone take some seconds.
MEMORY, SLOW = 1024, 1 << 20
#: MiB of one whose pages take longer than it takes to see that it was switched.
LARGE = 3072


def ip(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``ip``."""
    return subprocess.run(["ip", *words], check=False, capture_output=True, text=True, timeout=30)


@attrs.frozen
class Wire:
    """Two hosts, each a polyvisord in a network namespace of its own.

    Attributes:
        spaces: their namespaces.
        sockets: where the daemons listen, which no wire leads to.
        daemons: their processes.
    """

    spaces: dict[str, str]
    sockets: dict[str, Path]
    daemons: dict[str, subprocess.Popen[bytes]]

    def open(self, end: str) -> Connection:
        """Open a host."""
        return polyvisor.open(f"qemu+unix:///session?socket={self.sockets[end]}")

    def set(self, state: str) -> None:
        """Plug the wire in (``up``) or pull it (``down``)."""
        done = ip("-n", self.spaces["b"], "link", "set", "wire", state)
        assert done.returncode == 0, done.stderr
        if state == "up":
            deadline = time.monotonic() + 20
            while "LOWER_UP" not in ip("-n", self.spaces["a"], "link", "show", "wire").stdout:
                assert time.monotonic() < deadline, "the wire does not come up"
                time.sleep(0.05)


@contextmanager
def daemon(space: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a polyvisord in a namespace and wait until it listens."""
    folder.mkdir(exist_ok=True)
    config = folder / "polyvisor.toml"
    config.write_text(f"root = '{folder}/root'\n")
    words = [
        "ip", "netns", "exec", space, sys.executable, "-m", "polyvisor_remote",
        "--config", str(config), "--listen", f"unix:{folder}/sock",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while "listens on" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def wire(hosts: Hosts) -> Iterator[Wire]:
    """Hold the two hosts; guests that are left are ended with them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip (Debian: iproute2)")
    spaces = {end: f"polyvisor-{os.getpid()}-{end}" for end in ENDS}
    with ExitStack() as stack:
        for space in spaces.values():
            done = ip("netns", "add", space)
            if done.returncode != 0:
                pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
            stack.callback(ip, "netns", "del", space)
        ip(
            "-n", spaces["a"], "link", "add", "wire", "type", "veth",
            "peer", "name", "wire", "netns", spaces["b"],
        )  # fmt: skip
        for end, space in spaces.items():
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{ENDS[end]}/30", "dev", "wire"),
                ("link", "set", "wire", "up"),
            ):
                done = ip("-n", space, *words)
                assert done.returncode == 0, done.stderr
        daemons = {
            end: stack.enter_context(daemon(space, hosts.root / f"d{end}"))
            for end, space in spaces.items()
        }
        found = Wire(spaces, {end: hosts.root / f"d{end}" / "sock" for end in ENDS}, daemons)
        found.set("up")
        yield found
        for end in ENDS:
            if daemons[end].poll() is None:
                with found.open(end) as connection:
                    for domain in connection.domains.list(inactive=False):
                        domain.destroy()


def test_the_wire_is_cut(hosts: Hosts, wire: Wire) -> None:
    """Nothing gets through any more: when the time is up the guest is at home, and only there."""
    with wire.open("a") as here, wire.open("b") as there:
        domain = here.domains.create(hosts.counting(memory=MEMORY))
        hosts.wait_for_count()
        (ours,) = hosts.processes()
        cut: list[bool] = []

        def pull() -> None:
            wire.set("down")
            cut.append(True)

        with pytest.raises(Cancelled, match="not done after 8 s"):
            domain.migrate(
                there,
                uri=f"tcp:{ENDS['b']}",
                bandwidth=SLOW,
                timeout=8,
                timeout_action="abort",
                progress=hosts.once_sending(pull),
            )
        assert cut
        assert domain.state is DomainState.RUNNING
        assert there.domains.list() == []
        assert hosts.processes() == [ours]
        hosts.wait_for_count()
        wire.set("up")
        moved = domain.migrate(there, uri=f"tcp:{ENDS['b']}")
        assert moved.state is DomainState.RUNNING
        assert here.domains.list() == []
        hosts.wait_for_count()
        assert len(hosts.processes()) == 1


def test_the_destination_is_lost(hosts: Hosts, wire: Wire) -> None:
    """Its daemon and its QEMU die in the stream: the guest runs on, with no other anywhere."""
    with wire.open("a") as here, wire.open("b") as there:
        domain = here.domains.create(hosts.counting(memory=MEMORY))
        hosts.wait_for_count()
        (ours,) = hosts.processes()

        def lose() -> None:
            wire.set("down")
            (theirs,) = set(hosts.processes()) - {ours}
            hosts.kill(theirs)
            wire.daemons["b"].kill()

        with pytest.raises(PolyvisorError):
            domain.migrate(
                there,
                uri=f"tcp:{ENDS['b']}",
                bandwidth=SLOW,
                timeout=8,
                timeout_action="abort",
                progress=hosts.once_sending(lose),
            )
        assert domain.state is DomainState.RUNNING
        hosts.wait_for_count()
        assert hosts.processes() == [ours]
    wire.set("up")
    with (
        daemon(wire.spaces["b"], hosts.root / "db"),
        wire.open("a") as here,
        wire.open("b") as there,
    ):
        assert there.domains.list() == []
        domain = here.domains["guest"]
        moved = domain.migrate(there, uri=f"tcp:{ENDS['b']}")
        assert moved.state is DomainState.RUNNING
        hosts.wait_for_count()
        moved.destroy()


def test_cut_after_the_switch(hosts: Hosts, wire: Wire) -> None:
    """Nothing comes any more after the switch to post-copy: each side keeps its half.

    Neither notices, for TCP is patient; the source is told so. When the wire is whole again the
    rest is fetched, though all of the destination's QEMU may wait for a page by then.
    """
    faulty = subprocess.run(
        [sys.executable, "-c", "import ctypes; exit(ctypes.CDLL(None).syscall(323, 0) < 0)"],
        check=False,
    )
    if faulty.returncode != 0:
        pytest.skip("post-copy needs userfaultfd, which this host does not let root have")
    with wire.open("a") as here, wire.open("b") as there, wire.open("a") as aside:
        domain = here.domains.create(hosts.counting(memory=LARGE))
        hosts.wait_for_count()
        seen: list[BaseException] = []

        def pull() -> None:
            try:
                watched = aside.domains["guest"]
                halves = DomainStatus(DomainState.PAUSED, StateReason.POSTCOPY)
                deadline = time.monotonic() + 30
                while watched.status() != halves:
                    assert time.monotonic() < deadline, watched.status()
                    time.sleep(0.02)
                with wire.open("b") as over_there:
                    while over_there.domains["guest"].status() != DomainStatus(
                        DomainState.RUNNING, StateReason.POSTCOPY
                    ):
                        assert time.monotonic() < deadline, over_there.domains["guest"].status()
                        time.sleep(0.02)
                wire.set("down")
                watched.steer_migration(post_copy_pause=True)
            except BaseException as error:
                seen.append(error)
                wire.set("down")
                raise

        puller = threading.Thread(target=pull)
        puller.start()
        with pytest.raises(MigrationError, match="cut off before all of its memory"):
            domain.migrate(
                there,
                uri=f"tcp:{ENDS['b']}",
                bandwidth=SLOW,
                post_copy=True,
                post_copy_bandwidth=SLOW,
                progress=hosts.once_sending(lambda: domain.steer_migration(post_copy=True)),
            )
        puller.join()
        assert seen == []
        assert domain.status() == DomainStatus(DomainState.PAUSED, StateReason.POSTCOPY_FAILED)
        assert len(hosts.processes()) == 2
        wire.set("up")
        moved = domain.migrate(there, uri=f"tcp:{ENDS['b']}", post_copy=True, post_copy_resume=True)
        assert moved.status() == DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
        assert here.domains.list() == []
        hosts.wait_for_count()
        assert len(hosts.processes()) == 1
