"""Post-copy that is cut off when its source has sent all of the guest."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from halves import ENDLESS, MEMORY, SLOW, need_faults, switching, until
from relay import HERE, THERE, Relay

from polyvisor.errors import MigrationError, NotFound, OperationInvalid
from polyvisor.states import DomainState, DomainStatus, StateReason
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

FAILED = StateReason.POSTCOPY_FAILED
MIGRATED = DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
#: Bytes per second at which what was sent stays on the way for minutes.
CRAWLING = 5_000


@pytest.fixture
def relay() -> Iterator[Relay]:
    """Hold what stands between the two hosts."""
    need_faults()
    with Relay() as relay:
        yield relay


def means(relay: Relay) -> dict[str, Any]:
    """Return what sends a guest through a relay."""
    return {
        "uri": f"tcp://{HERE}:{relay.port}",
        "listen_address": THERE,
        "bandwidth": SLOW,
        "post_copy": True,
        "post_copy_bandwidth": ENDLESS,
    }


def all_sent(hosts: Hosts) -> bool:
    """Say whether nothing of the guest is left at its source."""
    (path,) = hosts.root.glob("a/**/events")
    with Monitor(str(path)) as monitor:
        return bool(monitor.execute("query-migrate")["ram"]["remaining"] == 0)


def then(
    hosts: Hosts,
    domain: Domain,
    there: Connection,
    wait: Callable[[], object],
    cut: Callable[[], None],
) -> Any:
    """Return what has all of a switched guest sent, and cuts it off after some wait."""

    def go_on() -> None:
        until(lambda: all_sent(hosts), "it is not sent")
        wait()
        cut()

    def rush() -> None:
        domain.steer_migration(post_copy_bandwidth=1 << 40)
        threading.Thread(target=go_on).start()

    return switching(domain, rush, there)


def test_before_it_has_arrived(hosts: Hosts, relay: Relay) -> None:
    """Either side says so though the source's QEMU does not, and that nothing can go on."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()

    def slow() -> None:
        relay.rate = CRAWLING

    slowed = switching(domain, slow, there)
    rushed = then(hosts, domain, there, lambda: None, relay.cut)

    def progress(told: Any) -> None:
        slowed(told)
        if relay.rate == CRAWLING:
            rushed(told)

    with pytest.raises(MigrationError, match="cut off before all of its memory") as caught:
        domain.migrate(there, progress=progress, **means(relay))
    assert caught.value.owner == "destination"
    assert domain.status() == DomainStatus(DomainState.PAUSED, FAILED)
    arrived = there.domains["guest"]
    halves = DomainStatus(DomainState.RUNNING, FAILED)
    until(lambda: arrived.status() == halves, "the destination does not see it")
    with pytest.raises(OperationInvalid, match="it is not sent again"):
        domain.migrate(there, post_copy=True, post_copy_resume=True)
    assert domain.status() == DomainStatus(DomainState.PAUSED, FAILED)
    arrived.destroy()
    until(lambda: here.domains.list() == [], "what is left of it stays")
    assert hosts.processes() == []


def test_when_it_has_arrived(hosts: Hosts, relay: Relay) -> None:
    """It has migrated, though the source never hears that all of it is there."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()

    def whole() -> None:
        until(lambda: there.domains["guest"].status() == MIGRATED, "it does not arrive")

    rushed = then(hosts, domain, there, whole, relay.cut)

    def progress(told: Any) -> None:
        relay.mute = relay.mute or domain.status().reason is StateReason.POSTCOPY
        rushed(told)

    moved = domain.migrate(there, progress=progress, **means(relay))
    assert moved.status() == MIGRATED
    assert here.domains.list() == []
    assert len(hosts.processes()) == 1
    hosts.wait_for_count()


SENDING = """
def progress(told):
    if told.processed and told.phase != "post-copy":
        domain.steer_migration(post_copy=True)

peer, place, listen = sys.argv[1:4]
domain = polyvisor.open(uri).domains["guest"]
domain.migrate(
    polyvisor.open(peer), uri=place, listen_address=listen, bandwidth=100_000, post_copy=True,
    post_copy_bandwidth=1 << 40, progress=progress,
)
"""


def test_whoever_sent_it_is_killed(hosts: Hosts, relay: Relay) -> None:
    """Whoever looks next sees that it is cut off, and puts away what is of no use any more."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(hosts.counting(memory=MEMORY))
    hosts.wait_for_count()
    relay.rate = 1 << 16
    place = means(relay)["uri"]
    with hosts.start_process(SENDING, hosts.uri("b"), place, THERE) as process:
        over_there = DomainStatus(DomainState.RUNNING, StateReason.POSTCOPY)

        def switched() -> bool:
            with suppress(NotFound):
                return there.domains["guest"].status() == over_there
            return False

        until(switched, "it is not switched")
        relay.rate = CRAWLING
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    until(lambda: all_sent(hosts), "it is not sent")
    relay.cut()
    until(lambda: domain.status() == DomainStatus(DomainState.PAUSED, FAILED), "nobody sees it")
    there.domains["guest"].destroy()
    until(lambda: here.domains.list() == [], "what is left of it stays")
    assert hosts.processes() == []
