"""One client: what it sent, what is to be sent to it, and who it is."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor_remote.wire import FrameReader, Kind, Message, Status, WireError, frame, program
from polyvisor_remote.wire.frame import MESSAGE_MAX

if TYPE_CHECKING:
    from polyvisor_remote.server._transport import Transport
    from polyvisor_remote.server.loop import Loop
    from polyvisor_remote.server.session import Session

__all__ = ["Client", "Identity"]

#: Bytes that one read takes, and those of a long message.
_READ, _READ_LONG = 65536, 1 << 20
#: Bytes of a message from somebody who has not said who they are.
ANONYMOUS_MAX = 262144
#: Calls of one client that may be under way in other threads; the next ones wait.
CALLS_MAX = 5
#: Bytes that may wait to be sent before no more calls are read, and before events end it.
REPLIES_MAX, EVENTS_MAX = 4 << 20, 8 << 20
#: Bytes that streams let wait.
STREAMS_MAX = 1 << 20

log = logging.getLogger("polyvisor.remote")
_keepalive = program("keepalive")
_PING = frame(_keepalive.number, 1, 1, Kind.MESSAGE, 0, Status.OK)
_PONG = frame(_keepalive.number, 1, 2, Kind.MESSAGE, 0, Status.OK)


@attrs.frozen
class Identity:
    """Who a client is, as far as that is known.

    Attributes:
        name: ``"uid:0"``, a SASL user name, or a certificate's distinguished name;
            ``None`` before it has authenticated, or where nobody asks.
        pid: process, for a local one.
        uid: user, for a local one.
        gid: group, for a local one.
        address: of the other side, as text.
        started: when the process began, in the ticks of proc(5), where polkit is to know.
    """

    name: str | None = None
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    address: str = ""
    started: int | None = None


class Client:
    """A connected client.

    Args:
        transport: what it is reached by.
        loop: the loop.
        handle: called with the client and each message.
        readonly: whether it may only look.
        identity: who it is, as far as known.
        authenticated: whether it need not say.
        polkit: whether polkit is asked who it may be.

    Attributes:
        session: what it has opened; set by who makes the client.
        calls: how many of its calls are under way in other threads; see
            :meth:`begin_call`.
        heard: when something last came from it.
        connected: when it connected.
        pings: keepalive messages that were not answered; ``None`` while it wants none.
    """

    session: Session

    def __init__(
        self,
        transport: Transport,
        loop: Loop,
        handle: Callable[[Client, Message], bool],
        gone: Callable[[Client], None],
        *,
        readonly: bool,
        identity: Identity,
        authenticated: bool,
        polkit: bool = False,
    ) -> None:
        self.transport = transport
        self.readonly = readonly
        self.identity = identity
        self.calls = 0
        self.pings: int | None = None
        self.connected = self.heard = time.monotonic()
        self.closed = False
        self.polkit = polkit
        self._authenticated = authenticated
        self._loop = loop
        self._handle = handle
        self._gone = gone
        self._reader = FrameReader(MESSAGE_MAX if authenticated else ANONYMOUS_MAX)
        self._inbox: deque[Message] = deque()
        #: Bytes, and descriptors that go where they stand.
        self._out: deque[bytes | int] = deque()
        self._out_bytes = 0
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._fd = transport.socket.fileno()
        self._mask = select.EPOLLIN
        self._paused = False
        loop.register(self._fd, self)

    @property
    def authenticated(self) -> bool:
        """Whether it may do more than authenticate."""
        return self._authenticated

    def authenticate(self, identity: Identity) -> None:
        """Let it in as somebody."""
        self.identity = identity
        self._authenticated = True
        self._reader.limit = MESSAGE_MAX

    # Reading; only in the thread that has the loop

    def ready(self, mask: int) -> None:
        """Send what could not be sent, read what is there, and answer it."""
        if mask & select.EPOLLOUT:
            self._flush()
        if mask & ~select.EPOLLOUT and not self._paused:
            self._read()
        elif mask & (select.EPOLLERR | select.EPOLLHUP) and mask & ~select.EPOLLOUT:
            self.close()

    def _read(self) -> None:
        reader = self._reader
        while not self.closed:
            most = _READ if reader.missing <= _READ else _READ_LONG
            try:
                data, fds = self.transport.receive(most)
                if data is None:
                    return
                if not data:
                    self.close()
                    return
                self.heard = time.monotonic()
                if self.pings:
                    self.pings = 0
                self._inbox.extend(reader.feed(data, fds))
            except (OSError, WireError) as error:
                log.info("%s: %s; it is disconnected", self, error)
                self.close()
                return
            if not self._answer() or not self.transport.pending():
                return

    def go_on(self) -> None:
        """Answer what was read already, in whatever thread has the loop now."""
        if self._answer() and self.transport.pending():
            self._read()

    def _answer(self) -> bool:
        """Answer what is in the inbox; return whether this thread still has the loop."""
        inbox, handle = self._inbox, self._handle
        while inbox and not self.closed:
            if self._full:
                self._pause(True)
                # The calls may have ended before that, and nobody would wake us for them.
                if self._full:
                    return True
                self._pause(False)
            if not handle(self, inbox.popleft()):
                return False
        return True

    @property
    def _full(self) -> bool:
        return self.calls >= CALLS_MAX or self._out_bytes > REPLIES_MAX

    def _pause(self, paused: bool) -> None:
        with self._lock:
            if self.closed or self._paused == paused:
                return
            self._paused = paused
            self._wait_for(0 if paused else select.EPOLLIN, select.EPOLLIN)

    def _wait_for(self, wanted: int, of: int) -> None:
        mask = self._mask & ~of | wanted
        if mask != self._mask:
            self._mask = mask
            self._loop.modify(self._fd, mask)

    def resume(self) -> None:
        """Read on if that was put off; from any thread."""
        if self._paused:
            self._loop.post(self._resume)

    def _resume(self) -> None:
        if not self._full:
            self._pause(False)
            self.go_on()

    # Calls; from any thread

    def begin_call(self) -> None:
        """Count a call that goes to another thread."""
        with self._lock:
            self.calls += 1

    def end_call(self) -> None:
        """Count it no more, and read on if that was put off for it."""
        with self._lock:
            self.calls -= 1
        self.resume()

    # Sending; from any thread

    def send(self, data: bytes, *, event: bool = False) -> None:
        """Send a message, now or as soon as the client takes it.

        Args:
            data: whole messages.
            event: whether the client did not ask for it; one that does not read its
                events is disconnected.
        """
        with self._lock:
            if self.closed:
                return
            if not self._out:
                try:
                    sent = self.transport.send(data)
                except OSError as error:
                    log.debug("%s: %s", self, error)
                    self._loop.post(self.close)
                    return
                if sent == len(data):
                    return
                data = data[sent:]
            self._out.append(data)
            self._out_bytes += len(data)
            self._wait_for(select.EPOLLOUT, select.EPOLLOUT)
        if event and self._out_bytes > EVENTS_MAX:
            log.warning("%s does not read its events; it is disconnected", self)
            self._loop.post(self.close)

    def send_files(self, data: bytes, fds: Sequence[int]) -> None:
        """Send a message and descriptors after it, which are then closed."""
        with self._lock:
            if self.closed:
                drop(fds)
                return
            self._out.append(data)
            self._out.extend(fds)
            self._out_bytes += len(data)
            self._wait_for(select.EPOLLOUT, select.EPOLLOUT)

    def _flush(self) -> None:
        with self._lock:
            while self._out and not self.closed:
                data = self._out[0]
                try:
                    if isinstance(data, int):
                        if not self.transport.send_file(data):
                            break
                        self._out.popleft()
                        os.close(data)
                        continue
                    sent = self.transport.send(data)
                except OSError:
                    self._loop.post(self.close)
                    return
                self._out_bytes -= sent
                if sent < len(data):
                    self._out[0] = data[sent:]
                    if sent == 0:
                        break
                else:
                    self._out.popleft()
            if not self._out:
                self._wait_for(0, select.EPOLLOUT)
            if self._out_bytes <= STREAMS_MAX:
                self._room.notify_all()
        self.resume()

    def wait_for_room(self) -> bool:
        """Wait until little is left to be sent; return whether the client is still there."""
        with self._room:
            while self._out_bytes > STREAMS_MAX and not self.closed:
                self._room.wait()
        return not self.closed

    def ping(self) -> None:
        """Ask whether it is still there."""
        self.send(_PING, event=True)

    def pong(self) -> None:
        """Say that we are."""
        self.send(_PONG, event=True)

    # Ending

    def hang_up(self) -> None:
        """Disconnect it soon, once what waits is sent; from any thread."""
        self._loop.post(self.close)

    def close(self) -> None:
        """Disconnect it; only in the thread that has the loop. A second call does nothing."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            drop(left for left in self._out if isinstance(left, int))
            self._out.clear()
            self._out_bytes = 0
            self._room.notify_all()
        try:
            self._loop.unregister(self._fd)
        finally:
            self.transport.close()
        while self._inbox:
            drop(self._inbox.popleft().fds)
        drop(self._reader.abandoned())
        self._gone(self)

    def __repr__(self) -> str:
        who = self.identity
        name = who.name or "somebody"
        return f"<Client {name} {who.address}>" if who.address else f"<Client {name}>"


def drop(fds: Any) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
