"""What a client has opened, and the connections behind that."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import ConnectionClosed, PolyvisorError
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import Kind, Status, frame, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.connection import Connection
    from polyvisor.driver import Driver
    from polyvisor.events import AnyEvent
    from polyvisor_remote.server.client import Client
    from polyvisor_remote.server.server import Server
    from polyvisor_remote.server.streams import Stream

__all__ = ["Pool", "Session", "Shared"]

log = logging.getLogger("polyvisor.remote")

_NO_CONN = 6
_CLOSE_REASON_EOF = 1  # virConnectCloseReason
_INTERNAL = 1


class Shared:
    """A connection that several clients use.

    Args:
        key: what it is known by.
        open_: opens it.

    Attributes:
        users: sessions that use it.
        kept: what families keep for all clients of it, by a name of their own.
    """

    def __init__(self, key: tuple[str, bool, int], open_: Callable[[], Connection]) -> None:
        self.key = key
        self.users: set[Session] = set()
        self.kept: dict[str, Any] = {}
        self._open = open_
        self._opened: Connection | None = None
        self._opening = threading.Lock()
        self._listeners: dict[object, Callable[[AnyEvent], None]] = {}
        self._lock = threading.Lock()
        self._listening = False

    @property
    def connection(self) -> Connection:
        """The connection; opened when it is first asked for.

        Raises:
            PolyvisorError: it cannot be opened.
        """
        if self._opened is None:
            with self._opening:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def close(self) -> None:
        """Close it, if it was opened."""
        if self._opened is not None:
            with suppress(PolyvisorError):
                self._opened.close()

    def listen(self, who: object, callback: Callable[[AnyEvent], None]) -> None:
        """Have ``callback`` called with each event from now on, in a thread of its own.

        Raises:
            Unsupported: the driver has no events.
        """
        with self._lock:
            if not self._listening:
                stream = self.connection.events(objects=True)
                threading.Thread(
                    target=self._run, args=(stream,), name="polyvisord-events", daemon=True
                ).start()
                self._listening = True
            self._listeners[who] = callback

    def unlisten(self, who: object) -> None:
        """Tell somebody of no more events."""
        with self._lock:
            self._listeners.pop(who, None)

    def _run(self, stream: Iterator[AnyEvent]) -> None:
        try:
            for event in stream:
                with self._lock:
                    listeners = list(self._listeners.values())
                for listener in listeners:
                    listener(event)
        except ConnectionClosed:
            # The hypervisor went, unless it was the last client that did.
            for session in list(self.users):
                session.tell_closed()
        except Exception:
            log.exception("%s: there are no more events", self.connection.uri)


class Pool:
    """The connections that clients have open, each once."""

    def __init__(self, open_: Callable[[str, bool], Connection]) -> None:
        self._open = open_
        self._shared: dict[tuple[str, bool, int], Shared] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def join(self, session: Session, target: str, readonly: bool) -> Shared:
        """Let a session use the connection to a target; open it if nobody else has.

        Raises:
            PolyvisorError: it cannot be opened.
        """
        with self._lock:
            key = (target, readonly, self._generation)
            shared = self._shared.get(key)
            if shared is None:
                shared = Shared(key, lambda: self._open(target, readonly))
                self._shared[key] = shared
            shared.users.add(session)
        try:
            # Not under the lock: others open something else meanwhile.
            _ = shared.connection
        except BaseException:
            self.leave(session, shared)
            raise
        return shared

    def renew(self) -> None:
        """Open connections anew for who comes from now on."""
        with self._lock:
            self._generation += 1

    def leave(self, session: Session, shared: Shared) -> None:
        """Close the connection if that was the last session."""
        with self._lock:
            shared.users.discard(session)
            if shared.users or self._shared.get(shared.key) is not shared:
                return
            del self._shared[shared.key]
        shared.close()

    def __iter__(self) -> Iterator[Shared]:
        with self._lock:
            return iter(list(self._shared.values()))


class Session:
    """A client's open connection, and all that ends with it.

    Attributes:
        server: the daemon.
        client: the client.
    """

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self._shared: Shared | None = None
        self._driver: Driver | None = None
        self._at_end: list[Callable[[], None]] = []
        #: What families keep for this client, by a name of their own.
        self.kept: dict[str, Any] = {}
        self._lock = threading.Lock()
        #: Streams that are open, by the serial of the call that began each.
        self.streams: dict[int, Stream] = {}

    @property
    def driver(self) -> Driver:
        """The driver behind the connection."""
        driver = self._driver
        if driver is None:
            raise Failure(_NO_CONN, "the connection is not open")
        return driver

    @property
    def shared(self) -> Shared:
        """The connection, with who else uses it."""
        shared = self._shared
        if shared is None:
            raise Failure(_NO_CONN, "the connection is not open")
        return shared

    @property
    def connection(self) -> Connection:
        """The connection."""
        return self.shared.connection

    @property
    def opened(self) -> bool:
        """Whether there is one."""
        return self._driver is not None

    @property
    def holds(self) -> bool:
        """Whether there is anything that ends with it."""
        return self._driver is not None or bool(self.kept or self._at_end or self.streams)

    @property
    def scheme(self) -> str:
        """The scheme of the connection's URI; ``""`` if there is none."""
        shared = self._shared
        return "" if shared is None else shared.connection.uri.partition(":")[0].partition("+")[0]

    def open(self, target: str | None) -> None:
        """Open what the client named.

        Raises:
            Failure: it has one open already.
            PolyvisorError: it cannot be opened.
        """
        with self._lock:
            if self._shared is not None:
                raise Failure(_INTERNAL, "connection already open")
            shared = self.server.join(self, target)
            self._shared = shared
            self._driver = shared.connection.driver

    def at_end(self, task: Callable[[], None]) -> None:
        """Run a task when the client leaves, before its connection is closed."""
        self._at_end.append(task)

    def close(self) -> None:
        """End everything that was for this client; a second call ends what came since."""
        with self._lock:
            shared, self._shared, self._driver = self._shared, None, None
            tasks, self._at_end = self._at_end, []
        for stream in list(self.streams.values()):
            stream.drop()
        for task in reversed(tasks):
            try:
                task()
            except PolyvisorError as error:
                log.info("%s has left: %s", self.client, error)
            except Exception:
                log.exception("%s has left, and something of it is not undone", self.client)
        self.kept.clear()
        if shared is not None:
            shared.unlisten(self)
            shared.unlisten((self, "objects"))
            self.server.leave(self, shared)

    def tell_closed(self) -> None:
        """Tell the client that its connection ended, if it wants to know."""
        if "close callback" in self.kept:
            remote = program("remote")
            closed = remote["connect_event_connection_closed"]
            payload = closed.arguments.codec.encode((_CLOSE_REASON_EOF,))
            numbers = (remote.number, remote.version, closed.number)
            self.client.send(frame(*numbers, Kind.MESSAGE, 0, Status.OK, payload), event=True)

    @staticmethod
    def uuid(dom: Any) -> UUID:
        """Return the UUID of a domain that a client named."""
        return UUID(bytes=dom.uuid)
