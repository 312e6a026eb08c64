"""A channel that is opened anew when it breaks, so that a daemon may be restarted.

What was under way when it broke is an error, since nobody knows whether it was done; the
next call opens it again. While somebody listens for events, a thread does so at once, and
asks for the events again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import AuthError, ConnectionClosed, PolyvisorError
from polyvisor_remote.client.channel import Channel
from polyvisor_remote.client.login import PERSON, log_in
from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from polyvisor_remote.client.login import Credentials
    from polyvisor_remote.client.pipe import Pipe
    from polyvisor_remote.client.stream import Stream
    from polyvisor_remote.wire import Message, Procedure

__all__ = ["Link"]

#: Calls that are under way at the same time when there are many to make.
_BATCH = 64
#: Seconds between attempts to reach a server that is gone: from, to, and for how long in all.
_PAUSE, _PAUSE_MAX, _PATIENCE = 0.1, 5.0, 120.0
#: Seconds that a server has for an answer until it is open.
_ANSWER = 30.0
#: ``VIR_CONNECT_RO`` and ``VIR_DRV_FEATURE_PROGRAM_KEEPALIVE``.
_READ_ONLY, _KEEPALIVE = 1, 10

_remote = program("remote")


def _procedure(name: str) -> Procedure:
    home, _, rest = name.rpartition(":")
    return program(home)[rest] if home else _remote[name]


class Link:
    """A server, however often it is restarted.

    Args:
        reach: makes a way to it.
        name: URI of what it is to open; ``None``: the server's default.
        readonly: whether only to look.
        credentials: who we are, if it asks.
        interval: see :class:`~polyvisor_remote.client.channel.Channel`.
        count: see there.
        limit: seconds that the server has for each answer until it is open; ``None``: as long
            as is usual, which is longer where a person may be asked for a password meanwhile.
    """

    def __init__(
        self,
        reach: Callable[[], Pipe],
        name: str | None,
        *,
        readonly: bool = False,
        credentials: Credentials | None = None,
        interval: float = 5.0,
        count: int = 5,
        limit: float | None = None,
    ) -> None:
        self._reach = reach
        self._name = name
        self._readonly = readonly
        self._credentials = credentials
        self._interval, self._count, self._limit = interval, count, limit
        self._closed = threading.Event()
        self._renewing = threading.RLock()
        self._pump: threading.Thread | None = None
        self._subscribe: Callable[[Channel], None] | None = None
        self._heard: Callable[[Message], None] = lambda message: None
        self._lost: Callable[[PolyvisorError], None] = lambda error: None
        self._channel = self._open()

    # Calling

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a procedure and return its answer, a named tuple.

        Raises:
            PolyvisorError: the server's error, in our words.
            ConnectionClosed: the connection broke meanwhile, or was closed.
        """
        channel = self._channel
        if channel.dead is not None:
            channel = self._renewed()
        return channel.call(_remote[name], arguments)

    def begin(self, name: str, *arguments: Any) -> tuple[Any, Stream]:
        """Call a procedure that a stream follows; return its answer and the stream."""
        channel = self._channel
        if channel.dead is not None:
            channel = self._renewed()
        return channel.begin(_remote[name], arguments)

    def call_with(self, name: str, *arguments: Any, files: Sequence[int]) -> Any:
        """Call a procedure with descriptors; they stay the caller's. Names as in :meth:`call_all`.

        Raises:
            Unsupported: this connection carries none.
        """
        return self._living().call_with(_procedure(name), arguments, files)

    def exchange(self, procedure: Procedure, arguments: Iterable[Any]) -> Message:
        """Call a procedure and return the answer as it came, which may be an error.

        Raises:
            ConnectionClosed: see :meth:`call`.
        """
        channel = self._channel
        if channel.dead is not None:
            channel = self._renewed()
        return channel.exchange(procedure, arguments)

    def call_all(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Make many calls, each a name and its arguments, without waiting between them.

        The name of a procedure of another program has that before it, as in ``"qemu:NAME"``.

        Returns:
            Answers in the order of the calls; one that is an error is there as it is.
        """
        channel = self._channel
        if channel.dead is not None:
            channel = self._renewed()
        made = [(_procedure(name), arguments) for name, *arguments in calls]
        answers: list[Any] = []
        for first in range(0, len(made), _BATCH):
            answers += channel.call_all(made[first : first + _BATCH])
        return answers

    def answers(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Make many calls as :meth:`call_all` does; the first error is raised."""
        found = self.call_all(calls)
        for answer in found:
            if isinstance(answer, PolyvisorError):
                raise answer
        return found

    # Events

    def listen(
        self,
        subscribe: Callable[[Channel], None],
        heard: Callable[[Message], None],
        lost: Callable[[PolyvisorError], None],
    ) -> None:
        """Have a thread receive events from now on, across connections.

        Args:
            subscribe: asks a server for the events; called for each connection anew.
            heard: called with each event.
            lost: called when there will be no more, with the reason.
        """
        with self._renewing:
            self._subscribe, self._heard, self._lost = subscribe, heard, lost
            self._ready(self._living())
            if self._pump is None:
                self._pump = threading.Thread(target=self._run, name="remote-events", daemon=True)
                self._pump.start()

    def _ready(self, channel: Channel) -> None:
        """Ask a server for events, and to say now and then that it is there."""
        if self._subscribe is None:
            return
        try:
            asked = channel.call(_remote["connect_supports_feature"], (_KEEPALIVE,))
            channel.insists = bool(asked.supported)
        except ConnectionClosed:
            raise
        except PolyvisorError:
            pass
        self._subscribe(channel)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._channel.pump()
            if self._closed.is_set():
                break
            try:
                self._persevere()
            except PolyvisorError as error:
                self._lost(error)
                with self._renewing:
                    self._pump = None
                return
        self._lost(ConnectionClosed("the connection was closed"))

    def _persevere(self) -> None:
        """Open a channel again, and try for a while."""
        pause, waited = _PAUSE, 0.0
        while True:
            try:
                self._renewed()
                return
            except AuthError:
                raise
            except PolyvisorError:
                if waited >= _PATIENCE or self._closed.wait(pause):
                    raise
            waited += pause
            pause = min(2 * pause, _PAUSE_MAX)

    # Opening and closing

    def _living(self) -> Channel:
        return self._channel if self._channel.dead is None else self._renewed()

    def _renewed(self) -> Channel:
        """Return a channel that lives, a new one if need be.

        Raises:
            ConnectError: the server cannot be reached.
        """
        with self._renewing:
            if self._closed.is_set():
                raise ConnectionClosed("the connection was closed; open it again")
            if self._channel.dead is not None:
                self._channel.close()
                self._channel = self._open()
            return self._channel

    def _open(self) -> Channel:
        pipe = self._reach()
        channel = Channel(pipe, self._tell, interval=self._interval, count=self._count)
        try:
            if self._limit is None:
                channel.limit(PERSON if pipe.asks else _ANSWER)
            elif self._limit > 0:
                channel.limit(self._limit)
            log_in(channel, self._credentials, person=PERSON if self._limit is None else None)
            # The answer comes with that to the next call.
            channel.greet()
            flags = _READ_ONLY if self._readonly else 0
            channel.call(_remote["connect_open"], (self._name, flags))
            channel.limit(None)
            self._ready(channel)
        except BaseException as error:
            channel.close()
            if isinstance(error, ConnectionClosed) and (said := pipe.farewell()):
                raise ConnectionClosed(f"{error.message}: {said}") from error
            raise
        return channel

    def _tell(self, message: Message) -> None:
        self._heard(message)

    @property
    def secure(self) -> bool:
        """Whether nobody else can listen in."""
        return self._channel.pipe.secure

    @property
    def files(self) -> bool:
        """Whether descriptors can go along."""
        return self._channel.pipe.files

    @property
    def alive(self) -> bool:
        """Whether the connection has not broken, as far as is known."""
        return self._channel.dead is None

    def close(self) -> None:
        """Hang up, and end the thread that listens; a second call does nothing."""
        self._closed.set()
        channel = self._channel
        if channel.dead is None:
            with suppress(PolyvisorError):
                channel.call(_remote["connect_close"], ())
        with self._renewing:
            self._channel.close()
            pump = self._pump
        if pump is not None and pump is not threading.current_thread():
            pump.join()
