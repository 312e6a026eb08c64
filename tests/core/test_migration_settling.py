"""Migrations whose connection breaks in finish: the source finds out who has the domain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import polyvisor
from polyvisor import migration
from polyvisor.errors import ConnectError, HypervisorError, MigrationError, OperationInvalid
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

GUEST = "<domain type='sim'><name>g</name><memory unit='MiB'>1</memory></domain>"


@attrs.frozen
class Pair:
    """A source with a guest that runs, and a destination."""

    source: Connection
    destination: Connection
    domain: Domain


@pytest.fixture
def pair(own_home: Path) -> Iterator[Pair]:
    """Hold two simulated hosts on disk."""
    with (
        polyvisor.open(f"sim:///a?root={own_home}/a") as source,
        polyvisor.open(f"sim:///b?root={own_home}/b") as destination,
    ):
        yield Pair(source, destination, source.domains.create(GUEST))


def breaking(
    pair: Pair,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Callable[[bool], Any]], None],
    *,
    settling: float = 10,
) -> None:
    """Let the connection break in finish, and the destination do something of itself.

    Args:
        pair: both hosts.
        monkeypatch: pytest's.
        act: is given what ends the arrival, cancelled or not.
        settling: seconds that the source waits for the destination to settle it.
    """
    part = pair.destination.driver.migration
    finish = part.finish

    def broken(uuid: Any, cookie: Any, options: Any, *, cancelled: bool) -> Any:
        act(lambda cancelled: finish(uuid, cookie, options, cancelled=cancelled))
        raise ConnectError("the connection broke")

    monkeypatch.setattr(migration, "SETTLING", settling)
    monkeypatch.setattr(part, "finish", broken)


def test_it_was_taken_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer alone was lost: the domain is over there, and only there."""
    breaking(pair, monkeypatch, lambda end: end(False))
    moved = pair.domain.migrate(pair.destination)
    assert moved.state is DomainState.RUNNING
    assert pair.source.domains.list() == []


@pytest.mark.parametrize("over_there", [False, True])
def test_it_is_settled_later(pair: Pair, monkeypatch: pytest.MonkeyPatch, over_there: bool) -> None:
    """A guest that waits for its memory over there is nobody's proof: its end is waited for."""
    timers: list[threading.Timer] = []

    def later(end: Callable[[bool], Any]) -> None:
        timers.append(threading.Timer(0.5, end, (not over_there,)))
        timers[0].start()

    breaking(pair, monkeypatch, later)
    if over_there:
        assert pair.domain.migrate(pair.destination).state is DomainState.RUNNING
        assert pair.source.domains.list() == []
    else:
        with pytest.raises(MigrationError, match="on the source as before") as caught:
            pair.domain.migrate(pair.destination)
        assert caught.value.owner == "source"
        assert pair.domain.state is DomainState.RUNNING
        assert pair.destination.domains.list() == []
    timers[0].join()


def test_it_is_not_settled(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it stands still here, and is lost by nobody; when it is settled it goes on."""
    ends: list[Callable[[bool], Any]] = []
    breaking(pair, monkeypatch, ends.append, settling=0.2)
    with pytest.raises(MigrationError, match="has not settled") as caught:
        pair.domain.migrate(pair.destination)
    assert caught.value.owner is None
    assert pair.domain.state is DomainState.PAUSED
    # Nobody here holds it any more; the destination works on it still.
    leaving = pair.source.driver.migration
    with pytest.raises(OperationInvalid, match="still at work on it"):
        leaving.confirm(pair.domain.uuid, None, migration.MigrationOptions(), cancelled=True)
    ends[0](True)
    pair.domain.set_title("settled")  # Taking hold of it finds out.
    assert pair.domain.state is DomainState.RUNNING
    assert pair.destination.domains.list() == []


def test_the_destination_cannot_be_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is said even if the connection is gone when it is to be undone."""

    def full(*arguments: Any) -> None:
        raise HypervisorError("the wire was cut")

    breaking(pair, monkeypatch, lambda end: None)
    monkeypatch.setattr(pair.source.driver.migration, "perform", full)
    with pytest.raises(MigrationError, match="the wire was cut") as caught:
        pair.domain.migrate(pair.destination)
    assert (caught.value.phase, caught.value.owner) == ("perform", "source")
    assert "sim:///b" in caught.value.message
    assert "could not be told (the connection broke), gives it up" in caught.value.message
    assert pair.domain.state is DomainState.RUNNING


@pytest.mark.parametrize("over_there", [False, True])
def test_it_fails_in_finish_and_breaks_then(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, over_there: bool
) -> None:
    """An error of finish is followed by a connection that is gone: the source asks anew."""
    part = pair.destination.driver.migration
    finish = part.finish

    def broken(uuid: Any, cookie: Any, options: Any, *, cancelled: bool) -> Any:
        if cancelled:
            raise ConnectError("the connection broke")
        finish(uuid, cookie, options, cancelled=not over_there)
        raise HypervisorError("no more memory")

    monkeypatch.setattr(part, "finish", broken)
    if over_there:
        pair.domain.migrate(pair.destination)
        assert pair.source.domains.list() == []
        return
    with pytest.raises(MigrationError, match="no more memory"):
        pair.domain.migrate(pair.destination)
    assert pair.domain.state is DomainState.RUNNING
    assert pair.destination.domains.list() == []
