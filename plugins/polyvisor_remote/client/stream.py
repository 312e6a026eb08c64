"""Data that follows a call, one way or both, over the channel that the call went over.

The messages are described in the server's ``streams``; here is their other side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.errors import ConnectionClosed, PolyvisorError
from polyvisor_remote.client.failures import refusal
from polyvisor_remote.wire import STREAM_CHUNK, Hole, Kind, Status, hole

if TYPE_CHECKING:
    from polyvisor_remote.client.channel import Channel
    from polyvisor_remote.wire import Procedure

__all__ = ["Stream"]

_CONTINUE, _OK, _ERROR = int(Status.CONTINUE), int(Status.OK), int(Status.ERROR)


class Stream:
    """One stream; one thread may send while another receives.

    Args:
        channel: over which it goes.
        procedure: what was called.
        serial: the call's number.
    """

    def __init__(self, channel: Channel, procedure: Procedure, serial: int) -> None:
        self._channel = channel
        self._procedure = procedure
        self._serial = serial
        self._ended = False
        #: Bytes of a hole that comes next and was not given out yet.
        self.hole = 0

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ConnectionClosed: the connection broke.
        """
        for first in range(0, len(data), STREAM_CHUNK):
            self._put(_CONTINUE, data[first : first + STREAM_CHUNK])

    def send_hole(self, length: int) -> None:
        """Send a hole of so many bytes.

        Raises:
            ConnectionClosed: the connection broke.
        """
        self._put(_CONTINUE, hole(length), kind=Kind.STREAM_HOLE)

    def receive(self) -> bytes:
        """Return what comes next; ``b""`` at the end.

        Holes come as zero bytes, however long they are in small pieces.

        Raises:
            PolyvisorError: the server gave the stream up, and why.
        """
        found = self.piece()
        if found is not None:
            return found
        size = min(self.hole, STREAM_CHUNK)
        self.hole -= size
        return bytes(size)

    def piece(self) -> bytes | None:
        """Return the bytes that come next, ``b""`` at the end; ``None`` if a hole comes first.

        Raises:
            PolyvisorError: the server gave the stream up, and why.
        """
        while not self.hole:
            message = self._channel.next_of_stream(self._serial)
            if message.status == _ERROR:
                self._end()
                raise refusal(self._procedure, message.payload)
            if message.status == _OK:
                self._end()
                return b""
            if message.kind != Kind.STREAM_HOLE:
                return message.payload  # an empty one says that the server has no more
            self.hole = Hole.decode(message.payload).length
        return None

    def finish(self) -> None:
        """Say that all was sent, or received, and wait until the server agrees.

        Raises:
            PolyvisorError: it does not.
        """
        if not self._ended:
            self._put(_OK)
            self._drain()

    def cancel(self) -> None:
        """Give it up while another thread receives, which then sees its end."""
        if not self._ended:
            self._put(_ERROR)

    def abort(self) -> None:
        """Give it up; what the server says of that is of no use."""
        if self._ended:
            return
        try:
            self._put(_ERROR)
            self._drain()
        except PolyvisorError:
            self._end()

    def _drain(self) -> None:
        """Receive what still comes, of which nothing is wanted."""
        while not self._ended:
            self.hole = 0
            self.receive()

    def _put(self, status: int, data: bytes = b"", *, kind: int = Kind.STREAM) -> None:
        if self._ended:
            raise ConnectionClosed("the stream has ended")
        self._channel.send_of_stream(self._procedure, self._serial, status, data, kind=kind)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._channel.end_stream(self._serial)
