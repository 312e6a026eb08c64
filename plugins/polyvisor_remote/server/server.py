"""The daemon: takes clients in, and has their calls answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polyvisor_remote.server import failures
from polyvisor_remote.server.client import Client, drop
from polyvisor_remote.server.crew import Crew
from polyvisor_remote.server.dispatch import Entry, Table
from polyvisor_remote.server.failures import Failure, encoded, function_name, unsupported
from polyvisor_remote.server.loop import Loop
from polyvisor_remote.server.passing import Files, announced
from polyvisor_remote.server.session import Pool, Session, Shared
from polyvisor_remote.server.streams import Stream
from polyvisor_remote.wire import (
    HEADER_SIZE,
    MESSAGE_MAX,
    Kind,
    Message,
    Status,
    WireError,
    frame,
    program,
)
from polyvisor_remote.wire.frame import _pack_header

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor_remote.server._transport import Transport
    from polyvisor_remote.server.client import Identity
    from polyvisor_remote.server.listening import Listener
    from polyvisor_remote.server.scram import Users

__all__ = ["Access", "Server"]

#: Decides whether somebody may call a procedure: identity, procedure, arguments.
Access = Callable[["Identity", Any, Any], bool]

_KEEPALIVE = program("keepalive").number
_CALL, _CALL_FDS = int(Kind.CALL), int(Kind.CALL_WITH_FDS)
_DENIED, _ACCESS_DENIED = 29, 88

log = logging.getLogger("polyvisor.remote")


class Server:
    """Serves connections to whoever connects.

    Args:
        open_: opens a connection: a URI or ``None`` for the default, and whether only
            reading is allowed.
        users: who may authenticate, and how; ``None``: nobody.
        access: may refuse a call beyond what read-only clients are refused anyway.
        workers: calls that may be under way at the same time, of those known to take long.
        keepalive: seconds of silence after which a client is asked whether it is there;
            0: never.
        keepalive_count: questions without an answer until it is taken for gone.
        login_time: seconds in which a client must have authenticated.
        most: clients at the same time; the next ones are turned away.

    Attributes:
        clients: who is connected.
        started: when it began, monotonic.
    """

    def __init__(
        self,
        open_: Callable[[str | None, bool], Connection],
        *,
        users: Users | None = None,
        access: Access | None = None,
        workers: int = 20,
        keepalive: float = 5.0,
        keepalive_count: int = 5,
        login_time: float = 60.0,
        most: int = 5000,
    ) -> None:
        self.clients: set[Client] = set()
        self.started = time.monotonic()
        self.users = users
        self._most = most
        self._access = access
        self._keepalive, self._keepalive_count = keepalive, keepalive_count
        self._login_time = login_time
        self._crew = Crew(workers)
        self._loop = Loop(self._crew, self._tick)
        self._table = Table()
        self._pool = Pool(lambda target, readonly: open_(target or None, readonly))
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._stopping = False

    # Life

    def start(self) -> None:
        """Begin to serve, in threads of its own."""
        self._loop.start()

    def listen(self, listener: Listener) -> None:
        """Take clients in from a listener as well."""
        self._listeners.append(listener)
        listener.begin(self, self._loop)

    def stop(self, grace: float = 5.0) -> None:
        """Take nobody in any more, let calls end for so many seconds, and disconnect.

        A second call does nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        for listener in self._listeners:
            listener.end()
        deadline = time.monotonic() + grace
        # Each look at a list of its own: they leave meanwhile.
        while time.monotonic() < deadline and any(client.calls for client in list(self.clients)):
            time.sleep(0.01)
        done = threading.Event()

        def part() -> None:
            for client in list(self.clients):
                client.close()
            done.set()

        self._loop.post(part)
        done.wait(5)
        self._loop.stop()
        for client in list(self.clients):
            client.close()
        self._crew.close(1.0)
        for shared in self._pool:
            shared.close()

    # Clients

    def welcome(
        self,
        transport: Transport,
        *,
        readonly: bool,
        identity: Identity,
        authenticated: bool,
        polkit: bool = False,
    ) -> None:
        """Take a client in."""
        if self._stopping or len(self.clients) >= self._most:
            log.warning("%s is turned away: %d clients are connected", identity, len(self.clients))
            transport.close()
            return
        client = Client(
            transport,
            self._loop,
            self.handle,
            self._left,
            readonly=readonly,
            identity=identity,
            authenticated=authenticated,
            polkit=polkit,
        )
        client.session = Session(self, client)
        self.clients.add(client)
        if not authenticated:
            self._loop.ticking = True

    def _left(self, client: Client) -> None:
        self.clients.discard(client)
        if client.session.holds:
            # What ends with it may wait for a hypervisor.
            self._crew.start(client.session.close)

    def _end_late(self, client: Client) -> None:
        """End what a call began whose client left before the call was done."""
        if client.closed and client.session.holds:
            self._crew.start(client.session.close)

    def keep_alive(self, client: Client) -> None:
        """Ask this client from now on, when it is silent, whether it is there."""
        if self._keepalive and client.pings is None:
            client.pings = 0
            self._loop.ticking = True

    def _tick(self) -> None:
        now = time.monotonic()
        wanted = False
        for client in list(self.clients):
            if not client.authenticated:
                wanted = True
                if now - client.connected > self._login_time:
                    log.info("%s has not said who it is; it is disconnected", client)
                    client.close()
            elif client.pings is not None:
                wanted = True
                if now - client.heard < self._keepalive * (client.pings + 1):
                    continue
                if client.pings >= self._keepalive_count:
                    log.info("%s does not answer any more; it is disconnected", client)
                    client.close()
                else:
                    client.pings += 1
                    client.ping()
        self._loop.ticking = wanted

    # Connections

    def join(self, session: Session, target: str | None) -> Shared:
        """Give a session the connection that it asks for."""
        return self._pool.join(session, target or "", session.client.readonly)

    def renew(self) -> None:
        """Open connections anew for clients that come from now on; the others keep theirs."""
        self._pool.renew()

    def leave(self, session: Session, shared: Shared) -> None:
        """Take a session from its connection."""
        self._pool.leave(session, shared)

    # Calls

    def handle(self, client: Client, message: Message) -> bool:
        """Answer one message; return whether this thread still has the loop."""
        kind = message.kind
        if kind != _CALL and kind != _CALL_FDS:
            self._other(client, message)
            return True
        try:
            entry = self._entry(client, message)
        except Failure as error:
            drop(message.fds)
            self._refuse(client, message, error)
            return True
        if kind == _CALL_FDS and not entry.files:
            drop(message.fds)
        if entry.slow:
            client.begin_call()
            self._crew.queue(lambda: self._apart(client, message, entry))
            return True
        self._loop.busy(client)
        try:
            client.send(self._reply(client, message, entry))
        finally:
            mine = self._loop.done()
            if not mine:
                self._end_late(client)
        return mine

    def _apart(self, client: Client, message: Message, entry: Entry) -> None:
        try:
            if entry.files:
                self._with_files(client, message, entry)
            elif not entry.streams:
                client.send(self._reply(client, message, entry))
            else:
                self._begin_stream(client, message, entry)
        finally:
            client.end_call()
            self._end_late(client)

    def _with_files(self, client: Client, message: Message, entry: Entry) -> None:
        """Answer a call that descriptors come or go with."""
        files = Files(client, message.fds)
        try:
            reply = self._reply(client, message, entry, files)
            if files.given:
                client.send_files(announced(reply, len(files.given)), files.given)
            else:
                client.send(reply)
        finally:
            drop(message.fds)

    def _begin_stream(self, client: Client, message: Message, entry: Entry) -> None:
        """Answer a call that a stream follows."""
        streams = client.session.streams
        numbers = (message.program, message.version, message.procedure, message.serial)
        stream = Stream(client, self._crew, numbers, lambda ended: streams.pop(ended.serial, None))
        streams[stream.serial] = stream
        client.send(self._reply(client, message, entry, stream))
        if stream.sink is None and stream.source is None:
            streams.pop(stream.serial, None)
        else:
            stream.begin()

    def _entry(self, client: Client, message: Message) -> Entry:
        """Return what a message calls, if there is such a thing."""
        version = self._table.version(message.program)
        if version is None:
            raise rpc(f"Cannot find program {message.program} version {message.version}")
        if message.version != version:
            raise rpc(f"version mismatch (actual {message.version:x}, expected {version:x})")
        if message.status:
            raise rpc(f"Unexpected message status {message.status}")
        entry = self._table.get(message.program, message.procedure)
        if entry is None:
            raise rpc(f"unknown procedure: {message.procedure}")
        if not client.authenticated and entry.needs != "nothing":
            raise rpc("authentication required")
        return entry

    def _reply(
        self, client: Client, message: Message, entry: Entry, more: Stream | Files | None = None
    ) -> bytes:
        """Return the whole reply to a call."""
        session = client.session
        program_, version, number, _, serial, _, payload, _ = message
        try:
            arguments = entry.decode(payload)
            if client.readonly and not entry.read_only:
                self._check_read_only(entry, arguments)
            handler = entry.handler
            if entry.needs == "connection" and not session.opened:
                raise Failure(6, f"{function_name(entry.procedure.name)}: no connection is open")
            if (
                self._access is not None
                and entry.needs != "nothing"
                and not self._access(client.identity, entry.procedure, arguments)
            ):
                raise Failure(_ACCESS_DENIED, function_name(entry.procedure.name))
            if handler is None:
                raise unsupported(entry.procedure.name, entry.procedure.program.name)
            if more is None:
                result = handler(session, arguments)
            else:
                result = handler(session, arguments, more)
            encode = entry.encode
            if encode is None:
                content = b""
            else:
                content = result if result.__class__ is bytes else encode(result)
            if len(content) > MESSAGE_MAX - HEADER_SIZE:
                raise rpc(f"the answer has {len(content)} bytes, more than a message may have")
            return (
                _pack_header(28 + len(content), program_, version, number, 1, serial, 0) + content
            )
        except WireError as error:
            log.info("%s, %s: %s", client, entry.procedure.name, error)
            failure: BaseException = rpc(f"Unable to decode message payload: {error.message}")
        except Exception as error:
            from polyvisor.errors import PolyvisorError

            if not isinstance(error, PolyvisorError):
                log.exception("%s, %s: the plugin let this out", client, entry.procedure.name)
            failure = error
        return self._failed(message, failure, session.scheme)

    def _check_read_only(self, entry: Entry, arguments: Any) -> None:
        if entry.procedure.refused_read_only(arguments):
            raise Failure(
                _DENIED, f"read only access prevents {function_name(entry.procedure.name)}"
            )

    def _failed(self, message: Message, error: BaseException, scheme: str) -> bytes:
        return frame(
            message.program,
            message.version,
            message.procedure,
            Kind.REPLY,
            message.serial,
            Status.ERROR,
            encoded(error, scheme),
        )

    def _refuse(self, client: Client, message: Message, error: Failure) -> None:
        log.info("%s: %s", client, error.message)
        client.send(self._failed(message, error, ""))

    def _other(self, client: Client, message: Message) -> None:
        """Take what is no call."""
        drop(message.fds)
        if message.program == _KEEPALIVE:
            if message.kind == Kind.MESSAGE and message.procedure == 1:
                client.pong()
            return
        if message.kind in (Kind.STREAM, Kind.STREAM_HOLE):
            stream = client.session.streams.get(message.serial)
            if stream is not None:
                stream.take(message)
                return
        # Streams may go on for a while after we closed them, and nobody answers events.
        log.debug("%s: a message of kind %d that belongs to nothing", client, message.kind)


def rpc(words: str) -> Failure:
    """Return an error about the protocol itself."""
    return Failure(failures.RPC, words, source=failures.FROM_RPC)
