"""Migrations of real guests in which QEMU, the wire or the address gives way."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import Cancelled, MigrationError
from polyvisor.states import DomainState, StateReason
from polyvisor.testing.counting import write_image
from polyvisor_qemu import launch, stream

if TYPE_CHECKING:
    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = pytest.mark.real

#: Bytes per second at which the guest takes far longer than the test.
SLOW = 20_000


def free_port(family: socket.AddressFamily, host: str) -> int:
    """Return a port that nobody listens on."""
    with socket.socket(family) as tried:
        try:
            tried.bind((host, 0))
        except OSError as error:
            pytest.skip(f"{host} is no address here: {error}")
        return int(tried.getsockname()[1])


@pytest.mark.parametrize(
    ("family", "host", "written"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "[::1]"),
    ],
)
@pytest.mark.parametrize("scheme", ["tcp:", "tcp://"])
def test_over_tcp(
    hosts: Hosts, family: socket.AddressFamily, host: str, written: str, scheme: str
) -> None:
    """The stream goes over the address that is asked for, in QEMU's words or libvirt's."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    uri = f"{scheme}{written}:{free_port(family, host)}"
    there = domain.migrate(hosts.open("b"), uri=uri)
    assert there.state is DomainState.RUNNING
    hosts.wait_for_count()


def test_a_port_that_somebody_has(hosts: Hosts) -> None:
    """Somebody at an IPv4 port is nobody to send a guest to, though the IPv6 one is free."""
    domain = hosts.open("a").domains.create(hosts.counting())
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ports = [port, min(port + 20, 65535)]
        there = domain.migrate(
            hosts.open("b", migration_ports=ports), uri="tcp:127.0.0.1", listen_address="::"
        )
        stranger.settimeout(0)
        with pytest.raises(BlockingIOError):
            stranger.accept()
    assert there.state is DomainState.RUNNING


@pytest.mark.parametrize("scheme", ["unix:", "unix://"])
def test_over_a_unix_socket(hosts: Hosts, scheme: str) -> None:
    """A socket's path may be asked for as well."""
    domain = hosts.open("a").domains.create(hosts.counting())
    there = domain.migrate(hosts.open("b"), uri=f"{scheme}{hosts.root}/wire")
    assert there.state is DomainState.RUNNING


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("exec:touch FOLDER/harm", "no address for a migration"),
        ("fd:0", "no address for a migration"),
        ("tcp:", "no address for a migration"),
        ("nonsense", "no address for a migration"),
        ("tcp:192.0.2.1:49152", "cannot listen on tcp:192.0.2.1:49152: Failed to bind"),
        ("tcp:127.0.0.1:port", "cannot listen on tcp:127.0.0.1:port"),
        ("unix:FOLDER/none/wire", "cannot listen on unix:.*/none/wire: Failed to bind"),
    ],
)
def test_bad_address(hosts: Hosts, uri: str, told: str) -> None:
    """Where nobody can listen is said; the guest was not even stopped, and nothing is left."""
    domain = hosts.open("a").domains.create(hosts.counting())
    there = hosts.open("b")
    with pytest.raises(MigrationError, match=told) as caught:
        domain.migrate(there, uri=uri.replace("FOLDER", str(hosts.root)))
    assert caught.value.phase == "prepare"
    assert caught.value.side == "destination"
    assert domain.state is DomainState.RUNNING
    assert domain.status().reason is StateReason.BOOTED
    assert there.domains.list() == []
    assert len(hosts.processes()) == 1
    assert not (hosts.root / "harm").exists()


def test_whoever_is_told_first_fails(hosts: Hosts) -> None:
    """The stream has begun when its progress is first told, and is given up with what that does."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    (ours,) = hosts.processes()

    def fail(_: object) -> None:
        raise ValueError("no room for it")

    with pytest.raises(ValueError, match="no room"):
        domain.migrate(hosts.open("b"), bandwidth=SLOW, progress=fail)
    assert hosts.processes() == [ours]
    assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()
    assert domain.migrate(hosts.open("b")).state is DomainState.RUNNING
    hosts.wait_for_count()


def test_destination_killed(hosts: Hosts) -> None:
    """The destination's QEMU dies in the stream: the guest runs on where it was."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(hosts.counting())
    hosts.wait_for_count()
    (ours,) = hosts.processes()

    def kill() -> None:
        (theirs,) = set(hosts.processes()) - {ours}
        hosts.kill(theirs)

    with pytest.raises(MigrationError, match="the domain is on the source as before") as caught:
        domain.migrate(destination, bandwidth=SLOW, progress=hosts.once_sending(kill))
    assert caught.value.owner == "source"
    assert domain.state is DomainState.RUNNING
    assert destination.domains.list() == []
    hosts.wait_for_count()
    assert domain.migrate(destination).state is DomainState.RUNNING
    hosts.wait_for_count()


