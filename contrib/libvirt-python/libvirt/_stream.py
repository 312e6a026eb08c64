"""Streams: consoles, pictures, and the content of volumes."""

from __future__ import annotations

import threading
from typing import Any

from libvirt import _error, _loop
from polyvisor.errors import PolyvisorError
from polyvisor_remote.server.failures import unsupported

__all__ = ["virStream"]

NONBLOCK = 1
# virStreamEventType
READABLE, WRITABLE, ERROR, HANGUP = 1, 2, 4, 8
#: Bytes that the functions for all of a stream ask for at once.
_CHUNK = 65536
#: What :meth:`virStream.recv` returns where there is nothing yet, and
#: :meth:`virStream.recvFlags` where a hole comes.
_NOTHING_YET, _HOLE = -2, -3
#: ``VIR_STREAM_RECV_STOP_AT_HOLE``.
_STOP_AT_HOLE = 1


class virStream:
    """Bytes that go over a connection, beside the calls.

    Args:
        conn: the connection.
        flags: ``VIR_STREAM_NONBLOCK`` for one that never waits for what is to be received.
    """

    def __init__(self, conn: Any, flags: int = 0) -> None:
        self._conn = conn
        self._waits = not flags & NONBLOCK
        self._stream: Any = None
        self._rest = bytearray()
        self._ended = False
        self._failed: PolyvisorError | None = None
        self._lock = threading.Lock()
        self._wanted = 0
        self._callback: tuple[Any, Any] | None = None
        self._offered = False

    def connect(self) -> Any:
        """Return the connection."""
        return self._conn

    def _begin(self, name: str, *arguments: Any) -> Any:
        """Call what a stream follows; this is that stream from now on."""
        if self._stream is not None:
            raise _error.libvirtError("the stream is in use already")
        try:
            answer, self._stream = self._conn._link.begin(name, *arguments)
        except PolyvisorError as error:
            raise self._error(error) from None
        if not self._waits:
            threading.Thread(target=self._pump, name="libvirt-stream", daemon=True).start()
        return answer

    def _error(self, error: PolyvisorError) -> _error.libvirtError:
        return _error.of(error, self._conn._scheme)

    def _opened(self, procedure: str) -> Any:
        if self._stream is None:
            raise self._error(unsupported(procedure))
        return self._stream

    # Bytes

    def send(self, data: bytes) -> int:
        """Send bytes; return how many were taken, which is all."""
        try:
            self._opened("stream_send").send(bytes(data))
        except PolyvisorError as error:
            raise self._error(error) from None
        return len(data)

    def recv(self, nbytes: int) -> bytes | int:
        """Return what comes next, ``b""`` at the end; -2 if there is nothing yet."""
        return self.recvFlags(nbytes)

    def recvFlags(self, nbytes: int, flags: int = 0) -> bytes | int:
        """Do the same; with ``VIR_STREAM_RECV_STOP_AT_HOLE``, -3 where a hole comes."""
        stream = self._opened("stream_recv")
        if self._waits:
            take = stream.piece if flags & _STOP_AT_HOLE else stream.receive
            while not self._rest and not self._ended:
                try:
                    piece = take()
                except PolyvisorError as error:
                    raise self._error(error) from None
                if piece is None:
                    return _HOLE
                self._ended = not piece
                self._rest += piece
        with self._lock:
            found = bytes(self._rest[:nbytes])
            del self._rest[:nbytes]
            if found or self._ended:
                return found
            if self._failed is not None:
                raise self._error(self._failed) from None
        return _NOTHING_YET

    def sendHole(self, length: int, flags: int = 0) -> int:
        """Send a hole of so many bytes."""
        try:
            self._opened("stream_send_hole").send_hole(length)
        except PolyvisorError as error:
            raise self._error(error) from None
        return 0

    def recvHole(self, flags: int = 0) -> int:
        """Return how long the hole is that comes next, and pass it."""
        stream = self._opened("stream_recv_hole")
        length: int = stream.hole
        stream.hole = 0
        return length

    def sparseSendAll(self, handler: Any, holeHandler: Any, skipHandler: Any, opaque: Any) -> None:
        """Send what a function gives, and the holes between.

        ``holeHandler(stream, opaque)`` says whether data comes next and of how many bytes that,
        or the hole, is; ``skipHandler(stream, length, opaque)`` passes a hole.
        """
        self._all()
        try:
            while True:
                in_data, length = holeHandler(self, opaque)
                if not in_data and length:
                    self.sendHole(length)
                    skipHandler(self, length, opaque)
                    continue
                data = handler(self, min(_CHUNK, length), opaque)
                if not data:
                    return
                self.send(data)
        except BaseException:
            self.abort()
            raise

    def sparseRecvAll(self, handler: Any, holeHandler: Any, opaque: Any) -> None:
        """Hand all that comes to functions: holes to ``holeHandler(stream, length, opaque)``."""
        self._all()
        try:
            while data := self.recvFlags(_CHUNK, _STOP_AT_HOLE):
                if data == _HOLE:
                    answer = holeHandler(self, self.recvHole(), opaque)
                else:
                    answer = handler(self, data, opaque)
                if isinstance(answer, int) and answer < 0:
                    raise RuntimeError(f"sparseRecvAll handler returned {answer}")
        except BaseException:
            self.abort()
            raise

    def sendAll(self, handler: Any, opaque: Any) -> None:
        """Send what a function gives until that is nothing: ``handler(stream, nbytes, opaque)``.

        What it raises ends the stream and goes on to the caller, who otherwise finishes it.
        """
        self._all()
        try:
            while data := handler(self, _CHUNK, opaque):
                self.send(data)
        except BaseException:
            self.abort()
            raise

    def recvAll(self, handler: Any, opaque: Any) -> None:
        """Hand all that comes to a function: ``handler(stream, data, opaque)``; -1 ends it."""
        self._all()
        try:
            while data := self.recv(_CHUNK):
                answer = handler(self, data, opaque)
                if isinstance(answer, int) and answer < 0:
                    raise RuntimeError(f"recvAll handler returned {answer}")
        except BaseException:
            self.abort()
            raise

    def _all(self) -> None:
        if not self._waits:
            raise _error.libvirtError("data handlers need a stream that waits")

    def finish(self) -> int:
        """Say that all was sent or received, and wait until the other side agrees."""
        try:
            self._opened("stream_finish").finish()
        except PolyvisorError as error:
            raise self._error(error) from None
        return 0

    def abort(self) -> int:
        """Give it up."""
        stream = self._opened("stream_abort")
        if self._waits:
            stream.abort()
        else:
            try:
                stream.cancel()
            except PolyvisorError as error:
                raise self._error(error) from None
        return 0

    # Without waiting

    def _pump(self) -> None:
        """Receive for a script that does not wait, in a thread of its own."""
        while True:
            try:
                piece = self._stream.receive()
            except PolyvisorError as error:
                with self._lock:
                    self._failed = error
                break
            with self._lock:
                self._rest += piece
                self._ended = not piece
            self._offer()
            if not piece:
                return
        self._offer()

    def _ready(self) -> int:
        """Return which of the wanted things can be done now."""
        events = WRITABLE
        if self._rest or self._ended:
            events |= READABLE
        if self._ended:
            events |= HANGUP
        if self._failed is not None:
            events |= ERROR | READABLE
        return events & (self._wanted | ((ERROR | HANGUP) if self._wanted else 0))

    def _offer(self) -> None:
        with self._lock:
            if self._offered or self._callback is None or not self._ready():
                return
            self._offered = True
        _loop.post(self._call)

    def _call(self) -> None:
        with self._lock:
            self._offered = False
            callback, events = self._callback, self._ready()
        if callback is not None and events:
            callback[0](self, events, callback[1])
            self._offer()

    def eventAddCallback(self, events: int, cb: Any, opaque: Any) -> int:
        """Have a function called in the loop when it can go on: ``cb(stream, events, opaque)``."""
        if self._waits:
            raise _error.libvirtError("events need a stream that does not wait")
        if self._callback is not None:
            raise _error.libvirtError("the stream has a callback already")
        self._callback, self._wanted = (cb, opaque), events
        self._offer()
        return 0

    def eventUpdateCallback(self, events: int) -> int:
        """Have it called for something else."""
        self._wanted = events
        self._offer()
        return 0

    def eventRemoveCallback(self) -> int:
        """Have it called no more."""
        self._callback, self._wanted = None, 0
        return 0
