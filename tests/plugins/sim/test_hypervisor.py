"""The simulator as a hypervisor, its clock in the test's hand."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyvisor.errors import (
    Cancelled,
    HypervisorError,
    PolyvisorError,
    SaveImageError,
    SchemaError,
    StorageError,
)
from polyvisor.events import EventKind
from polyvisor.jobs import Job
from polyvisor.local import Figures, Guest, Observation
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState, StateReason
from polyvisor_sim.console import MOST_LINES
from polyvisor_sim.machine import machine_for

if TYPE_CHECKING:
    from conftest import Bench
    from polyvisor_sim.hypervisor import SimHypervisor

    Make = Callable[..., DomainSpec]
    New = Callable[[Path | None], Bench]


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def saved(bench: Bench, guest: Guest) -> int:
    """Save the guest; return a descriptor that stands at the beginning of the stream."""
    fd = os.memfd_create("image")
    bench.hypervisor.save_stream(guest, fd, Job("save"))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def figures(hypervisor: SimHypervisor, guest: Guest) -> Figures:
    """Return what a hypervisor tells of one guest."""
    (found,) = hypervisor.figures([guest])
    assert found is not None
    return found


# Life


def test_a_launched_guest_stands_still(bench: Bench, make_spec: Make) -> None:
    """It does nothing until it is resumed, and nothing while it is suspended."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    assert bench.state(guest) is DomainState.PAUSED
    bench.advance(10)
    assert bench.ticks(guest) == 0
    bench.hypervisor.resume(guest)
    assert bench.state(guest) is DomainState.RUNNING
    bench.advance(1)
    bench.hypervisor.suspend(guest)
    bench.advance(10)
    assert bench.ticks(guest) == 100
    assert bench.state(guest) is DomainState.PAUSED


def test_destroy_leaves_nothing(bench: Bench, tmp_path: Path, make_spec: Make) -> None:
    """No machine, no memory, no file, no descriptor; a second destroy does nothing."""
    before = open_files()
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(1)
    assert bench.ticks(guest) == 100
    bench.hypervisor.destroy(guest)
    bench.hypervisor.destroy(guest)
    assert bench.hypervisor.observe(guest, deep=False).state is DomainState.SHUTOFF
    assert open_files() == before
    assert bench.hypervisor.wait_gone(guest, 0)
    if guest.run_dir is not None:
        assert list(Path(guest.run_dir).iterdir()) == []


def test_a_guest_from_before_the_host_was_restarted_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_spec: Make, new_bench: New
) -> None:
    """What an earlier run of the host's kernel had running does not run any more."""
    bench = new_bench(tmp_path)
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    monkeypatch.setattr("polyvisor_sim.rack.boot_id", lambda: "another boot")
    assert bench.hypervisor.observe(guest, deep=False) == Observation(
        DomainState.SHUTOFF, StateReason.CRASHED
    )


def test_a_machine_file_that_was_spoilt_is_named(
    tmp_path: Path, make_spec: Make, new_bench: New
) -> None:
    """Looking at such a guest says which file it is; destroying it works."""
    bench = new_bench(tmp_path)
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    machine = Path(guest.run_dir or "") / "machine.json"
    for text in ("", "[]", "{}", machine.read_text().replace('"run"', '"runs"')):
        machine.write_text(text)
        with pytest.raises(HypervisorError, match=r"machine\.json"):
            bench.hypervisor.observe(guest, deep=True)
    bench.hypervisor.destroy(guest)
    assert list(Path(guest.run_dir or "").iterdir()) == []


def test_reset_and_reboot_empty_memory(bench: Bench, make_spec: Make) -> None:
    """A new boot begins at tick 0 with memory that has nothing of the old one."""
    guest = bench.guest(make_spec(sim="dirty-pages='9' working-set='300'"))
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(2)
    assert bench.ticks(guest) == 200
    bench.hypervisor.reset(guest)
    assert bench.ticks(guest) == 0
    bench.advance(0.05)
    assert bench.ticks(guest) == 5
    bench.hypervisor.reboot(guest)
    bench.advance(0.1)
    assert bench.ticks(guest) == 10
    assert figures(bench.hypervisor, guest).more["sim.boots"] == 3


