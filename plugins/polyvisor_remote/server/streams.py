"""Data that follows a call: uploads, downloads and whatever goes both ways.

Each message of a stream repeats the numbers of the call that began it. Data comes in
messages with the status ``CONTINUE``, an empty one of which is the end of what we send;
``OK`` from the client ends the stream and is confirmed with the same, ``ERROR`` gives it up
and is answered with an error (``src/remote/remote_daemon_stream.c``).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from polyvisor_remote.server.failures import FROM_RPC, RPC, Failure, encoded
from polyvisor_remote.wire import STREAM_CHUNK, Hole, Kind, Status, frame, hole

if TYPE_CHECKING:
    from polyvisor_remote.server.client import Client
    from polyvisor_remote.server.crew import Crew
    from polyvisor_remote.wire import Message

__all__ = ["Sink", "Source", "Stream"]

log = logging.getLogger("polyvisor.remote")


class Sink:
    """Takes what a client sends; every method may wait and may raise."""

    def data(self, piece: bytes) -> None:
        """Take bytes."""
        raise AssertionError

    def hole(self, length: int) -> None:
        """Take so many bytes that nobody wrote."""
        raise AssertionError

    def finish(self) -> None:
        """There is no more, and all is well."""

    def abort(self) -> None:
        """There is no more, and what came is worth nothing."""


class Source:
    """Gives what a client is sent; every method may wait and may raise."""

    def read(self, most: int) -> bytes | int:
        """Return bytes, ``b""`` at the end, or the length of a hole."""
        raise AssertionError

    def close(self) -> None:
        """No more is wanted."""


class Stream:
    """One stream.

    Args:
        client: whose it is.
        crew: gives threads.
        numbers: program, version, procedure and serial of the call.
        gone: called when it has ended.
    """

    def __init__(
        self,
        client: Client,
        crew: Crew,
        numbers: tuple[int, int, int, int],
        gone: Callable[[Stream], object],
    ) -> None:
        self.sink: Sink | None = None
        self.source: Source | None = None
        self.serial = numbers[3]
        self._client = client
        self._crew = crew
        self._numbers = numbers
        self._gone = gone
        self._arrived: deque[Message | None] = deque()
        self._working = False
        self._lock = threading.Lock()
        self._ended = False

    def begin(self) -> None:
        """Begin to send; the call is answered."""
        if self.source is not None:
            self._crew.start(self._pump)

    def take(self, message: Message) -> None:
        """Take a message of the stream; in the thread that has the loop."""
        self._client.begin_call()
        self._put(message)

    def drop(self) -> None:
        """Give the stream up: the client is gone."""
        self._put(None)

    def _put(self, message: Message | None) -> None:
        with self._lock:
            self._arrived.append(message)
            if self._working:
                return
            self._working = True
        self._crew.start(self._work)

    def _work(self) -> None:
        """Take in what has arrived, in order, one piece at a time."""
        while True:
            with self._lock:
                if not self._arrived:
                    self._working = False
                    return
                message = self._arrived.popleft()
            if message is None:
                self._end(self._abort)
                continue
            try:
                if not self._ended:
                    self._handle(message)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                log.info("%s, stream %d: %s", self._client, self.serial, error)
                self._end(self._abort)
                self._send(Status.ERROR, encoded(error))
            finally:
                self._client.end_call()

    def _handle(self, message: Message) -> None:
        if message.status == Status.OK:
            self._end(self._finish)
            self._send(Status.OK)
        elif message.status == Status.ERROR:
            self._end(self._abort)
            aborted = Failure(RPC, "stream aborted at client request", source=FROM_RPC)
            self._send(Status.ERROR, encoded(aborted))
        elif self.sink is None:
            raise Failure(RPC, "this stream takes no data", source=FROM_RPC)
        elif message.kind == Kind.STREAM_HOLE:
            self.sink.hole(Hole.decode(message.payload).length)
        elif message.payload:
            self.sink.data(message.payload)

    def _end(self, how: Callable[[], None]) -> None:
        if not self._ended:
            self._ended = True
            self._gone(self)
            how()

    def _finish(self) -> None:
        if self.source is not None:
            self.source.close()
        if self.sink is not None:
            self.sink.finish()

    def _abort(self) -> None:
        for what in (
            self.source.close if self.source is not None else None,
            self.sink.abort if self.sink is not None else None,
        ):
            if what is not None:
                try:
                    what()
                except Exception as error:  # noqa: BLE001 - it is given up anyway
                    log.info("%s, stream %d: %s", self._client, self.serial, error)

    def _pump(self) -> None:
        """Send all that the source has, no faster than the client reads."""
        source = self.source
        assert source is not None
        try:
            while not self._ended and self._client.wait_for_room():
                piece = source.read(STREAM_CHUNK)
                if self._ended:
                    return
                if isinstance(piece, int):
                    self._send(Status.CONTINUE, hole(piece), Kind.STREAM_HOLE)
                else:
                    self._send(Status.CONTINUE, piece)
                    if not piece:
                        return
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            if not self._ended:
                log.info("%s, stream %d: %s", self._client, self.serial, error)
                self._end(self._abort)
                self._send(Status.ERROR, encoded(error))

    def _send(self, status: Status, payload: bytes = b"", kind: Kind = Kind.STREAM) -> None:
        program, version, procedure, serial = self._numbers
        self._client.send(frame(program, version, procedure, kind, serial, status, payload))
