"""Runs in both control domains: live migration between two hosts, and what undoes it.

``h2`` answers calls; ``h1`` does all the rest and says when it is done.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from far import PORT, Wire, start_polyvisord
from guests import Counter, is_whole, note, run, start_libvirt, timed, virsh, xml

import polyvisor
from polyvisor.driver import UndefineOptions
from polyvisor.errors import Cancelled, PolyvisorError
from polyvisor.states import DomainState, DomainSummary

if TYPE_CHECKING:
    from polyvisor.domain import Domain

HERE, THERE = "10.9.0.1", "10.9.0.2"
SERVER = "import far\nfar.serve()\n"
PEER = f"far://{THERE}/system"
#: Where polyvisord listens on the other host.
DAEMON = 16510
#: Where libvirt's daemon listens there.
LIBVIRTD = 16509
#: Seconds that a whole live migration took, once one has.
TOOK = {"live": 10.0}


def configure(address: str) -> None:
    """Say at which address guests arrive, and that polyvisord trusts its network."""
    config = Path("/root/polyvisor.toml")
    config.write_text(
        f'[plugins.libxl]\nmigration_address = "{address}"\n[plugins.remote]\nauth_tcp = "none"\n'
    )
    os.environ["POLYVISOR_CONFIG"] = str(config)


def answer() -> None:
    """Serve calls, anew whenever the server has died, until the other host is gone."""
    while True:
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", SERVER], check=False)
        print(f"BED the server has ended: {done.returncode}", flush=True)
        time.sleep(0.2)


def wait_for_port(port: int, seconds: float = 240, address: str = THERE) -> None:
    """Wait until somebody listens on the other host, or another one.

    Raises:
        OSError: nobody does.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def wait_for_peer(seconds: float = 300) -> Wire:
    """Return a connection to the other host once it answers."""
    wait_for_port(PORT, seconds)
    return Wire(THERE)


