"""Calls and their answers over one connection to a server, from any number of threads.

Nobody needs a thread of its own to receive: of those who wait for an answer one reads, and
hands on what is for others (libvirt's own client does the same). Whoever listens for events
has a thread that reads while nobody waits, :meth:`Channel.pump`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConnectionClosed, PolyvisorError, Unsupported
from polyvisor_remote.client.failures import refusal
from polyvisor_remote.wire import FrameReader, Kind, Message, Status, WireError, frame, program

if TYPE_CHECKING:
    from polyvisor_remote.client.pipe import Pipe
    from polyvisor_remote.client.stream import Stream
    from polyvisor_remote.wire import Procedure

__all__ = ["NO_FILES", "Channel"]

#: Why descriptors cannot go along.
NO_FILES = "descriptors go over the socket of a daemon on this host alone"

#: Bytes taken at once, and of a long message; room for more than there is costs time.
_CHUNK, _CHUNK_LONG = 32768, 262144
#: The place of the pump among those who wait; a call's serial is never 0.
_PUMP = 0
_ERROR = int(Status.ERROR)
_REPLY, _EVENT, _CALL = int(Kind.REPLY), int(Kind.MESSAGE), int(Kind.CALL)

_STREAM = (int(Kind.STREAM), int(Kind.STREAM_HOLE))

_keepalive = program("keepalive")
_PING, _PONG = (
    frame(
        _keepalive.number,
        _keepalive.version,
        _keepalive[name].number,
        Kind.MESSAGE,
        0,
        Status.OK,
    )
    for name in ("ping", "pong")
)
_PING_NUMBER = _keepalive["ping"].number


class _Slot:
    """One who waits: for an answer, or to read."""

    __slots__ = ("message", "wake")

    def __init__(self) -> None:
        self.message: Message | None = None
        self.wake: threading.Lock | None = None


class _StreamSlot(_Slot):
    """One who waits for the messages of a stream."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        super().__init__()
        self.queue: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """Take in a message."""
        self.queue.append(message)
        self.message = self.queue[0]

    def take(self) -> Message:
        """Return the next one, which there is."""
        message = self.queue.popleft()
        self.message = self.queue[0] if self.queue else None
        return message


