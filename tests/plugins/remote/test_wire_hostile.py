"""Bytes that no honest peer sends."""

from __future__ import annotations

import os
import struct
import tracemalloc

import pytest
from wire_values import EVERYTHING

from polyvisor_remote.wire import (
    FDS_MAX,
    HEADER_SIZE,
    MESSAGE_MAX,
    FrameReader,
    Hole,
    Kind,
    Message,
    Status,
    WireError,
    frame,
    hole,
    program,
)
from polyvisor_remote.wire.declaration import PROGRAMS

REMOTE = program("remote")
SCALES = (2**31, 2**32 - 1, 2**24 + 1)


def word(number: int) -> bytes:
    """Return a number as four bytes."""
    return struct.pack(">I", number)


@pytest.mark.parametrize("length", [0, 3, 27, 2**31, 2**32 - 1, MESSAGE_MAX + 1])
def test_a_length_that_no_message_has_ends_the_connection(length: int) -> None:
    """It is refused as soon as its four bytes are there, and nothing is set aside for it."""
    with pytest.raises(WireError, match="a message of"):
        FrameReader().feed(word(length))
    with pytest.raises(WireError, match="a message of"):
        FrameReader().feed(word(length) + bytes(40))


def test_a_limit_can_be_lower() -> None:
    """A peer that has not said who it is gets less room."""
    reader = FrameReader(limit=1000)
    assert list(reader.feed(word(1000))) == []
    assert reader.pending == 4
    with pytest.raises(WireError, match="between 28 and 1000"):
        FrameReader(limit=1000).feed(word(1001))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 27, 28, 29, 1000])
def test_messages_may_arrive_in_any_pieces(size: int) -> None:
    """However the bytes are cut, the same messages come out."""
    sent = [
        frame(REMOTE.number, 1, number, Kind.CALL, number, Status.OK, bytes(number))
        for number in (0, 1, 4, 100)
    ]
    data = b"".join(sent)
    reader = FrameReader()
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert [one.serial for one in found] == [0, 1, 4, 100]
    assert [len(one.payload) for one in found] == [0, 1, 4, 100]
    assert reader.pending == 0


def test_any_words_of_a_header_come_through() -> None:
    """What program, kind and status mean is not for the reader to judge."""
    words = (1, 2, -3, 4_000_000_000, 5, -6)
    (found,) = FrameReader().feed(struct.pack(">IIIiIIi", HEADER_SIZE, *words))
    assert found == Message(*words, b"")


def test_a_message_is_not_sent_over_the_cap() -> None:
    """The largest message is exactly as large as libvirt's."""
    assert len(frame(1, 1, 1, 0, 1, 0, bytes(MESSAGE_MAX - HEADER_SIZE))) == MESSAGE_MAX
    with pytest.raises(WireError, match="over the cap"):
        frame(1, 1, 1, 0, 1, 0, bytes(MESSAGE_MAX - HEADER_SIZE + 1))


def test_descriptors_travel_with_their_message() -> None:
    """Each announced descriptor takes one byte after the message, whole or in pieces."""
    data = frame(1, 1, 443, Kind.CALL_WITH_FDS, 9, 0, b"abcd", fds=2)
    plain = frame(1, 1, 2, Kind.CALL, 10, 0)
    reader = FrameReader()
    (first, second) = reader.feed(data + b"\0\0" + plain, (71, 72))
    assert (first.payload, first.fds, second.serial) == (b"abcd", (71, 72), 10)
    assert list(reader.feed(data)) == []
    assert list(reader.feed(b"\0", (73,))) == []
    (late,) = reader.feed(b"\0", (74,))
    assert late.fds == (73, 74)
    assert list(reader.feed(b"", (75,))) == []
    assert reader.abandoned() == (75,)
    assert reader.abandoned() == ()


def test_descriptors_are_counted() -> None:
    """More than the cap, or more than arrived, end the connection."""
    with pytest.raises(WireError, match="more than 32"):
        frame(1, 1, 1, Kind.REPLY_WITH_FDS, 1, 0, fds=FDS_MAX + 1)
    head = struct.pack(">IIIiIIi", 32, 1, 1, 1, Kind.CALL_WITH_FDS, 1, 0)
    with pytest.raises(WireError, match="more than 32"):
        FrameReader().feed(head + word(33) + bytes(33))
    with pytest.raises(WireError, match="1 arrived"):
        FrameReader().feed(head + word(2) + bytes(2), (7,))
    with pytest.raises(WireError, match="65 file descriptors belong to no message"):
        FrameReader().feed(b"", range(65))
    with pytest.raises(WireError, match="how many"):
        FrameReader().feed(struct.pack(">IIIiIIi", 28, 1, 1, 1, Kind.CALL_WITH_FDS, 1, 0))


def test_holes_are_checked() -> None:
    """A hole has a length that is not negative."""
    assert Hole.decode(hole(2**40)) == Hole(2**40, 0)
    with pytest.raises(WireError, match="-1 bytes"):
        Hole.decode(struct.pack(">qI", -1, 0))
    with pytest.raises(WireError, match="takes 12 bytes"):
        Hole.decode(b"")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_word_may_be_anything(name: str) -> None:
    """Whatever number stands in whatever place: refused, or read."""
    codecs = [one.codec for each in program(name) for one in (each.arguments, each.result)]
    for codec in codecs:
        for length in (4, 8, 16, 24, 40, 64):
            for number in (*SCALES, 0, 1, 2, 3, 8, 4194304):
                data = word(number) * (length // 4)
                try:
                    value = codec.decode(data)
                except WireError:
                    continue
                assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("scale", SCALES)
def test_no_memory_is_set_aside_for_a_length_that_is_only_claimed(scale: int) -> None:
    """A list, string or blob of billions in a message of few bytes costs few bytes."""
    lists = [
        one
        for one in EVERYTHING.values()
        if one.fields and (one.fields[0].type.cap or one.fields[0].type.name == "string")
    ]
    assert len(lists) > 100
    codecs = [one.codec for one in lists]
    data = word(scale) + os.urandom(64)
    tracemalloc.start()
    for codec in codecs:
        with pytest.raises(WireError):
            codec.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_list_within_its_cap_must_still_be_there() -> None:
    """16,384 domains are allowed, but not in twelve bytes."""
    codec = REMOTE["connect_list_all_domains"].result.codec
    with pytest.raises(WireError, match="cut short"):
        codec.decode(word(16384) + bytes(8))
    with pytest.raises(WireError, match="over the cap of 16384"):
        codec.decode(word(16385) + bytes(8))


def test_flags_and_kinds_have_few_values() -> None:
    """What may be absent is there or not; a typed parameter has one of seven types."""
    codec = REMOTE["connect_open"].arguments.codec
    with pytest.raises(WireError, match="neither absent nor present"):
        codec.decode(word(2) + bytes(8))
    stats = REMOTE["domain_get_job_stats"].result.codec
    for kind in (0, 8, 2**32 - 1):
        with pytest.raises(WireError, match=f"no type {kind}"):
            stats.decode(word(1) + word(1) + word(1) + b"a\0\0\0" + word(kind) + bytes(8))


def test_a_name_with_a_zero_byte_is_refused() -> None:
    """Two programs must not take the same bytes for different names."""
    codec = REMOTE["domain_lookup_by_name"].arguments.codec
    with pytest.raises(WireError, match="zero byte"):
        codec.decode(word(4) + b"a\0bc")
