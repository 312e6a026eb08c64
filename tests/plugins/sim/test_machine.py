"""A machine's clock, against one that is stepped through nanosecond by nanosecond events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SchemaError
from polyvisor_sim.machine import Machine
from polyvisor_sim.parameters import Parameters

SECOND = 1_000_000_000


def machine(
    after: tuple[str, str, str] = ("destroy", "restart", "destroy"), **known: int
) -> Machine:
    """Return a machine that was started at host time 0."""
    return Machine(Parameters(**known), 1 << 20, after=after).resume(0)  # type: ignore[arg-type]


def test_ticks_follow_the_time() -> None:
    """A tick is done when its time is full, not before."""
    guest = machine(rate=100)
    assert guest.at(0).ticks == 0
    assert guest.at(SECOND // 100 - 1).ticks == 0
    assert guest.at(SECOND // 100).ticks == 1
    assert guest.at(3600 * SECOND).ticks == 360_000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, SECOND)), max_size=20))
def test_only_running_counts(steps: list[tuple[bool, int]]) -> None:
    """However often it is stopped and resumed, guest time is the sum of the running times."""
    guest, time, ran = machine(rate=1000), 0, 0
    for stop, duration in steps:
        time, ran = time + duration, ran + duration
        if stop:
            guest = guest.stop(time)
            assert guest.at(time + 5 * SECOND) == guest.at(time)
            time += duration
            guest = guest.resume(time)
    assert guest.at(time).run == ran
    assert guest.at(time).ticks == ran * 1000 // SECOND


def test_shutdown_comes_after_its_delay_in_guest_time() -> None:
    """A guest that is stopped meanwhile shuts down later."""
    guest = machine(shutdown_delay=2).ask("shutdown", SECOND)
    assert guest.next_end(SECOND) == 3 * SECOND
    guest = guest.stop(2 * SECOND)
    assert guest.next_end(2 * SECOND) is None
    assert guest.at(100 * SECOND).gone is None
    guest = guest.resume(100 * SECOND)
    assert guest.next_end(100 * SECOND) == 101 * SECOND
    assert guest.at(101 * SECOND - 1).gone is None
    moment = guest.at(500 * SECOND)
    assert (moment.gone, moment.run, moment.ticks) == ("shutdown", 3 * SECOND, 300)


def test_a_guest_may_ignore_requests() -> None:
    """Neither shutdown nor reboot reaches a guest that ignores them."""
    guest = Machine(Parameters(ignore_shutdown=True), 1 << 20).resume(0)
    assert guest.ask("shutdown", SECOND).at(9 * SECOND).gone is None
    assert guest.ask("reboot", SECOND).at(9 * SECOND).boots == 1


def test_reboot_begins_a_new_boot() -> None:
    """Ticks count from the boot, guest time from the start."""
    guest = machine().ask("reboot", SECOND)
    moment = guest.at(3 * SECOND)
    assert (moment.boots, moment.ticks, moment.run) == (2, 200, 3 * SECOND)
    assert guest.stop(3 * SECOND).due is None


def test_reset_is_at_once_and_drops_what_was_asked() -> None:
    """A reset guest has forgotten that it was to shut down."""
    guest = machine(shutdown_delay=2).ask("shutdown", SECOND).reset(2 * SECOND)
    moment = guest.at(4 * SECOND)
    assert (moment.boots, moment.ticks, moment.gone) == (2, 200, None)


@pytest.mark.parametrize(("known", "gone"), [("poweroff_at", "shutdown"), ("crash_at", "crashed")])
def test_it_ends_at_its_tick(known: str, gone: str) -> None:
    """A guest that ends of itself has done exactly the ticks it was to do."""
    guest = machine(rate=300, **{known: 7})
    end = guest.next_end(0)
    assert end is not None
    assert guest.at(end - 1).gone is None
    assert guest.at(end - 1).ticks == 6
    assert guest.at(end).gone == gone
    assert guest.at(end + SECOND).ticks == 7
    assert guest.stop(end + SECOND).at(end + 2 * SECOND).gone == gone


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 40))
def test_going_round_many_times(asked: int, life: int, more: int) -> None:
    """A guest that restarts whenever it ends is where single steps lead to."""
    guest = machine(("restart", "restart", "restart"), rate=1, poweroff_at=life)
    guest = guest.ask("reboot", asked * SECOND)
    boots, ticks = 1, 0
    for second in range(asked + more + 1):
        if second:
            ticks += 1
        if ticks == life:
            boots, ticks = boots + 1, 0
        if second == asked:
            boots, ticks = boots + 1, 0
    moment = guest.at((asked + more) * SECOND)
    assert (moment.boots, moment.ticks) == (boots, ticks)
    assert moment.gone is None


def test_a_century_of_restarts_is_one_step() -> None:
    """Nothing is counted one by one."""
    guest = machine(("restart", "restart", "destroy"), rate=1_000_000, poweroff_at=1)
    assert guest.at(100 * 365 * 86400 * SECOND).boots == 100 * 365 * 86400 * 1_000_000 + 1


def test_it_survives_as_json() -> None:
    """What a rack writes down is the machine again."""
    guest = machine(seed=3).ask("shutdown", 7)
    assert Machine.from_dict(json.loads(json.dumps(guest.to_dict()))) == guest


def test_parameters_are_read() -> None:
    """Each attribute of ``<sim:guest>`` has its meaning."""
    attributes = {
        "ticks-per-second": "5",
        "dirty-pages": "6",
        "working-set": "7",
        "seed": "8",
        "ignore-shutdown": "yes",
        "shutdown-delay": "0.25",
        "poweroff-at": "9",
        "crash-at": "10",
    }
    assert Parameters.parse(attributes) == Parameters(5, 6, 7, 8, True, 0.25, 9, 10)
    assert Parameters.parse({}) == Parameters()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ticks-per-second", "1000001"),
        ("ticks-per-second", "-1"),
        ("dirty-pages", "4.5"),
        ("dirty-pages", "9" * 5000),
        ("working-set", "٣"),
        ("seed", ""),
        ("shutdown-delay", "nan"),
        ("shutdown-delay", "soon"),
        ("ignore-shutdown", "true"),
        ("colour", "red"),
    ],
)
def test_wrong_parameters_are_named(name: str, value: str) -> None:
    """What is not allowed is refused with element and attribute."""
    with pytest.raises(SchemaError, match=name) as caught:
        Parameters.parse({name: value})
    assert caught.value.element == "domain/metadata/sim:guest"
    assert len(caught.value.message) < 300
