"""Lists and figures of many domains: quick where nothing has changed, and never stale."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

import polyvisor
from polyvisor.config import Config
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from polyvisor.connection import Connection

_COUNT = 8


def _add(host: Connection, name: str) -> None:
    host.domains.define(host.domains.build(name=name, memory="16 MiB"))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Callable[[], Connection]]:
    """Open a host of files, any number of times."""
    config = Config(root=str(tmp_path / "root"))
    with ExitStack() as stack:
        yield lambda: stack.enter_context(polyvisor.open("sim:///lists", config=config))


@pytest.fixture(params=["files", "memory"])
def pair(
    request: pytest.FixtureRequest, shared: Callable[[], Connection]
) -> Iterator[tuple[Connection, Connection]]:
    """Two connections to one host with some domains, half of which run."""
    with ExitStack() as stack:
        if request.param == "files":
            one, other = shared(), shared()
        else:
            one, other = (stack.enter_context(polyvisor.open("test:///default")) for _ in "ab")
        for number in range(_COUNT):
            _add(one, f"d{number}")
            if number % 2:
                one.domains[f"d{number}"].start()
        yield one, other


def _told(host: Connection) -> dict[str, DomainState]:
    """Return the states of all domains, in which all ways to list them agree."""
    told = {one.name: one.state for one in host.domains.summaries()}
    assert {domain.name for domain in host.domains.list()} == set(told)
    halves = [host.driver.domains.all_stats(inactive=half, active=not half) for half in (0, 1)]
    for active, found in zip((True, False), halves, strict=True):
        assert {one.name for one, _ in found} == {
            name for name, state in told.items() if state.active is active
        }
    for groups in (None, {"state"}):
        for one, figures in host.driver.domains.all_stats(groups=groups):
            assert one.state is told[one.name]
            assert figures["state.state"] == list(DomainState).index(one.state)
    return told


def _steps(host: Connection) -> Iterator[tuple[str, DomainState | None]]:
    """Change a host step by step; yield whose state is another one now."""
    domains = host.domains
    domains["d0"].start()
    yield "d0", DomainState.RUNNING
    domains["d0"].suspend()
    yield "d0", DomainState.PAUSED
    domains["d0"].resume()
    yield "d0", DomainState.RUNNING
    domains["d1"].destroy()
    yield "d1", DomainState.SHUTOFF
    domains["d1"].undefine()
    yield "d1", None
    _add(host, "d1")
    yield "d1", DomainState.SHUTOFF
    domains["d3"].undefine()
    domains["d3"].destroy()
    yield "d3", None


def test_what_another_connection_does_is_seen_at_once(
    pair: tuple[Connection, Connection],
) -> None:
    """Whoever changes a domain, the next list of anybody says so, in all that it says."""
    known: dict[str, DomainState | None] = {**_told(pair[0])}
    assert len(known) >= _COUNT
    for who in (pair[1], pair[0]):
        for name, state in _steps(who):
            known[name] = state
            expected = {name: state for name, state in known.items() if state is not None}
            for host in (*pair, *pair):
                assert _told(host) == expected
        who.domains["d0"].destroy()
        _add(who, "d3")
        for name in ("d1", "d3"):
            who.domains[name].start()
        known = {**_told(who)}


def test_what_another_process_does_is_seen_at_once(
    shared: Callable[[], Connection], tmp_path: Path
) -> None:
    """A process that lists sees what others have done before each of its lists."""
    host = shared()
    _add(host, "d0")
    script = tmp_path / "other.py"
    script.write_text(
        "import sys, polyvisor\n"
        "from polyvisor.config import Config\n"
        f"config = Config(root={str(tmp_path / 'root')!r})\n"
        "with polyvisor.open('sim:///lists', config=config) as host:\n"
        "    for line in sys.stdin:\n"
        "        getattr(host.domains['d0'], line.strip())()\n"
        "        print('done', flush=True)\n"
    )
    other = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    expected = {"start": "running", "suspend": "paused", "resume": "running", "destroy": "shut off"}
    try:
        for _ in range(3):
            for verb, state in expected.items():
                _told(host)
                print(verb, file=other.stdin, flush=True)
                assert other.stdout.readline() == "done\n"
                assert _told(host) == {"d0": state}
    finally:
        other.stdin.close()
        assert other.wait(20) == 0
        other.stdout.close()


def test_a_guest_that_ends_of_itself_is_seen(pair: tuple[Connection, Connection]) -> None:
    """Nobody changes a record, and a list says all the same that the guest has ended."""
    host, other = pair
    _told(host)
    host.domains["d1"].shutdown()
    deadline = monotonic() + 20
    # Other questions than this one would look at each guest by itself.
    while {one.name: one.state for one in host.domains.summaries()}["d1"].active:
        assert monotonic() < deadline, "the guest does not end"
    assert _told(other)["d1"] is DomainState.SHUTOFF


def test_lists_are_right_while_others_write(pair: tuple[Connection, Connection]) -> None:
    """What a thread has defined is in every list that begins after that."""
    one = pair[0]
    defined: list[str] = []
    failed: list[str] = []
    over = threading.Event()

    def look(host: Connection) -> None:
        while not over.is_set():
            before = list(defined)
            told = {each.name for each in host.domains.summaries()}
            failed.extend(name for name in before if name not in told)

    def define(host: Connection, letter: str) -> None:
        for number in range(40):
            name = f"{letter}{number}"
            _add(host, name)
            defined.append(name)

    lookers = [threading.Thread(target=look, args=(host,)) for host in pair]
    writers = [threading.Thread(target=define, args=(host, "xy"[host is one])) for host in pair]
    for thread in (*lookers, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    over.set()
    for thread in lookers:
        thread.join(60)
    assert not failed
    assert len(defined) == 80


def test_an_unchanged_host_gives_the_same_list(pair: tuple[Connection, Connection]) -> None:
    """Nothing is made anew as long as nothing has changed, which the answer's identity says."""
    domains = pair[0].driver.domains
    before = domains.summaries()
    assert domains.summaries() is before
    figures = domains.all_stats(groups={"state"})
    assert domains.all_stats(groups={"state"}) is figures
    pair[1].domains["d0"].start()
    assert domains.summaries() is not before
    assert domains.all_stats(groups={"state"}) is not figures
