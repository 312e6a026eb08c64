"""Migration on Xen: the handshake of libvirt's driver, ports, and either side failing."""

from __future__ import annotations

import socket
from uuid import uuid4

import attrs
import pytest

from polyvisor.driver import MigrationOptions
from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    ConfigError,
    HypervisorError,
    InvalidArgument,
    MigrationError,
    PolyvisorError,
)
from polyvisor.jobs import Job
from polyvisor.states import DomainState
from polyvisor_libxl.cookie import LibxlCookie


@pytest.fixture
def peer(hosts):
    """Hold a second host, open."""
    return hosts.open("b")


def begun(domain):
    """Begin a migration and leave it again; return what begin gave."""
    part = domain.connection.driver.migration
    with Job("migration") as job:
        found = part.begin(domain.uuid, MigrationOptions(), job)
    part.confirm(domain.uuid, None, MigrationOptions(), cancelled=True)
    return found


def test_the_cookie_is_libvirts(domain):
    """Begin gives libvirt's cookie, byte for byte up to its NUL, and ends with one."""
    cookie = begun(domain).cookie
    text, _, ours = cookie.partition(b"\0")
    hostname = socket.gethostname()
    assert text.decode() == (
        "<libxl-migration>\n"
        "  <name>guest</name>\n"
        f"  <uuid>{domain.uuid}</uuid>\n"
        f"  <hostname>{hostname}</hostname>\n"
        "  <migration-stream-version>2</migration-stream-version>\n"
        "</libxl-migration>\n"
    )
    assert ours.endswith(b"\0")


def test_a_source_that_is_libvirt(domain, peer):
    """The cookie of libvirt alone is enough to prepare, and a plain connection to send."""
    found = begun(domain)
    part = peer.driver.migration
    cookie = LibxlCookie("guest", domain.uuid, "elsewhere", 2).to_bytes()
    prepared = part.prepare(found.spec, cookie, MigrationOptions(uri="tcp:127.0.0.1:0"))
    assert prepared.uri.startswith("tcp://127.0.0.1:")
    # Peer to peer, libvirt's driver takes an answer that it does not expect for an error.
    assert prepared.cookie is None
    finished = part.finish(domain.uuid, None, MigrationOptions(), cancelled=True)
    assert finished.uuid is None
    assert not list(peer.domains)


@pytest.mark.parametrize("place", ["tcp://127.0.0.1", "tcp:127.0.0.1", "tcp://127.0.0.1:0"])
def test_an_address_without_a_port(domain, peer, place):
    """As with libvirt, where to listen may be said without a port; one of the range is taken."""
    part, found = peer.driver.migration, begun(domain)
    prepared = part.prepare(found.spec, found.cookie, MigrationOptions(uri=place))
    assert 49152 <= int(prepared.uri.removeprefix("tcp://127.0.0.1:")) < 49216
    part.finish(domain.uuid, None, MigrationOptions(), cancelled=True)
    found = begun(domain)
    with pytest.raises(InvalidArgument, match="tcp:HOST:PORT"):
        part.prepare(found.spec, found.cookie, MigrationOptions(uri="tcp://127.0.0.1:many"))
    assert not list(peer.domains)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda good: good[:-1], "NUL"),
        (lambda good: good.replace(b">2<", b">3<"), "version 3"),
        (lambda good: good.replace(b">2<", b">zwei<"), "not a version"),
        (lambda good: good.replace(b"<name>guest</name>", b""), "<name> is missing"),
        (lambda good: good.replace(b"guest", b"other"), "'other'"),
        (lambda good: b"<libxl-migration>\0", "damaged"),
        (lambda good: b"\0", "damaged"),
        (lambda good: b"<!DOCTYPE a [<!ENTITY b 'c'>]><libxl-migration/>\0", "document type"),
        (lambda good: b"<a/>\0", "not a <libxl-migration>"),
    ],
)
def test_a_bad_cookie_is_refused(domain, peer, damage, why):
    """A cookie that is damaged or asks too much is refused in words, and nothing is left."""
    good = LibxlCookie("guest", domain.uuid, "elsewhere", 2).to_bytes()
    spec = begun(domain).spec
    with pytest.raises(MigrationError, match=why):
        peer.driver.migration.prepare(spec, damage(good), MigrationOptions())
    assert not list(peer.domains)


