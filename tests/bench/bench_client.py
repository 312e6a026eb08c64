"""Our client beside libvirt-python, both on the same libvirtd with its test driver."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import Row, alternate, ours, peer
from libvirt_host import libvirt_host

__all__ = ["TITLE", "measure"]

TITLE = "A libvirtd used over its local socket, beside libvirt-python"

_WHAT = {
    "connect": "connect and disconnect",
    "hostname": "host name",
    "by_name": "look up by name",
    "info": "figures of one",
    "state": "state",
    "active": "is it active",
    "xml": "`dumpxml`",
    "count": "count the active domains",
    "list_100": "list all, 100 domains",
    "states_100": "figures of 100 domains, their state alone",
    "stats_100": "figures of 100 domains",
    "together": "is it active, from 4 threads",
}
#: A rate of at least 0.8 × the binding's.
_MOST = 1.25


def measure(rounds: int) -> list[Row]:
    """Alternate both clients; each round is a process of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="pv-") as name,
        libvirt_host(Path(name) / "l", "client") as uri,
    ):
        where = uri.replace("qemu+unix:///system", "test+unix:///default")
        mine, other = alternate(rounds, ours("client_ours.py", where), peer("peers/wire.py", where))
    return [Row(what, mine[key], other[key], _MOST) for key, what in _WHAT.items()]
