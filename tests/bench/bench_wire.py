"""polyvisord beside libvirtd: the same client, libvirt-python, and the test driver behind both."""

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
_MOST = {"list_100": 0.5, "states_100": 0.5, "stats_100": 0.5, "connect": None}


def measure(rounds: int) -> list[Row]:
    """Alternate both daemons; each round is a client process of its own."""
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder = Path(name)
        with daemon(folder / "ours") as (socket, pid), libvirt_host(folder / "l", "wire") as uri:
            theirs = uri.replace("qemu+unix:///system", "test+unix:///default")
            mine, other = alternate(
                rounds,
                peer("peers/wire.py", f"test+unix:///default?socket={socket}"),
                peer("peers/wire.py", theirs),
            )
            many = ours("wire_memory.py", socket, str(pid))()
    rows = [Row(what, mine[key], other[key], _MOST.get(key, 1.0)) for key, what in _WHAT.items()]
    return [
        *rows,
        Row("connect and disconnect, no more than 2 ms", mine["connect"], most=0.002),
        Row("99 of 100 answers while 100 clients are busy", many["p99"], most=0.05),
        Row("memory with 1,000 idle clients", many["idle_memory"], most=60 * 2**20, unit="bytes"),
    ]


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[str, int]]:
    """Run polyvisord; yield its socket and its process."""
    folder.mkdir()
    socket = folder / "s"
    (folder / "polyvisor.toml").write_text(f"root = '{folder}/root'\n")
    command = [sys.executable, "-m", "polyvisor_remote", "--listen", f"unix:{socket}"]
    process = subprocess.Popen([*command, "--config", str(folder / "polyvisor.toml")])
    try:
        end = monotonic() + 30
        while not socket.exists():
            if process.poll() is not None or monotonic() > end:
                raise RuntimeError("polyvisord did not start")
            sleep(0.05)
        yield str(socket), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