def test_source_killed(hosts: Hosts) -> None:
    """The source's QEMU dies in the stream: the guest is gone as from a crash, on both sides."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.define(hosts.counting())
    domain.start()
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    with pytest.raises(MigrationError) as caught:
        domain.migrate(
            destination,
            bandwidth=SLOW,
            progress=hosts.once_sending(lambda: os.kill(ours, signal.SIGKILL)),
        )
    assert caught.value.owner == "source"
    assert domain.status().state is DomainState.SHUTOFF
    assert domain.status().reason is StateReason.CRASHED
    assert destination.domains.list() == []
    assert hosts.processes() == []
    domain.start()


def test_cancelled(hosts: Hosts) -> None:
    """A migration that is cancelled ends at once; the guest runs on where it was."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(hosts.counting())
    hosts.wait_for_count()
    with pytest.raises(Cancelled):
        domain.migrate(destination, bandwidth=SLOW, progress=hosts.once_sending(domain.abort_job))
    assert domain.state is DomainState.RUNNING
    assert destination.domains.list() == []
    assert len(hosts.processes()) == 1
    hosts.wait_for_count()


def test_timeout(hosts: Hosts) -> None:
    """When the time is up the guest is stopped, so that what is left is soon sent."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    there = domain.migrate(hosts.open("b"), timeout=0.05, downtime=0.001)
    assert there.state is DomainState.RUNNING
    hosts.wait_for_count()


def test_paused(hosts: Hosts) -> None:
    """A guest that was paused arrives paused, and runs when it is told to."""
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    domain.suspend()
    there = domain.migrate(hosts.open("b"))
    assert there.state is DomainState.PAUSED
    there.resume()
    hosts.wait_for_count()


def test_another_machine(hosts: Hosts) -> None:
    """A destination that lacks the disk refuses before anything is sent."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(hosts.counting())
    (hosts.root / "tick.img").rename(hosts.root / "away.img")
    with pytest.raises(MigrationError, match=r"tick\.img is missing"):
        domain.migrate(destination)
    assert domain.state is DomainState.RUNNING


def test_suspended_on_its_way(hosts: Hosts) -> None:
    """Whoever suspends a guest that leaves stops it here; it runs on once it is over there."""
    write_image(hosts.root / "tick.img", writing=True)
    domain = hosts.open("a").domains.create(hosts.counting())
    hosts.wait_for_count()
    # Another connection, as another process would have.
    same = hosts.open("a").domains["guest"]
    begun = threading.Event()

    def suspend() -> None:
        if not begun.is_set():
            begun.set()
            threading.Thread(target=same.suspend).start()

    there = domain.migrate(
        hosts.open("b"),
        bandwidth=1 << 20,
        downtime=0.01,
        timeout=60,  # It writes faster than that, and would never arrive.
        timeout_action="abort",
        progress=hosts.once_sending(suspend),
    )
    assert begun.is_set()
    assert there.state is DomainState.RUNNING
    hosts.wait_for_count()


@pytest.mark.parametrize("address", [None, "127.0.0.1"], ids=["near", "far"])
def test_destination_dies_in_prepare(
    hosts: Hosts, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination's QEMU dies when it is told more: nothing was sent, and nothing is left."""
    source, destination = hosts.open("a"), hosts.open("b")
    domain = source.domains.create(hosts.counting())
    hosts.wait_for_count()
    (ours,) = hosts.processes()
    # A near one listens already; a far one is told where.
    module, name = (stream, "begin_in") if address else (launch, "ready")
    tell = getattr(module, name)

    def kill_first(*arguments: Any, **more: Any) -> None:
        (theirs,) = set(hosts.processes()) - {ours}
        hosts.kill(theirs)
        tell(*arguments, **more)

    monkeypatch.setattr(module, name, kill_first)
    with pytest.raises(MigrationError, match="prepare failed on the destination") as caught:
        domain.migrate(destination, listen_address=address)
    monkeypatch.undo()
    assert caught.value.owner == "source"
    assert domain.state is DomainState.RUNNING
    assert domain.status().reason is StateReason.BOOTED
    assert destination.domains.list() == []
    assert hosts.processes() == [ours]
    hosts.wait_for_count()
    assert domain.migrate(destination).state is DomainState.RUNNING
    hosts.wait_for_count()
