"""Messages as they go over a socket, without the socket.

A message is its length (itself included), six words that say what it is, and a payload.
One that carries file descriptors has their number before its payload, and after it one
byte for each of them, with which the descriptor itself travels (``SCM_RIGHTS``).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from polyvisor_remote.wire.errors import WireError

__all__ = [
    "FDS_MAX",
    "HEADER_SIZE",
    "MESSAGE_MAX",
    "STREAM_CHUNK",
    "FrameReader",
    "Hole",
    "Kind",
    "Message",
    "Status",
    "frame",
    "hole",
]

#: Bytes of a whole message at most, its length word included.
MESSAGE_MAX = 33554432 + 4
#: Bytes of the length and the six words.
HEADER_SIZE = 28
#: Bytes of stream data in one message that every version of libvirt takes.
STREAM_CHUNK = 262120
#: File descriptors with one message at most.
FDS_MAX = 32

_header = struct.Struct(">IIIiIIi")
_pack_header = _header.pack
_unpack_header = _header.unpack_from
_count = struct.Struct(">I")
_unpack_count = _count.unpack_from
_hole = struct.Struct(">qI")


class Kind(IntEnum):
    """What a message is (``virNetMessageType``)."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2
    STREAM = 3
    CALL_WITH_FDS = 4
    REPLY_WITH_FDS = 5
    STREAM_HOLE = 6


class Status(IntEnum):
    """How it stands (``virNetMessageStatus``)."""

    OK = 0
    ERROR = 1
    CONTINUE = 2


class Message(NamedTuple):
    """One message.

    ``kind`` and ``status`` are plain numbers, since a peer may send any.
    """

    program: int
    version: int
    procedure: int
    kind: int
    serial: int
    status: int
    payload: bytes
    fds: tuple[int, ...] = ()


class Hole(NamedTuple):
    """A gap in a sparse stream: so many bytes of which none was written."""

    length: int
    flags: int = 0

    @classmethod
    def decode(cls, payload: bytes) -> Hole:
        """Read a hole from the payload of a message of kind ``STREAM_HOLE``."""
        if len(payload) != _hole.size:
            raise WireError(f"a hole in a stream takes {_hole.size} bytes, not {len(payload)}")
        found = cls(*_hole.unpack(payload))
        if found.length < 0:
            raise WireError(f"a hole in a stream has {found.length} bytes")
        return found


def hole(length: int) -> bytes:
    """Return the payload of a message of kind ``STREAM_HOLE``."""
    return _hole.pack(length, 0)


def frame(
    program: int,
    version: int,
    procedure: int,
    kind: int,
    serial: int,
    status: int,
    payload: bytes = b"",
    fds: int = 0,
) -> bytes:
    """Return a whole message.

    Args:
        program: number of its program.
        version: version of that.
        procedure: number of the procedure.
        kind: one of :class:`Kind`.
        serial: the call's number; replies and streams repeat it, events have 0.
        status: one of :class:`Status`.
        payload: what it carries, encoded.
        fds: how many file descriptors the sender will send after it, for the two kinds
            that can carry any.

    Raises:
        WireError: it is longer than :data:`MESSAGE_MAX`.
    """
    if kind in (Kind.CALL_WITH_FDS, Kind.REPLY_WITH_FDS):
        if fds > FDS_MAX:
            raise WireError(f"{fds} file descriptors are more than {FDS_MAX}")
        payload = _count.pack(fds) + payload
    length = HEADER_SIZE + len(payload)
    if length > MESSAGE_MAX:
        raise WireError(f"a message of {length} bytes is over the cap of {MESSAGE_MAX}")
    return _pack_header(length, program, version, procedure, kind, serial, status) + payload


class FrameReader:
    """Cuts what arrives on a socket into messages.

    Attributes:
        limit: bytes that a message may have at most; lower it for a peer that has not
            said yet who it is.
    """

    __slots__ = ("_chunks", "_fds", "_have", "_need", "limit")

    def __init__(self, limit: int = MESSAGE_MAX) -> None:
        self.limit = limit
        self._chunks: list[bytes] = []
        self._have = 0
        # Bytes without which there is nothing to cut: a length, or a whole message.
        self._need = _count.size
        self._fds: deque[int] = deque()

    @property
    def pending(self) -> int:
        """Bytes of a message that has not arrived whole."""
        return self._have

    @property
    def missing(self) -> int:
        """Bytes that are known to be still to come before there is a message."""
        return self._need - self._have

    def feed(self, data: bytes, fds: Iterable[int] = ()) -> list[Message]:
        """Take in what arrived, and return the messages that are whole now.

        Args:
            data: bytes.
            fds: descriptors that arrived with them; whoever takes a message owns its
                descriptors, and :meth:`abandoned` has those that nobody took.

        Raises:
            WireError: a length is less than a message has or more than it may have. The
                connection cannot be used any further.
        """
        if fds:
            self._fds.extend(fds)
            if len(self._fds) > 2 * FDS_MAX:
                raise WireError(f"{len(self._fds)} file descriptors belong to no message")
        if self._chunks:
            # Joined when there is a message to cut, so that a long one is copied once.
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
        elif len(data) >= HEADER_SIZE:
            # Most often it is one message and nothing else.
            length, program, version, procedure, kind, serial, status = _unpack_header(data)
            if length == len(data) <= self.limit and kind != 4 and kind != 5:
                payload = data[HEADER_SIZE:]
                return [Message(program, version, procedure, kind, serial, status, payload)]
        messages: list[Message] = []
        at, end = 0, len(data)
        need = _count.size
        while end - at >= need:
            (length,) = _unpack_count(data, at)
            if not HEADER_SIZE <= length <= self.limit:
                raise WireError(
                    f"a message of {length} bytes: it must have between {HEADER_SIZE} and "
                    f"{self.limit}"
                )
            if end - at < length:
                need = length
                break
            _, program, version, procedure, kind, serial, status = _unpack_header(data, at)
            start, stop = at + HEADER_SIZE, at + length
            carried: tuple[int, ...] = ()
            if kind == 4 or kind == 5:
                count = _fds_of(data, start, stop)
                if end - stop < count:
                    need = length + count
                    break
                carried = self._take(count)
                start += _count.size
                at = stop + count
            else:
                at = stop
            messages.append(
                Message(
                    program, version, procedure, kind, serial, status, data[start:stop], carried
                )
            )
        self._chunks = [data[at:]] if at < end else []
        self._have = end - at
        self._need = need
        return messages

    def abandoned(self) -> tuple[int, ...]:
        """Return, and forget, descriptors that belong to no message; close them."""
        left = tuple(self._fds)
        self._fds.clear()
        return left

    def _take(self, count: int) -> tuple[int, ...]:
        """Return the descriptors of a message."""
        if len(self._fds) < count:
            raise WireError(f"{count} file descriptors were announced, {len(self._fds)} arrived")
        return tuple(self._fds.popleft() for _ in range(count))


def _fds_of(data: bytes, start: int, stop: int) -> int:
    """Return how many descriptors come with the message between two positions."""
    if stop - start < _count.size:
        raise WireError("a message that carries descriptors does not say how many")
    (count,) = _unpack_count(data, start)
    if count > FDS_MAX:
        raise WireError(f"{count} file descriptors are more than {FDS_MAX}")
    return int(count)