class Channel:
    """One connection.

    Args:
        pipe: the way to the server.
        heard: called with each event, in whatever thread reads.
        interval: seconds of silence after which the server is asked whether it is there.
        count: how often it may leave that unanswered.

    Attributes:
        dead: why it can be used no more, or ``None``.
        insists: whether the server is known to answer when it is asked.
    """

    def __init__(
        self,
        pipe: Pipe,
        heard: Callable[[Message], None],
        *,
        interval: float = 5.0,
        count: int = 5,
    ) -> None:
        self.pipe = pipe
        self.dead: ConnectionClosed | None = None
        self.insists = False
        self._heard = heard
        self._interval, self._count = interval, count
        self._limit: float | None = None
        self._end: float | None = None
        self._unanswered = 0
        self._reader = FrameReader()
        self._serial = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._reading = False
        self._waiting: dict[int, _Slot] = {}
        self._streams: dict[int, _StreamSlot] = {}

    # Calling

    def call(self, procedure: Procedure, arguments: Iterable[Any]) -> Any:
        """Call and return the answer, as its named tuple.

        Raises:
            PolyvisorError: the server's error, in our words.
            ConnectionClosed: the connection broke; nobody knows whether the call was served.
        """
        return self._answer(procedure, self.exchange(procedure, arguments))

    def exchange(self, procedure: Procedure, arguments: Iterable[Any]) -> Message:
        """Call and return the answer as it came.

        Raises:
            ConnectionClosed: see :meth:`call`.
        """
        home = procedure.program
        payload = procedure.arguments.codec.encode(arguments)
        slot = _Slot()
        serial = self._enter(slot)
        self._send(frame(home.number, home.version, procedure.number, _CALL, serial, 0, payload))
        return self._await(slot)

    def call_with(
        self, procedure: Procedure, arguments: Iterable[Any], files: Sequence[int]
    ) -> Any:
        """Call with descriptors, which stay the caller's, and return the answer.

        Raises:
            ConnectionClosed: see :meth:`call`.
            Unsupported: this connection carries none.
        """
        if not self.pipe.files:
            raise Unsupported(NO_FILES)
        home = procedure.program
        payload = procedure.arguments.codec.encode(arguments)
        slot = _Slot()
        serial = self._enter(slot)
        numbers = (home.number, home.version, procedure.number)
        self._send(frame(*numbers, Kind.CALL_WITH_FDS, serial, 0, payload, fds=len(files)), files)
        return self._answer(procedure, self._await(slot))

    def call_all(
        self, calls: Sequence[tuple[Procedure, Iterable[Any]]]
    ) -> list[Any | PolyvisorError]:
        """Make many calls at once; an answer that is an error stands in its place.

        Raises:
            ConnectionClosed: see :meth:`call`.
        """
        slots, data = [], []
        for procedure, arguments in calls:
            home = procedure.program
            payload = procedure.arguments.codec.encode(arguments)
            slot = _Slot()
            serial = self._enter(slot)
            slots.append(slot)
            data.append(
                frame(home.number, home.version, procedure.number, _CALL, serial, 0, payload)
            )
        self._send(b"".join(data))
        answers: list[Any | PolyvisorError] = []
        for slot, (procedure, _) in zip(slots, calls, strict=True):
            try:
                answers.append(self._answer(procedure, self._await(slot)))
            except ConnectionClosed:
                raise
            except PolyvisorError as error:
                answers.append(error)
        return answers

    def begin(self, procedure: Procedure, arguments: Iterable[Any]) -> tuple[Any, Stream]:
        """Call what a stream follows, and return the answer with the stream.

        Raises:
            PolyvisorError: see :meth:`call`.
        """
        from polyvisor_remote.client.stream import Stream

        home = procedure.program
        payload = procedure.arguments.codec.encode(arguments)
        slot = _Slot()
        serial = self._enter(slot)
        with self._lock:
            self._streams[serial] = _StreamSlot()
        self._send(frame(home.number, home.version, procedure.number, _CALL, serial, 0, payload))
        try:
            answer = self._answer(procedure, self._await(slot))
        except BaseException:
            self.end_stream(serial)
            raise
        return answer, Stream(self, procedure, serial)

    def next_of_stream(self, serial: int) -> Message:
        """Return the next message of a stream."""
        slot = self._streams.get(serial)
        if slot is None:
            raise ConnectionClosed("the stream has ended")
        self._await(slot)
        with self._lock:
            return slot.take()

    def send_of_stream(
        self,
        procedure: Procedure,
        serial: int,
        status: int,
        payload: bytes,
        *,
        kind: int = Kind.STREAM,
    ) -> None:
        """Send a message of a stream: bytes, or a hole."""
        if self.dead is not None:
            raise self._closed()
        home = procedure.program
        numbers = (home.number, home.version, procedure.number)
        self._send(frame(*numbers, kind, serial, status, payload))

    def end_stream(self, serial: int) -> None:
        """Forget a stream."""
        with self._lock:
            self._streams.pop(serial, None)

    @staticmethod
    def _answer(procedure: Procedure, message: Message) -> Any:
        if message.status == _ERROR:
            raise refusal(procedure, message.payload)
        return procedure.result.codec.decode(message.payload)

    def _enter(self, slot: _Slot) -> int:
        with self._lock:
            if self.dead is not None:
                raise self._closed()
            if self._limit is not None:
                self._end = time.monotonic() + self._limit
            self._serial = serial = (self._serial & 0x7FFFFFFF) + 1
            self._waiting[serial] = slot
        return serial

    def _send(self, data: bytes, files: Sequence[int] = ()) -> None:
        try:
            with self._sending:
                if files:
                    self.pipe.send_files(data, files)
                else:
                    self.pipe.send(data)
        except OSError as error:
            # What the server said before it went may still be there to be read.
            self._die(f"the server hung up: {error.strerror or error}")

    def _await(self, slot: _Slot) -> Message:
        while (message := slot.message) is None:
            wake = self._take_turn(slot)
            if wake is not None:
                wake.acquire()
                continue
            try:
                while slot.message is None and self.dead is None:
                    self._read()
            finally:
                self._hand_over()
        return message

    def _take_turn(self, slot: _Slot) -> threading.Lock | None:
        """Take the turn to read; or return what to wait for until something has changed."""
        with self._lock:
            if slot.message is not None:
                return threading.Lock()
            if self.dead is not None:
                raise self._closed()
            if not self._reading:
                self._reading = True
                return None
            wake = slot.wake = threading.Lock()
            wake.acquire()
            return wake

    def _hand_over(self) -> None:
        """Let somebody else read who waits."""
        with self._lock:
            self._reading = False
            if not self._waiting and not self._streams:
                return
            for slot in chain(self._waiting.values(), self._streams.values()):
                if slot.wake is not None:
                    slot.wake.release()
                    slot.wake = None
                    break

    # Reading

    def pump(self) -> None:
        """Read until the connection breaks or is closed."""
        slot = _Slot()
        with self._lock:
            self._waiting[_PUMP] = slot
        try:
            while self.dead is None:
                try:
                    wake = self._take_turn(slot)
                except ConnectionClosed:
                    return
                if wake is not None:
                    wake.acquire()
                    continue
                try:
                    while self.dead is None:
                        self._read()
                finally:
                    self._hand_over()
        finally:
            with self._lock:
                self._waiting.pop(_PUMP, None)

    def _read(self) -> None:
        """Take in what comes next."""
        try:
            most = _CHUNK if self._reader.missing <= _CHUNK else _CHUNK_LONG
            wait = self._interval
            if self._end is not None and not self.insists:
                wait = max(0.0, min(wait, self._end - time.monotonic()))
            data = self.pipe.receive(most, wait)
            if data is None:
                self._ask()
                return
            if not data:
                self._die("the server hung up")
                return
            self._unanswered = 0
            messages = self._reader.feed(data)
        except WireError as error:
            self._die(error.message)
            return
        except (OSError, ValueError) as error:
            self._die(f"the server hung up: {error}")
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        if message.program == _keepalive.number:
            if message.procedure == _PING_NUMBER:
                self._send(_PONG)
            else:
                self.insists = True
        elif message.kind == _EVENT:
            self._heard(message)
        elif message.kind == _REPLY:
            with self._lock:
                slot = self._waiting.pop(message.serial, None)
                if slot is None:
                    return
                slot.message = message
                if slot.wake is not None:
                    slot.wake.release()
                    slot.wake = None
        elif message.kind in _STREAM:
            with self._lock:
                stream = self._streams.get(message.serial)
                if stream is None:
                    return
                stream.put(message)
                if stream.wake is not None:
                    stream.wake.release()
                    stream.wake = None

    def limit(self, seconds: float | None) -> None:
        """Give the server so long for each answer from now on; not to be used by many threads.

        Once it has said that it is there when asked (:meth:`greet`), that counts instead.
        """
        self._limit = seconds
        self._end = None

    def greet(self) -> None:
        """Ask the server whether it is there; one that says so once must do so whenever asked."""
        self._send(_PING)

    def _ask(self) -> None:
        """Ask the server whether it is there, unless it has not said so too often."""
        if self._end is not None and not self.insists:
            if time.monotonic() >= self._end:
                self._die(
                    f"the server took the connection and then did not answer for "
                    f"{self._limit:g} s: its daemon stands still, or it is none of libvirt's "
                    f"kind; look at it there, or set open_timeout to wait longer"
                )
            return
        if self.insists and self._unanswered >= self._count:
            seconds = self._interval * (self._count + 1)
            self._die(f"the server has not answered for {seconds:g} s")
            return
        self._unanswered += 1
        self._send(_PING)

    # Ending

    def close(self) -> None:
        """Hang up."""
        self._die("the connection was closed")
        self.pipe.close()

    def _die(self, why: str) -> None:
        with self._lock:
            if self.dead is not None:
                return
            self.dead = ConnectionClosed(why)
            waiting = [*self._waiting.values(), *self._streams.values()]
            self._waiting.clear()
            for slot in waiting:
                if slot.wake is not None:
                    slot.wake.release()
                    slot.wake = None

    def _closed(self) -> ConnectionClosed:
        assert self.dead is not None
        return ConnectionClosed(self.dead.message)
