"""What the client makes of a stream that a server sends."""

from __future__ import annotations

from typing import Any

import pytest

from polyvisor_remote.client.stream import Stream
from polyvisor_remote.wire import STREAM_CHUNK, Kind, Message, Status, WireError, hole, program


class _Sent:
    """A channel on which these messages came.

    Attributes:
        ended: whether the stream was let go of.
    """

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.ended = False

    def next_of_stream(self, serial: int) -> Message:
        return self._messages.pop(0)

    def send_of_stream(self, *sent: object, kind: int) -> None:
        pass

    def end_stream(self, serial: int) -> None:
        self.ended = True


def _message(kind: Kind, status: Status, payload: bytes = b"") -> Message:
    remote = program("remote")
    return Message(remote.number, 1, 201, int(kind), 1, int(status), payload)


def _stream(*messages: Message) -> tuple[Stream, _Sent]:
    channel: Any = _Sent(*messages, _message(Kind.STREAM, Status.OK))
    return Stream(channel, program("remote")["domain_open_console"], 1), channel


def test_holes_are_zeros_in_small_pieces() -> None:
    """However long a hole is said to be, no more memory is taken for it than for a message."""
    stream, channel = _stream(
        _message(Kind.STREAM, Status.CONTINUE, b"before"),
        _message(Kind.STREAM_HOLE, Status.CONTINUE, hole(0)),
        _message(Kind.STREAM_HOLE, Status.CONTINUE, hole(STREAM_CHUNK * 2 + 5)),
        _message(Kind.STREAM, Status.CONTINUE, b"behind"),
        _message(Kind.STREAM, Status.CONTINUE, b""),
    )
    pieces = list(iter(stream.receive, b""))
    assert max(map(len, pieces)) == STREAM_CHUNK
    assert b"".join(pieces) == b"before" + bytes(STREAM_CHUNK * 2 + 5) + b"behind"
    assert not channel.ended  # Both sides have yet to agree that it is at its end.
    stream.finish()
    assert channel.ended


def test_an_endless_hole_can_be_left() -> None:
    """Who gives up a stream does not go through what was still to come."""
    stream, channel = _stream(_message(Kind.STREAM_HOLE, Status.CONTINUE, hole((1 << 63) - 1)))
    assert stream.receive() == bytes(STREAM_CHUNK)
    stream.abort()
    assert channel.ended
    with pytest.raises(WireError, match="-1 bytes"):
        _stream(_message(Kind.STREAM_HOLE, Status.CONTINUE, hole(-1)))[0].receive()


def test_a_hole_is_passed_whole_by_who_asks_for_that() -> None:
    """It is told instead of its bytes, and what follows it comes next."""
    stream, _ = _stream(
        _message(Kind.STREAM, Status.CONTINUE, b"a"),
        _message(Kind.STREAM_HOLE, Status.CONTINUE, hole(1 << 40)),
        _message(Kind.STREAM, Status.CONTINUE, b"b"),
    )
    assert stream.piece() == b"a"
    assert stream.piece() is None
    assert stream.hole == 1 << 40
    stream.hole = 0
    assert [stream.piece(), stream.piece()] == [b"b", b""]
