"""One client of polyvisord: what is read of it, and when."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from polyvisor_remote.server._transport import PlainTransport
from polyvisor_remote.server.client import CALLS_MAX, Client, Identity
from polyvisor_remote.server.crew import Crew
from polyvisor_remote.server.loop import Loop
from polyvisor_remote.wire import Kind, Message, Status, frame

_CALL = frame(0x20008086, 1, 59, Kind.CALL, 1, Status.OK)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Run a loop of its own."""
    crew = Crew()
    loop = Loop(crew, lambda: None)
    loop.start()
    yield loop
    loop.stop()
    crew.close(5)


class _Hasty(Client):
    """A client all of whose calls end in the moment in which they are seen to be too many."""

    _begun = 0
    ended = False

    @property
    def calls(self) -> int:
        """How many are under way; those that are seen here are over when this returns."""
        seen = self._begun
        if seen >= CALLS_MAX and not self.ended:
            self.ended = True
            for _ in range(seen):
                self.end_call()
        return seen

    @calls.setter
    def calls(self, count: int) -> None:
        self._begun = count


def test_calls_that_end_while_a_client_is_put_off_do_not_leave_it_unread(loop: Loop) -> None:
    """Between the look at its calls and the pause, the last of them may end."""
    ours, theirs = socket.socketpair()
    heard: list[Message] = []
    enough = threading.Semaphore(0)
    gone = threading.Event()

    def handle(client: Any, message: Message) -> bool:
        heard.append(message)
        if not client.ended:
            client.begin_call()
        enough.release()
        return True

    client = _Hasty(
        PlainTransport(theirs),
        loop,
        handle,
        lambda client: gone.set(),
        readonly=False,
        identity=Identity(),
        authenticated=True,
    )
    with ours:
        ours.sendall(_CALL * (CALLS_MAX + 1))
        for count in range(CALLS_MAX + 1):
            assert enough.acquire(timeout=20), f"{count} calls were read, and no more"
        assert client.ended
        ours.sendall(_CALL)
        assert enough.acquire(timeout=20), "what is sent later is not read"
    assert gone.wait(20)
    assert len(heard) == CALLS_MAX + 2
