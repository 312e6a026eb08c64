"""polyvisord beside libvirtd: the same client, libvirt-python, and the same driver behind both.

The client takes half of the time or more where there is much to tell, so the same is measured
with answers that are ready made, and with a client that does not look at what it is told.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from harness import Row, alternate, ours, peer
from libvirt_host import libvirt_host

__all__ = ["TITLE", "measure"]

TITLE = "Over a local socket, libvirt-python as the client of both, beside libvirtd"

_WHAT = {
    "connect": "connect and disconnect",
    "hostname": "host name",
    "by_name": "look up by name",
    "info": "`dominfo`",
    "state": "state",
    "active": "is it active",
    "xml": "`dumpxml`",
    "count": "count the active domains",
    "list_1": "list all, 1 domain",
    "list_100": "list all, 100 domains",
    "states_100": "figures of 100 domains, their state alone",
    "stats_100": "figures of 100 domains",
    "together": "is it active, from 4 threads",
}
#: All figures have no target: libvirt's test driver knows the state alone.
_MOST = {"list_100": 0.5, "states_100": 0.5, "stats_100": None, "connect": None}
#: What is measured with ready-made answers too.
_READY = ("list_100", "states_100", "stats_100")
_QEMU = {
    "list": "list all, 100 QEMU domains",
    "states": "figures of 100 QEMU domains, their state alone",
    "stats": "figures of 100 QEMU domains",
}


def measure(rounds: int) -> list[Row]:
    """Alternate both daemons; each round is a client process of its own."""
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder = Path(name)
        with (
            daemon(folder / "ours") as (socket, pid),
            ready_made(folder / "r", socket) as ready,
            libvirt_host(folder / "l", "wire") as uri,
        ):
            theirs = uri.replace("qemu+unix:///system", "test+unix:///default")
            mine, other, floor = alternate(
                rounds,
                peer("peers/wire.py", f"test+unix:///default?socket={socket}"),
                peer("peers/wire.py", theirs),
                peer("peers/wire.py", f"test+unix:///default?socket={ready}"),
            )
            alone, other_alone = alternate(
                rounds,
                ours("wire_bytes.py", f"test+unix:///default?socket={socket}"),
                ours("wire_bytes.py", theirs),
            )
            guests, their_guests = alternate(
                rounds,
                peer("peers/wire_qemu.py", f"qemu+unix:///system?socket={socket}"),
                peer("peers/wire_qemu.py", uri),
            )
            many = ours("wire_memory.py", socket, str(pid))()
    rows = [Row(what, mine[key], other[key], _MOST.get(key, 1.0)) for key, what in _WHAT.items()]
    return [
        *rows,
        *(Row(f"({_WHAT[key]}, ready-made answers)", floor[key], other[key]) for key in _READY),
        *(
            Row(f"({_WHAT[key]}, answers not looked at)", alone[key], other_alone[key], _MOST[key])
            for key in _READY
        ),
        *(Row(what, guests[key], their_guests[key], 0.5) for key, what in _QEMU.items()),
        Row("connect and disconnect, no more than 2 ms", mine["connect"], most=0.002),
        Row("99 of 100 answers while 100 clients are busy", many["p99"], most=0.05),
        Row("memory with 1,000 idle clients", many["idle_memory"], most=60 * 2**20, unit="bytes"),
    ]


@contextmanager
def ready_made(path: Path, socket: str) -> Iterator[str]:
    """Run what has ready-made answers before a daemon; yield its socket."""
    command = [sys.executable, str(Path(__file__).with_name("wire_ready.py")), str(path), socket]
    process = subprocess.Popen(command)
    try:
        wait_for(path, process)
        yield str(path)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[str, int]]:
    """Run polyvisord; yield its socket and its process."""
    folder.mkdir()
    socket = folder / "s"
    (folder / "polyvisor.toml").write_text(f"root = '{folder}/root'\n")
    command = [sys.executable, "-m", "polyvisor_remote", "--listen", f"unix:{socket}"]
    process = subprocess.Popen([*command, "--config", str(folder / "polyvisor.toml")])
    try:
        wait_for(socket, process)
        yield str(socket), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has its socket."""
    end = monotonic() + 30
    while not socket.exists():
        if process.poll() is not None or monotonic() > end:
            raise RuntimeError(f"{process.args} did not start")
        sleep(0.05)
