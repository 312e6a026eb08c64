"""Live migration between two simulators, their clocks in the test's hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import polyvisor
from polyvisor.config import Config
from polyvisor.driver import MigrationOptions
from polyvisor.errors import Cancelled, HypervisorError, Timeout
from polyvisor.jobs import Job, JobProgress
from polyvisor.states import DomainState
from polyvisor_sim.versions import VERSIONS

if TYPE_CHECKING:
    from conftest import Bench
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec

    Make = Callable[..., DomainSpec]
    New = Callable[[Path | None], Bench]
    Prepare = Callable[..., tuple[Guest, Guest, str]]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_stream_version(
    bench: Bench, tmp_path: Path, version: int, make_spec: Make, new_bench: New
) -> None:
    """Memory and ticks arrive whole, the source stands still, and may take the guest back."""
    there = new_bench(tmp_path if bench.folder is None else None)
    spec = make_spec()
    guest = bench.guest(spec)
    bench.hypervisor.launch(guest, spec)
    bench.hypervisor.resume(guest)
    bench.advance(2)
    arriving = attrs.evolve(there.guest(spec), uuid=guest.uuid)
    _, uri = there.hypervisor.receive(arriving, spec, version, None)
    with pytest.raises(HypervisorError, match="still being received"):
        there.hypervisor.resume(arriving)
    figures = bench.hypervisor.send(guest, uri, version, MigrationOptions(), Job("migration"))
    assert set(figures) == {"downtime", "total", "transferred"}
    there.hypervisor.received(arriving, 10)
    assert bench.state(guest) is DomainState.PAUSED
    assert there.state(arriving) is DomainState.PAUSED
    assert there.ticks(arriving) == 200
    there.hypervisor.resume(arriving)
    there.advance(1)
    assert there.ticks(arriving) == 300
    bench.hypervisor.take_back(guest)
    bench.hypervisor.resume(guest)
    bench.advance(1)
    assert bench.ticks(guest) == 300
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


@pytest.fixture
def there(tmp_path: Path, new_bench: New) -> Bench:
    """Hold a second hypervisor."""
    folder = tmp_path / "there"
    folder.mkdir()
    return new_bench(folder)


@pytest.fixture
def prepare(bench: Bench, make_spec: Make) -> Callable[..., tuple[Guest, Guest, str]]:
    """Hold a function that gives a running guest, one that waits for it, and where it listens."""

    def ready(there: Bench, sim: str = "") -> tuple[Guest, Guest, str]:
        spec = make_spec(sim=sim)
        guest = bench.guest(spec)
        bench.hypervisor.launch(guest, spec)
        bench.hypervisor.resume(guest)
        bench.advance(1)
        arriving = attrs.evolve(there.guest(spec), uuid=guest.uuid)
        _, uri = there.hypervisor.receive(arriving, spec, 2, None)
        return guest, arriving, uri

    return ready


def test_a_busy_guest_is_sent_in_rounds(bench: Bench, there: Bench, prepare: Prepare) -> None:
    """It goes on writing while it is sent; the rest is small enough in the end."""
    guest, arriving, uri = prepare(there, "dirty-pages='1' working-set='900'")
    rounds: list[JobProgress] = []

    def on(progress: JobProgress) -> None:
        rounds.append(progress)
        if progress.iteration < 4:
            bench.advance(0.5)

    options = MigrationOptions(downtime=1e-9)
    job = Job("migration", on)
    bench.hypervisor.send(guest, uri, 2, options, job)
    there.hypervisor.received(arriving, 10)
    assert max(progress.iteration for progress in rounds) >= 4
    assert any((progress.dirty_rate or 0) > 0 for progress in rounds)
    assert rounds[-1].done
    assert rounds[-1].remaining == 0
    assert rounds[-1].downtime is not None
    assert there.ticks(arriving) == bench.ticks(guest) > 150
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.one_of(st.integers(0, 500), st.just("reset")), max_size=12),
    dirty=st.integers(0, 60),
    version=st.sampled_from(VERSIONS),
)
def test_whatever_it_does_while_it_is_sent(
    make_spec: Make, new_bench: New, steps: list[int | str], dirty: int, version: int
) -> None:
    """Running for any time and rebooting between any two pieces, it arrives byte for byte."""
    here, there = new_bench(None), new_bench(None)
    spec = make_spec(sim=f"dirty-pages='{dirty}' working-set='700'")
    guest = here.guest(spec)
    here.hypervisor.launch(guest, spec)
    here.hypervisor.resume(guest)
    here.advance(0.3)
    arriving = attrs.evolve(there.guest(spec), uuid=guest.uuid)
    _, uri = there.hypervisor.receive(arriving, spec, version, None)
    left = list(steps)

    def live(progress: JobProgress) -> None:
        if left and here.state(guest) is DomainState.RUNNING:
            step = left.pop(0)
            if step == "reset":
                here.hypervisor.reset(guest)
            else:
                here.advance(int(step) / 1000)

    options = MigrationOptions(downtime=1e-9, timeout=0.2)
    here.hypervisor.send(guest, uri, version, options, Job("migration", live))
    there.hypervisor.received(arriving, 10)
    assert there.ticks(arriving) == here.ticks(guest)
    assert there.hypervisor.stats(arriving) == here.hypervisor.stats(guest)
    here.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


def test_the_timeout_ends_pre_copy(bench: Bench, there: Bench, prepare: Prepare) -> None:
    """A guest that writes faster than it can be sent is stopped when the time is up."""
    guest, arriving, uri = prepare(there)
    job = Job("migration", lambda progress: bench.advance(1))
    options = MigrationOptions(downtime=1e-9, timeout=0.2)
    before = time.monotonic()
    bench.hypervisor.send(guest, uri, 2, options, job)
    assert 0.2 <= time.monotonic() - before < 5
    there.hypervisor.received(arriving, 10)
    assert job.latest.iteration >= 2
    assert there.ticks(arriving) == bench.ticks(guest)
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


def test_bandwidth_is_limited(bench: Bench, there: Bench, prepare: Prepare) -> None:
    """Sending takes as long as the limit says."""
    guest, arriving, uri = prepare(there)
    options = MigrationOptions(bandwidth=4 << 20)
    before = time.monotonic()
    figures = bench.hypervisor.send(guest, uri, 2, options, Job("migration"))
    there.hypervisor.received(arriving, 10)
    least = figures["transferred"] / (4 << 20)
    assert least - 0.15 <= time.monotonic() - before < least + 2
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


@pytest.mark.parametrize("bandwidth", [None, 100_000])
def test_cancelling_leaves_the_guest_running(
    bench: Bench, there: Bench, bandwidth: int | None, prepare: Prepare
) -> None:
    """Cancelled in its first round or while it waits for its turn, it is as it was."""
    guest, arriving, uri = prepare(there)
    job = Job("migration")
    if bandwidth is None:
        job.listen(lambda progress: job.cancel())
        timer = None
    else:
        timer = threading.Timer(0.1, job.cancel)
        timer.start()
    with job, pytest.raises(Cancelled):
        bench.hypervisor.send(guest, uri, 2, MigrationOptions(bandwidth=bandwidth), job)
    if timer is not None:
        timer.join()
    assert bench.state(guest) is DomainState.RUNNING
    assert bench.ticks(guest) == 100
    with pytest.raises(HypervisorError, match="cut off"):
        there.hypervisor.received(arriving, 10)
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


def test_a_destination_that_goes_away(bench: Bench, there: Bench, prepare: Prepare) -> None:
    """When the receiver is destroyed in the middle the guest runs on at the source."""
    guest, arriving, uri = prepare(there)
    job = Job("migration")
    first = threading.Event()

    def destroy(progress: JobProgress) -> None:
        if not first.is_set():
            first.set()
            there.hypervisor.destroy(arriving)

    job.listen(destroy)
    with pytest.raises(HypervisorError, match="destination"):
        bench.hypervisor.send(guest, uri, 2, MigrationOptions(bandwidth=1 << 20), job)
    assert bench.state(guest) is DomainState.RUNNING
    assert bench.ticks(guest) == 100
    bench.hypervisor.destroy(guest)


def test_a_destination_that_refuses_says_why(
    bench: Bench, there: Bench, make_spec: Make, prepare: Prepare
) -> None:
    """Another version or another domain than was agreed on is refused in words."""
    guest, arriving, uri = prepare(there)
    with pytest.raises(HypervisorError, match="version 1, can be read: 2"):
        bench.hypervisor.send(guest, uri, 1, MigrationOptions(), Job("migration"))
    assert bench.state(guest) is DomainState.RUNNING
    there.hypervisor.destroy(arriving)

    stranger = there.guest(make_spec())
    _, uri = there.hypervisor.receive(stranger, make_spec(), 2, None)
    with pytest.raises(HypervisorError, match=str(guest.uuid)):
        bench.hypervisor.send(guest, uri, 2, MigrationOptions(), Job("migration"))
    assert bench.state(guest) is DomainState.RUNNING
    with pytest.raises(HypervisorError, match="is of domain"):
        there.hypervisor.received(stranger, 10)
    there.hypervisor.destroy(stranger)
    bench.hypervisor.destroy(guest)


def test_nobody_comes(there: Bench, make_spec: Make) -> None:
    """Waiting for a stream that does not come ends; so does listening, with the guest."""
    spec = make_spec()
    arriving = there.guest(spec)
    threads = threading.active_count()
    _, uri = there.hypervisor.receive(arriving, spec, 2, None)
    with pytest.raises(Timeout):
        there.hypervisor.received(arriving, 0.05)
    there.hypervisor.destroy(arriving)
    assert threading.active_count() == threads
    assert not Path(uri.removeprefix("unix:")).exists()


def test_where_to_listen(there: Bench, make_spec: Make) -> None:
    """A destination listens where it is told, or says why it cannot."""
    spec = make_spec()
    arriving = there.guest(spec)
    _, uri = there.hypervisor.receive(arriving, spec, 2, "tcp:127.0.0.1:0")
    assert uri.startswith("tcp:127.0.0.1:")
    assert int(uri.rpartition(":")[2]) > 0
    there.hypervisor.destroy(arriving)
    for wrong in ("smoke:signals", "tcp:127.0.0.1:99999", "tcp:192.0.2.1:0", "unix:/nowhere/x"):
        with pytest.raises(HypervisorError):
            there.hypervisor.receive(arriving, spec, 2, wrong)
        assert there.state(arriving) is DomainState.SHUTOFF


def test_a_paused_guest_is_sent_as_it_is(bench: Bench, there: Bench, prepare: Prepare) -> None:
    """Nothing is dirtied meanwhile, so there is one round, and failing leaves it paused."""
    guest, arriving, uri = prepare(there)
    bench.hypervisor.suspend(guest)
    job = Job("migration")
    bench.hypervisor.send(guest, uri, 2, MigrationOptions(), job)
    there.hypervisor.received(arriving, 10)
    assert job.latest.iteration == 1
    assert there.ticks(arriving) == 100
    with pytest.raises(HypervisorError, match="cannot connect"):
        bench.hypervisor.send(guest, uri, 2, MigrationOptions(), job)
    assert bench.state(guest) is DomainState.PAUSED
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


def test_a_path_too_long_for_a_socket(
    bench: Bench, tmp_path: Path, prepare: Prepare, new_bench: New
) -> None:
    """A run folder deep down, beyond what a socket's address holds, is no obstacle."""
    folder = tmp_path.joinpath(*["deep" * 10] * 4)
    folder.mkdir(parents=True)
    there = new_bench(folder)
    guest, arriving, uri = prepare(there)
    assert len(uri) > 120
    bench.hypervisor.send(guest, uri, 2, MigrationOptions(), Job("migration"))
    there.hypervisor.received(arriving, 10)
    assert there.ticks(arriving) == 100
    bench.hypervisor.destroy(guest)
    there.hypervisor.destroy(arriving)


def test_a_destination_is_opened_with_the_sources_configuration(tmp_path: Path) -> None:
    """A domain that is sent to a URI, or goes peer to peer, stays below the configured root."""
    config = Config(root=str(tmp_path))
    definition = (
        "<domain type='sim'><name>g</name><memory>16384</memory><os><type>hvm</type></os></domain>"
    )
    with polyvisor.open("sim:///a", config=config) as host:
        domain = host.domains.create(definition)
        moved = domain.migrate("sim:///b", peer_to_peer=True)
        there = moved.connection
        try:
            assert there.uri != host.uri
            assert str(tmp_path) in unquote(there.uri)
            assert moved.active
            moved.destroy()
        finally:
            there.close()