class Guest:
    """A guest that counts on either host."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire, self.name, self.here = wire, name, Counter(name)

    def there(self) -> list[int]:
        """Return what it has counted on the other host."""
        return self.wire.call("test", "numbers", (self.name,), {})

    def counts_on_there(self) -> bool:
        """Say whether it counts further over there, from where it stopped here."""
        have, deadline = len(self.there()), time.monotonic() + 120
        while len(seen := self.there()) < have + 3:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not count on {THERE}: {seen[-3:]}")
            time.sleep(0.2)
        return is_whole(self.here.numbers(), seen)


def live(host: polyvisor.Connection, wire: Wire) -> None:
    """A PVH guest moves while it runs; progress is told; it comes back standing still."""
    guest = Guest(wire, "mover")
    domain = host.domains.define(xml("mover", 21, "pvh", 112))
    domain.start()
    guest.here.wait(4)
    reports: list[int] = []
    with polyvisor.open(PEER) as peer:
        seconds = timed(
            lambda: domain.migrate(
                peer,
                persistent=True,
                progress=lambda report: reports.append(report.processed),
            )
        )
        TOOK["live"] = seconds
        state = str(peer.driver.domains.status(domain.uuid).state)
        note(
            "live",
            {
                "here": str(domain.state),
                "there": state,
                "whole": guest.counts_on_there(),
                "reports": len(reports),
                "grows": reports == sorted(reports),
                "seconds": round(seconds, 2),
            },
        )
        peer.driver.domains.destroy(domain.uuid)
        peer.driver.domains.undefine(domain.uuid, UndefineOptions())
    wire.call("test", "clear", ("mover",), {})
    domain.undefine()


def stopped(host: polyvisor.Connection, wire: Wire) -> None:
    """A PV guest moves standing still: the hypervisor has no shadow paging for more."""
    guest = Guest(wire, "still")
    domain = host.domains.create(xml("still", 22))
    guest.here.wait(4)
    with polyvisor.open(PEER) as peer:
        domain.migrate(peer, live=False)
        note(
            "stopped",
            {"left": host.domains.get("still") is not None, "whole": guest.counts_on_there()},
        )
        peer.driver.domains.destroy(domain.uuid)


def undone(host: polyvisor.Connection, wire: Wire) -> None:
    """Cancelled, failing and dying: each leaves the guest running here and nothing there."""
    counter = Counter("stays")
    domain = host.domains.define(xml("stays", 23, "pvh", 112))
    domain.start()
    counter.wait(4)
    seen: dict[str, dict[str, object]] = {}

    def attempt(name: str, how: Callable[[polyvisor.Connection], object]) -> None:
        error = None
        try:
            with polyvisor.open(PEER) as peer:
                how(peer)
        except PolyvisorError as caught:
            error = type(caught).__name__
            print(f"BED {name}: {error}: {caught}", flush=True)
        wait_for_peer().close()
        # A destination that dies once it has everything leaves open who has the guest, until
        # somebody looks.
        with polyvisor.open(PEER) as peer:
            _, there = _settled(domain, peer)
            left = [line.name for line in there]
        try:
            counter.wait(3, seconds=120)
        except TimeoutError:
            print(f"BED {domain.status()}\n{run('xl', 'list')}{run('xl', 'vcpu-list')}", flush=True)
            raise
        seen[name] = {
            "error": error,
            "left": left,
            "state": str(domain.state),
            "whole": counter.whole(),
        }

    def cancel(report: object) -> None:
        if getattr(report, "processed", 0):
            raise Cancelled("enough")

    attempt("cancelled", lambda peer: domain.migrate(peer, progress=cancel))

    def dies(peer: polyvisor.Connection) -> None:
        with_die = Wire(THERE)
        with_die.call("test", "die", (lives,), {})
        with_die.close()
        domain.migrate(peer)

    for lives in (0.2, 3.0):
        attempt(f"destination dies after {lives} s", dies)

    def dropped(peer: polyvisor.Connection) -> None:
        part = peer.driver.migration
        original = part.prepare

        def prepare(*words: object) -> object:
            prepared = original(*words)
            import attrs

            return attrs.evolve(prepared, uri=f"tcp://{THERE}:9")

        part.__dict__["prepare"] = prepare
        domain.migrate(peer)

    attempt("nobody listens", dropped)
    note("undone", seen)
    domain.destroy()
    domain.undefine()


def _settled(domain: Domain, peer: polyvisor.Connection) -> tuple[DomainState, list[DomainSummary]]:
    """Return who has the domain, once neither side is still at work on it.

    Each look at it asks the other side anew; what has arrived in part stands still there until
    it is given up. Running on both sides would be told at once.
    """
    deadline = time.monotonic() + 120
    while True:
        there = [
            line
            for line in peer.driver.domains.summaries()
            if line.name == domain.name and line.id is not None
        ]
        running = [line.state is DomainState.RUNNING for line in there]
        here = domain.state
        if here is DomainState.RUNNING and any(running):
            return here, there
        busy = here is DomainState.PAUSED or not all(running)
        if not busy or time.monotonic() > deadline:
            return here, there
        time.sleep(0.2)


def killed(host: polyvisor.Connection, wire: Wire) -> None:
    """The process that migrates is killed at ten points: exactly one side has the guest.

    As long as it stays here, the next point is of the same guest.
    """
    code = (
        "import polyvisor, sys\n"
        "host = polyvisor.open('xen:///system')\n"
        f"peer = polyvisor.open('{PEER}')\n"
        "print('ready', flush=True)\n"
        "host.domains['prey'].migrate(peer)\n"
        "print('done', flush=True)\n"
    )
    domain = host.domains.define(xml("prey", 24, "pvh", 112))
    guest, results = Guest(wire, "prey"), []
    for point in range(10):
        if not domain.active:
            guest.here.clear()
            wire.call("test", "clear", ("prey",), {})
            domain.start()
            guest.here.wait(4)
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2 + TOOK["live"] * point / 9)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with polyvisor.open(PEER) as peer:
            here, there = _settled(domain, peer)
            result = {"here": str(here), "there": [str(line.state) for line in there]}
            try:
                if domain.active:
                    guest.here.wait(3, seconds=120)
                    result["whole"] = guest.here.whole()
                else:
                    result["whole"] = guest.counts_on_there()
            except TimeoutError as error:
                result["failed"] = str(error)
            results.append(result)
            for line in there:
                peer.driver.domains.destroy(line.uuid)
    note("killed", results)
    if domain.active:
        domain.destroy()
    domain.undefine()


def peer_to_peer(host: polyvisor.Connection, wire: Wire) -> None:
    """A guest moves as its source drives: this process, and on the way back polyvisord there.

    There it goes over a connection of its own, back inside the one between the daemons.
    """
    wire.call("test", "polyvisord", (THERE, DAEMON), {})
    start_polyvisord(HERE, DAEMON)
    wait_for_port(DAEMON)
    wait_for_port(DAEMON, address=HERE)
    here, there = (f"xen+tcp://{address}:{DAEMON}/system" for address in (HERE, THERE))
    guest = Guest(wire, "peer")
    domain = host.domains.create(xml("peer", 29, "pvh", 112))
    guest.here.wait(4)
    out = timed(lambda: domain.migrate(there, peer_to_peer=True))
    left, whole = host.domains.get("peer") is not None, guest.counts_on_there()
    before = guest.here.numbers()
    guest.here.clear()
    with polyvisor.open(there) as peer:
        moved = peer.domains["peer"]
        back = timed(lambda: moved.migrate(here, peer_to_peer=True, tunnelled=True))
        left_there = peer.domains.get("peer") is not None
    guest.here.wait(3)
    counted = before, guest.there(), guest.here.numbers()
    note(
        "peer-to-peer",
        {
            "left": left,
            "whole there": whole,
            "left there": left_there,
            "here": str(host.domains["peer"].state),
            "whole": is_whole(*counted),
            "seconds": [round(out, 1), round(back, 1)],
        },
    )
    host.domains["peer"].destroy()


def libvirt(host: polyvisor.Connection, wire: Wire) -> None:
    """A guest moves from libvirt's daemon here to polyvisord there, and back, by virsh.

    One goes in five phases driven by virsh, the other peer to peer and in a tunnel.
    """
    start_libvirt()
    wire.call("test", "polyvisord", (THERE, DAEMON), {})
    wait_for_port(DAEMON)
    # Driven by virsh with the stream's address said, and by libvirt's daemon without one.
    live = ("--live", "--migrateuri", f"tcp://{THERE}"), ("--live",)
    tunnelled = ("--p2p", "--tunnelled"), ()
    note(
        "libvirt",
        {
            "pvh": _there_and_back(wire, "pvh", 25, *live),
            "pv": _there_and_back(wire, "pv", 26, *tunnelled),
        },
    )


def _there_and_back(
    wire: Wire, kind: str, number: int, going: tuple[str, ...], coming: tuple[str, ...]
) -> dict[str, object]:
    def to_theirs(*words: str) -> str:
        return run("virsh", "-q", "-c", theirs, *words)

    name, theirs = f"goes-{kind}", f"xen+tcp://{THERE}:{DAEMON}/system"
    guest = Guest(wire, name)
    Path("/tmp/goes.xml").write_text(xml(name, number, kind, 112))
    virsh("create", "/tmp/goes.xml")
    guest.here.wait(4)
    out = timed(lambda: virsh("migrate", *going, name, theirs))
    there = to_theirs("domstate", name).strip()
    whole = guest.counts_on_there()
    left = name in virsh("list", "--all", "--name")
    before = guest.here.numbers()
    guest.here.clear()
    back = timed(lambda: to_theirs("migrate", *coming, name, "xen:///system"))
    guest.here.wait(3)
    counted = before, guest.there(), guest.here.numbers()
    seen = {
        "there": there,
        "whole there": whole,
        "left": left,
        "here": virsh("domstate", name).strip(),
        "whole": is_whole(*counted),
        "left there": name in to_theirs("list", "--all", "--name"),
        "seconds": [round(out, 1), round(back, 1)],
    }
    virsh("destroy", name)
    return seen


def into_libvirt(host: polyvisor.Connection, wire: Wire) -> None:
    """A guest of ours moves to libvirt's daemon there, inside our connection to it."""
    wire.call("test", "libvirtd", (THERE,), {})
    wait_for_port(LIBVIRTD)
    guest = Guest(wire, "inside")
    domain = host.domains.create(xml("inside", 30, "pvh", 112))
    guest.here.wait(4)
    with polyvisor.open(f"xen+tcp://{THERE}:{LIBVIRTD}/system") as theirs:
        seconds = timed(lambda: domain.migrate(theirs, tunnelled=True))
        note(
            "into libvirt",
            {
                "left": host.domains.get("inside") is not None,
                "there": str(theirs.domains["inside"].state),
                "whole": guest.counts_on_there(),
                "seconds": round(seconds, 1),
            },
        )
        theirs.domains["inside"].destroy()


def main() -> None:
    """Be the one host or the other."""
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{HERE} h1\n{THERE} h2\n")
    if os.uname().nodename == "h2":
        configure(THERE)
        answer()
    configure(HERE)
    chosen = os.environ.get("PARTS", "").split()
    wire = wait_for_peer()
    with polyvisor.open("xen:///system") as host:
        for part in (live, stopped, undone, peer_to_peer, libvirt, killed, into_libvirt):
            if chosen and part.__name__ not in chosen:
                continue
            started = time.monotonic()
            try:
                part(host, wire)
                wire.close()
            except Exception:  # noqa: BLE001 - noted, and the next part is run
                note(f"failed-{part.__name__}", traceback.format_exc())
            wire = wait_for_peer()
            print(f"BED part {part.__name__}: {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
