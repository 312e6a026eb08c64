"""What polyvisord does while clients leave, while it stops, and when it can have no thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wire_client import WireClient

import polyvisor
from polyvisor.config import Config
from polyvisor_remote.server.client import Client
from polyvisor_remote.server.crew import Crew
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.loop import Loop
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from conftest import Daemon

TEST = "test:///default"
PATIENCE = 30.0


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@contextmanager
def serving(
    folder: Path, open_: Callable[[str | None, bool], polyvisor.connection.Connection]
) -> Iterator[tuple[Server, str]]:
    """Serve what a function opens; yield the server and its socket."""
    server = Server(open_)
    server.start()
    try:
        path = str(folder / "s")
        server.listen(UnixListener.bind(path))
        yield server, path
    finally:
        server.stop(1)


class _Leaving(Client):
    """A client whose calls are looked at in the moment in which the others leave."""

    leave: Callable[[], None]

    @property
    def calls(self) -> int:
        """None are under way, once the others have left."""
        self.leave()
        return 0

    @calls.setter
    def calls(self, count: int) -> None:
        """Nobody counts them."""


def test_clients_may_leave_while_the_daemon_stops(daemon: Daemon) -> None:
    """Who is still there is looked for among those who are leaving."""
    with ExitStack() as stack:
        clients = [stack.enter_context(WireClient(daemon.path, TEST)) for _ in range(8)]

        def leave() -> None:
            for client in clients[1:]:
                client.socket.close()
            until(lambda: len(daemon.server.clients) <= 1, "they do not leave")

        for served in daemon.server.clients:
            served.leave = leave  # type: ignore[attr-defined]
            served.__class__ = _Leaving
        daemon.server.stop(1)
        assert not daemon.server.clients


def test_a_connection_that_opens_when_its_client_has_left_is_closed(tmp_path: Path) -> None:
    """Nobody has it then, so it must not stay."""
    go, opened = threading.Event(), []

    def open_(target: str | None, readonly: bool) -> polyvisor.connection.Connection:
        assert go.wait(PATIENCE)
        opened.append(polyvisor.open(target, readonly=readonly, config=Config(root=str(tmp_path))))
        return opened[0]

    with serving(tmp_path, open_) as (server, path):
        with WireClient(path) as client:
            client.call("auth_list")
            client.send("connect_open", TEST, 0)
            until(lambda: server._pool._shared, "nothing is opened")
        until(lambda: not server.clients, "it does not leave")
        go.set()
        until(lambda: not server._pool._shared, "the connection stays")
        assert opened
        with pytest.raises(polyvisor.PolyvisorError):
            opened[0].domains.list()


def test_nobody_is_woken_after_the_end() -> None:
    """The number of a descriptor that is closed may be that of something else."""
    crew = Crew()
    loop = Loop(crew, lambda: None)
    loop.start()
    loop.stop()
    crew.close(5)
    others = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(20)]
    try:
        loop.post(lambda: None)
        for fd in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(fd)
    finally:
        for fd in others:
            os.close(fd)


class _Slow:
    """A driver's domains whose list takes as long as somebody wants."""

    def __init__(self, domains: Any, begun: threading.Event, go: threading.Event) -> None:
        self._domains = domains
        self._begun, self._go = begun, go

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domains, name)

    def list(self, **kinds: bool) -> Any:
        """Wait, then list."""
        self._begun.set()
        assert self._go.wait(PATIENCE)
        return self._domains.list(**kinds)


def test_without_threads_the_daemon_serves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that takes long holds the others then, but everybody is answered in the end."""
    begun, go = threading.Event(), threading.Event()

    def open_(target: str | None, readonly: bool) -> polyvisor.connection.Connection:
        host = polyvisor.open(target, readonly=readonly, config=Config(root=str(tmp_path)))
        host.driver.domains = _Slow(host.driver.domains, begun, go)  # type: ignore[assignment]
        return host

    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "polyvisord":
            raise RuntimeError("can't start new thread")
        start(thread)

    with serving(tmp_path, open_) as (server, path):
        with WireClient(path, TEST) as client, WireClient(path, TEST) as other:
            monkeypatch.setattr(threading.Thread, "start", scarce)
            first = client.send("connect_num_of_domains")
            assert begun.wait(PATIENCE)
            second = other.send("connect_get_hostname")
            until(lambda: "no more" in caplog.text, "nobody took the loop over")
            go.set()
            assert client.receive().serial == first
            assert other.receive().serial == second
            assert caplog.text.count("no more") == 1
            monkeypatch.setattr(threading.Thread, "start", start)
            assert client.call("connect_num_of_domains").num == 1
        until(lambda: not server.clients, "they do not leave")