@pytest.mark.parametrize(
    ("sim", "more", "expected"),
    [
        ("poweroff-at='10'", "", (DomainState.SHUTOFF, StateReason.SHUTDOWN)),
        ("crash-at='10'", "", (DomainState.SHUTOFF, StateReason.CRASHED)),
        (
            "crash-at='10'",
            "<on_crash>preserve</on_crash>",
            (DomainState.CRASHED, StateReason.PANICKED),
        ),
        ("crash-at='10'", "<on_crash>coredump-restart</on_crash>", (DomainState.RUNNING, None)),
        ("poweroff-at='10'", "<on_poweroff>restart</on_poweroff>", (DomainState.RUNNING, None)),
    ],
)
def test_it_ends_as_its_definition_says(
    bench: Bench,
    sim: str,
    more: str,
    expected: tuple[DomainState, StateReason | None],
    make_spec: Make,
) -> None:
    """Powering off and crashing lead where ``on_poweroff`` and ``on_crash`` say."""
    guest = bench.guest(make_spec(sim=sim, more=more))
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(0.15)
    found = bench.hypervisor.observe(guest, deep=False)
    assert found.state is expected[0]
    if expected[1] is not None:
        assert found.reason is expected[1]
        with pytest.raises(HypervisorError, match="tick 10"):
            bench.hypervisor.suspend(guest)
    else:
        assert bench.ticks(guest) == 5


def test_figures(bench: Bench, make_spec: Make) -> None:
    """Memory, CPU time and the guest's own figures are those of its definition and time."""
    spec = make_spec(sim="ticks-per-second='50' dirty-pages='3' working-set='77'")
    guest = bench.guest(attrs.evolve(spec, current_memory=2 << 20))
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(3)
    assert bench.hypervisor.memory_and_cpu_time(guest) == (2 << 20, 6.0)
    known = figures(bench.hypervisor, guest)
    assert (known.memory, known.cpu_time) == (2 << 20, 6.0)
    assert known.seen.state is DomainState.RUNNING
    assert figures(bench.hypervisor, guest).more == {
        "sim.ticks": 150,
        "sim.boots": 1,
        "sim.ticks-per-second": 50,
        "sim.dirty-pages": 3,
        "sim.working-set": 77,
    }


def test_wrong_parameters_are_refused_when_defining(bench: Bench, make_spec: Make) -> None:
    """A definition whose ``<sim:guest>`` makes no sense is not kept."""
    with pytest.raises(SchemaError, match="dirty-pages"):
        bench.hypervisor.complete(make_spec(sim="dirty-pages='many'"))


def test_parameters_are_found_wherever_the_namespace_is_declared(
    bench: Bench, make_spec: Make
) -> None:
    """The prefix is anybody's choice, and may be declared on the root."""
    inside = make_spec(sim="seed='5'").to_xml()
    declared = 'xmlns:sim="urn:polyvisor:sim:1.0"'
    assert declared in inside
    outside = inside.replace(f" {declared}", "").replace("<domain ", f"<domain {declared} ", 1)
    for text in (inside, outside, inside.replace("sim:guest", "x:guest").replace(":sim=", ":x=")):
        machine = machine_for(DomainSpec.from_xml(text))
        assert machine.parameters.seed == 5


# Memory under any sequence of verbs

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 3_000)),
        st.tuples(st.sampled_from(["suspend", "resume", "reset", "save", "verify"]), st.just(0)),
    ),
    max_size=15,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it has no state
@given(steps=_steps, dirty=st.integers(0, 40), working_set=st.integers(0, 200))
def test_no_sequence_spoils_memory(
    steps: list[tuple[str, int]], dirty: int, working_set: int, make_spec: Make, new_bench: New
) -> None:
    """Whatever is done to a guest, each byte is what its running time says, and no other."""
    bench = new_bench(None)
    sim = f"ticks-per-second='1000' dirty-pages='{dirty}' working-set='{working_set}'"
    guest = bench.guest(make_spec(memory=1000, sim=sim))
    hypervisor = bench.hypervisor
    hypervisor.launch(guest, guest.spec)
    running, ran = False, 0
    for verb, duration in steps:
        if verb == "advance":
            bench.time += duration * 1_000_000
            ran += duration if running else 0
        elif verb == "suspend" and running:
            hypervisor.suspend(guest)
            running = False
        elif verb == "resume" and not running:
            hypervisor.resume(guest)
            running = True
        elif verb == "reset":
            hypervisor.reset(guest)
            ran = 0
        elif verb == "save":
            hypervisor.suspend(guest)
            fd = saved(bench, guest)
            hypervisor.destroy(guest)
            hypervisor.restore_stream(guest, guest.spec, fd, Job("restore"))
            os.close(fd)
            running = False
        elif verb == "verify":
            assert bench.ticks(guest) == ran
    assert bench.ticks(guest) == ran
    hypervisor.destroy(guest)


# The console