def test_a_cookie_of_another_domain_is_refused(domain, peer):
    """The UUID in it must be the definition's."""
    cookie = LibxlCookie("guest", uuid4(), "elsewhere", 2).to_bytes()
    with pytest.raises(MigrationError, match="it is of the domain"):
        peer.driver.migration.prepare(begun(domain).spec, cookie, MigrationOptions())


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("other name", "its UUID belongs to the domain 'other' here"),
        ("other UUID", "the name belongs to the domain with UUID"),
        ("running", "a domain with its UUID is active here"),
        ("by another toolstack", "a domain with its UUID is active here"),
    ],
)
def test_a_destination_where_one_is_in_the_way(domain, peer, hosts, there, why):
    """A domain of the same name or UUID over there refuses it; it runs on here, and alone."""
    spec = domain.spec(inactive=True)
    if there == "other name":
        peer.domains.define(attrs.evolve(spec, name="other"))
    elif there == "other UUID":
        peer.domains.define(attrs.evolve(spec, uuid=uuid4()))
    elif there == "running":
        peer.domains.define(spec).start()
    else:
        hosts.beside(host="b").domains.create(spec)
    with pytest.raises((AlreadyExists, MigrationError), match=why):
        domain.migrate(peer)
    assert domain.state is DomainState.RUNNING
    assert len(list(peer.domains)) == 1


def test_ports_are_tried_in_turn(domain, peer, hosts):
    """A port that is taken is passed over; when all are, the range is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        narrow = hosts.open("b", migration_ports=[port, port])
        with pytest.raises(PolyvisorError, match=f"no port from {port} to {port}"):
            domain.migrate(narrow)
    assert domain.state is DomainState.RUNNING
    assert hosts.counts_on(domain)
    moved = domain.migrate(narrow)
    assert hosts.counts_on(moved)


def test_a_range_that_is_none(domain, hosts):
    """A setting that is no range of ports is named."""
    with pytest.raises((ConfigError, MigrationError), match="migration_ports"):
        domain.migrate(hosts.open("b", migration_ports=[9, 8]))


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("libxl_domain_suspend -8", "a"),
        ("stream -3", "a"),
        ("libxl_domain_create_restore -3", "b"),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_libxl_fails_on_either_side(domain, peer, hosts, fault, where, live):
    """Whichever libxl fails, the domain runs on at its source, and only there."""
    hosts.fault(fault, host=where)
    with pytest.raises((HypervisorError, MigrationError)):
        domain.migrate(peer, live=live)
    assert domain.state is DomainState.RUNNING
    assert hosts.counts_on(domain)
    assert not list(peer.domains)
    hosts.fault(host=where)
    moved = domain.migrate(peer, live=live)
    assert moved.state is DomainState.RUNNING
    assert hosts.counts_on(moved)


def test_given_up_when_all_is_sent(domain, peer, hosts):
    """The guest stands suspended by then: it goes on."""

    def stop(report):
        if report.phase == "sent":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        domain.migrate(peer, progress=stop)
    assert domain.state is DomainState.RUNNING
    assert hosts.counts_on(domain)
    assert not list(peer.domains)


def test_a_source_that_is_killed(domain, peer, hosts):
    """Killed while it sends, the source has the domain again at the next call."""
    hosts.fault("delay 5000")
    hosts.run_process(
        """
        import signal, threading
        threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGKILL)).start()
        host.domains["guest"].migrate(sys.argv[1])
        """,
        peer.uri,
    )
    assert domain.state in (DomainState.RUNNING, DomainState.PAUSED)
    if domain.state is DomainState.PAUSED:
        domain.resume()
    assert hosts.counts_on(domain)
    assert not [found for found in peer.domains if found.active]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_source_that_says_nothing(domain, peer, leaves):
    """One that connects and goes, or stays silent until it is given up: nothing is built."""
    part, found = peer.driver.migration, begun(domain)
    prepared = part.prepare(found.spec, found.cookie, MigrationOptions(uri="tcp:127.0.0.1"))
    host, _, port = prepared.uri.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as source:
        if leaves:
            source.close()
            with pytest.raises(PolyvisorError, match="before it sent anything"):
                part.finish(domain.uuid, None, MigrationOptions(), cancelled=False)
        else:
            part.finish(domain.uuid, None, MigrationOptions(), cancelled=True)
    assert not list(peer.domains)


def test_figures_of_a_migration(domain, peer):
    """The event that ends it says how long it took and what was sent."""
    stream = domain.connection.events(timeout=20)
    domain.migrate(peer)
    event = next(one for one in stream if one.kind == "job-completed")
    assert event.data["data_processed"] > 3 << 20
    assert event.data["time_elapsed"] > 0