def test_the_console_prints_as_the_guest_runs(
    bench: Bench, tmp_path: Path, make_spec: Make
) -> None:
    """Every fifth tick is a line; a boot begins again; stopping and saving lose none."""
    path = tmp_path / "serial"
    more = f"<devices><serial type='file'><source path='{path}'/></serial></devices>"
    guest = bench.guest(make_spec(more=more))
    hypervisor = bench.hypervisor
    path.write_text("from before\n")
    hypervisor.launch(guest, guest.spec)
    assert path.read_text() == ""
    hypervisor.resume(guest)
    bench.advance(0.1)
    figures(hypervisor, guest)
    assert path.read_bytes() == b"tick 0000\r\ntick 0001\r\n"
    bench.advance(0.07)
    hypervisor.suspend(guest)
    assert path.read_text().splitlines()[-1] == "tick 0002"
    fd = saved(bench, guest)
    hypervisor.destroy(guest)
    hypervisor.restore_stream(guest, guest.spec, fd, Job("restore"))
    os.close(fd)
    hypervisor.resume(guest)
    bench.advance(0.1)
    hypervisor.reset(guest)
    bench.advance(0.05)
    hypervisor.destroy(guest)
    numbers = [int(line.split()[1], 16) for line in path.read_text().splitlines()]
    assert numbers in ([0, 1, 2, 3, 4, 0], [0, 1, 2, 0])


def test_the_console_of_a_guest_left_alone_for_long_is_bounded(
    bench: Bench, tmp_path: Path, make_spec: Make
) -> None:
    """After a year only the last lines are written."""
    path = tmp_path / "serial"
    more = f"<devices><serial type='file'><source path='{path}'/></serial></devices>"
    guest = bench.guest(make_spec(more=more))
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(365 * 86400)
    bench.hypervisor.destroy(guest)
    lines = path.read_text().splitlines()
    assert len(lines) == MOST_LINES
    assert lines[-1] == f"tick {(365 * 86400 * 20 - 1) % 65536:04X}"


def test_a_console_that_cannot_be_opened_stops_the_start(
    bench: Bench, tmp_path: Path, make_spec: Make
) -> None:
    """The error names the file, and nothing of the guest is left."""
    path = tmp_path / "nowhere" / "serial"
    more = f"<devices><serial type='file'><source path='{path}'/></serial></devices>"
    guest = bench.guest(make_spec(more=more))
    with pytest.raises(StorageError, match="nowhere"):
        bench.hypervisor.launch(guest, guest.spec)
    assert bench.state(guest) is DomainState.SHUTOFF


# Saving


def test_a_restored_guest_goes_on(bench: Bench, make_spec: Make) -> None:
    """Ticks, boots and what was asked of it come back; what it does not need may change."""
    spec = make_spec(sim="shutdown-delay='1'")
    guest = bench.guest(spec)
    hypervisor = bench.hypervisor
    hypervisor.launch(guest, spec)
    hypervisor.resume(guest)
    bench.advance(1)
    hypervisor.reset(guest)
    bench.advance(1)
    hypervisor.shutdown(guest)
    hypervisor.suspend(guest)
    fd = saved(bench, guest)
    again = bench.guest(spec)
    hypervisor.restore_stream(again, make_spec(name="other"), fd, Job("restore"))
    assert bench.ticks(again) == 100
    assert figures(hypervisor, again).more["sim.boots"] == 2
    hypervisor.resume(again)
    bench.advance(0.9)
    assert bench.state(again) is DomainState.RUNNING
    bench.advance(0.1)
    assert bench.state(again) is DomainState.SHUTOFF
    os.close(fd)
    for one in (guest, again):
        hypervisor.destroy(one)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"memory": 8192}, "2048"),
        ({"sim": "seed='1'"}, "seed 1, the guest was running with 0"),
        ({"sim": "ticks-per-second='1'"}, "rate 1"),
    ],
)
def test_a_definition_that_does_not_fit(
    bench: Bench, changed: dict[str, Any], words: str, make_spec: Make
) -> None:
    """What decides about memory's contents cannot change between save and restore."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    fd = saved(bench, guest)
    other = bench.guest(make_spec())
    with pytest.raises(PolyvisorError, match=words):
        bench.hypervisor.restore_stream(other, make_spec(**changed), fd, Job("restore"))
    os.close(fd)
    assert bench.state(other) is DomainState.SHUTOFF
    bench.hypervisor.destroy(guest)


def test_a_damaged_stream_leaves_nothing(bench: Bench, make_spec: Make) -> None:
    """The error names the offset from the start of the file, and no guest is left."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    bench.hypervisor.resume(guest)
    bench.advance(1)
    bench.hypervisor.suspend(guest)
    fd = os.memfd_create("image")
    os.write(fd, b"h" * 100)
    bench.hypervisor.save_stream(guest, fd, Job("save"))
    length = os.lseek(fd, 0, os.SEEK_END)
    other = bench.guest(make_spec())
    for cut in (length - 1, length - 16, length // 2, 100 + 39, 101):
        os.ftruncate(fd, cut)
        os.lseek(fd, 100, os.SEEK_SET)
        with pytest.raises(SaveImageError) as caught:
            bench.hypervisor.restore_stream(other, other.spec, fd, Job("restore"))
        assert caught.value.offset == cut
        assert bench.state(other) is DomainState.SHUTOFF
    os.close(fd)
    bench.hypervisor.destroy(guest)


def test_no_stream_is_a_fresh_boot(bench: Bench, make_spec: Make) -> None:
    """An image of a definition alone gives a guest that has just been switched on."""
    guest = bench.guest(make_spec())
    fd = os.memfd_create("image")
    bench.hypervisor.restore_stream(guest, guest.spec, fd, Job("restore"))
    os.close(fd)
    assert bench.ticks(guest) == 0
    bench.hypervisor.destroy(guest)


def test_a_disk_that_is_full(bench: Bench, make_spec: Make) -> None:
    """Saving where there is no room is a ``StorageError`` and leaves the guest as it was."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(StorageError, match=r"[Nn]o space"):
        bench.hypervisor.save_stream(guest, fd, Job("save"))
    os.close(fd)
    assert bench.ticks(guest) == 0
    bench.hypervisor.destroy(guest)


def test_saving_can_be_cancelled(bench: Bench, make_spec: Make) -> None:
    """Between two pieces of memory it stops."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    job = Job("save", lambda progress: job.cancel("enough"))
    fd = os.memfd_create("image")
    with pytest.raises(Cancelled, match="enough"):
        bench.hypervisor.save_stream(guest, fd, job)
    os.close(fd)
    assert bench.ticks(guest) == 0
    bench.hypervisor.destroy(guest)


# Waiting


def test_waiting_hears_what_others_do(bench: Bench, make_spec: Make) -> None:
    """Whoever waits wakes up when somebody destroys the guest; otherwise it gives up in time."""
    guest = bench.guest(make_spec())
    bench.hypervisor.launch(guest, guest.spec)
    # This clock stands still, so there is no waiting by it: look, and no more.
    assert not bench.hypervisor.wait_gone(guest, 0)
    seen: list[bool] = []
    waiter = threading.Thread(target=lambda: seen.append(bench.hypervisor.wait_gone(guest, None)))
    waiter.start()
    bench.hypervisor.resume(guest)
    bench.hypervisor.suspend(guest)
    assert not seen
    bench.hypervisor.destroy(guest)
    waiter.join(10)
    assert seen == [True]


def test_watching_reports_what_guests_do_of_themselves(bench: Bench, make_spec: Make) -> None:
    """Ending and rebooting are reported once each; suspending postpones them."""
    bench.hypervisor.clock = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    guests = [
        bench.guest(make_spec(name="off", sim="poweroff-at='4'")),
        bench.guest(make_spec(name="crash", sim="crash-at='6'")),
        bench.guest(make_spec(name="again")),
    ]
    for guest in guests:
        bench.hypervisor.launch(guest, guest.spec)
    heard: list[tuple[str, EventKind, str]] = []
    arrived = threading.Semaphore(0)

    def report(guest: Guest, kind: EventKind, detail: str, data: object) -> None:
        heard.append((guest.name, kind, detail))
        arrived.release()

    stop_fd, changed_fd = os.eventfd(0), os.eventfd(0)
    thread = threading.Thread(
        target=bench.hypervisor.watch, args=(lambda: guests, report, stop_fd, changed_fd)
    )
    thread.start()
    for guest in guests:
        bench.hypervisor.resume(guest)
    for _ in range(2):
        assert arrived.acquire(timeout=10)
    bench.hypervisor.reboot(guests[2])
    assert arrived.acquire(timeout=10)
    os.eventfd_write(changed_fd, 1)
    os.eventfd_write(stop_fd, 1)
    thread.join(10)
    assert not thread.is_alive()
    assert heard == [
        ("off", EventKind.STOPPED, "shutdown"),
        ("crash", EventKind.CRASHED, "crashed"),
        ("again", EventKind.REBOOT, "reboot"),
    ]
    os.close(stop_fd)
    os.close(changed_fd)
    for guest in guests:
        bench.hypervisor.destroy(guest)
