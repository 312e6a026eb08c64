"""The stream: what goes in comes out, and nothing that is damaged is taken."""

from __future__ import annotations

import io
import os
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SaveImageError
from polyvisor_sim.memory import Memory
from polyvisor_sim.pages import PAGE_SIZE
from polyvisor_sim.stream import State, StreamReader, StreamWriter
from polyvisor_sim.versions import VERSIONS

UUID_HERE = UUID("6695eb01-f6a4-8304-79aa-97f2502e193f")
STATE = State(
    rate=100, dirty=4, working_set=8, seed=1, run=5 * 10**9, booted=10**9, boots=2, ticks=400
)


class Bytes:
    """A stream in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.file = io.BytesIO(data)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write all parts."""
        for part in parts:
            self.file.write(part)

    def read_into(self, buffer: memoryview) -> int:
        """Fill the buffer as far as there is something."""
        return self.file.readinto(buffer)


def memory_of(pages: dict[int, bytes], size: int) -> Memory:
    """Return memory that holds these pages and zeros."""
    memory = Memory(os.memfd_create("test"), size * PAGE_SIZE, "memory of a test")
    os.ftruncate(memory.fd, memory.size)
    for page, data in pages.items():
        memory.write(page, data)
    return memory


def content(memory: Memory) -> bytes:
    """Return all of memory."""
    return os.pread(memory.fd, memory.size, 0)


def stream_of(
    pages: dict[int, bytes], size: int, version: int, rounds: tuple[dict[int, bytes], ...] = ()
) -> bytes:
    """Return a stream of memory that is written to again and again while it is sent."""
    with memory_of(pages, size) as memory:
        sink = Bytes()
        writer = StreamWriter(sink, version, memory, UUID_HERE)
        writer.all_pages()
        for more in rounds:
            for page, data in more.items():
                memory.write(page, data)
            writer.pages(sorted(more))
        writer.finish(STATE)
        assert writer.written == len(sink.file.getvalue())
        return sink.file.getvalue()


def read(data: bytes, memory: Memory, base: int = 0) -> State:
    """Take a stream into memory."""
    reader = StreamReader(Bytes(data), memory, "stream", base)
    assert reader.header()
    state = reader.records()
    reader.end()
    return state


def filled(number: int) -> bytes:
    """Return a page full of one byte."""
    return bytes([number]) * PAGE_SIZE


some_pages = st.dictionaries(st.integers(0, 299), st.integers(0, 255).map(filled), max_size=12)


@given(
    pages=some_pages,
    rounds=st.lists(some_pages, max_size=3),
    size=st.integers(300, 600),
    version=st.sampled_from(VERSIONS),
)
def test_what_goes_in_comes_out(
    pages: dict[int, bytes], rounds: list[dict[int, bytes]], size: int, version: int
) -> None:
    """Memory and state are the same on the other side, whatever was sent more than once."""
    data = stream_of(pages, size, version, tuple(rounds))
    expected = dict(pages)
    for more in rounds:
        expected.update(more)
    with memory_of({}, size) as there, memory_of(expected, size) as here:
        assert read(data, there) == STATE
        assert content(there) == content(here)


def test_empty_memory_costs_nothing_in_version_2() -> None:
    """A hole is one record, and stays a hole on the other side, in version 1 too."""
    size = 16_384
    assert len(stream_of({}, size, 2)) < 500
    old = stream_of({5: filled(1)}, size, 1)
    assert len(old) > size * PAGE_SIZE
    with memory_of({}, size) as there:
        read(old, there)
        assert list(there.extents()) == [(5, 1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_cut_off_anywhere_is_refused(version: int) -> None:
    """At each record's boundary and within each record, the offset of the end is named."""
    data = stream_of({2: filled(7)}, 4, version)
    boundaries = {*range(200), *range(len(data) - 200, len(data)), *range(0, len(data), 1013)}
    for length in sorted(boundaries - {0}):
        with memory_of({}, 4) as there, pytest.raises(SaveImageError) as caught:
            read(data[:length], there, base=1000)
        assert caught.value.offset == 1000 + length
        assert "cut off" in caught.value.message


def test_no_stream_at_all() -> None:
    """An image without a stream is told from one that is cut off."""
    with memory_of({}, 4) as there:
        assert not StreamReader(Bytes(), there, "stream").header()


@given(st.data())
def test_no_flipped_bit_is_taken(data: st.DataObject) -> None:
    """Version 2 notices each bit that changes, wherever it is."""
    stream = bytearray(stream_of({2: filled(7)}, 40, 2))
    position = data.draw(st.integers(0, len(stream) - 1))
    stream[position] ^= 1 << data.draw(st.integers(0, 7))
    with memory_of({}, 40) as there, pytest.raises(SaveImageError):
        read(bytes(stream), there)


@given(noise=st.binary(max_size=400), version=st.sampled_from(VERSIONS))
def test_noise_is_refused(noise: bytes, version: int) -> None:
    """Whatever follows a good header, it is taken whole or refused, never believed."""
    header = stream_of({}, 4, version)[:40]
    with memory_of({}, 4) as there, pytest.raises(SaveImageError):
        read(header + noise, there)


def test_a_record_may_not_reach_beyond_memory() -> None:
    """Neither pages nor zeros are taken where there is no memory, however far the numbers go."""
    header = stream_of({}, 4, 2)[:40]
    for kind in (1, 2):
        for count, number in ((1, 4), (5, 0), (2, 3), (1, 2**64 - 1), (2**32 - 1, 0), (0, 0)):
            record = b"".join(
                value.to_bytes(size, "little")
                for value, size in ((kind, 4), (count, 4), (number, 8))
            )
            with memory_of({}, 4) as there, pytest.raises(SaveImageError, match="do not exist"):
                read(header + record, there)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0, b"X", "no simulator stream"),
        (8, b"\x03", "stream version 3, can be read: 1 or 2"),
        (12, b"\x01", "pages of"),
        (16, b"\x05", "5 pages of memory, the definition has 4"),
    ],
)
def test_a_wrong_header(at: int, value: bytes, words: str) -> None:
    """What cannot be read is named with its place."""
    data = bytearray(stream_of({}, 4, 2))
    data[at : at + 1] = value
    with memory_of({}, 4) as there, pytest.raises(SaveImageError, match=words) as caught:
        read(bytes(data), there)
    assert caught.value.offset == at


def test_the_version_agreed_on_is_the_only_one() -> None:
    """A migration that agreed on one version does not take another, nor another domain."""
    data = stream_of({}, 4, 2)
    with memory_of({}, 4) as there:
        with pytest.raises(SaveImageError, match="version 2, can be read: 1"):
            StreamReader(Bytes(data), there, "stream").header(version=1)
        with pytest.raises(SaveImageError, match=str(UUID_HERE)):
            StreamReader(Bytes(data), there, "stream").header(uuid=UUID(int=1))


def test_what_follows_the_end_is_refused() -> None:
    """An image ends where its stream does."""
    with memory_of({}, 4) as there, pytest.raises(SaveImageError, match="follows"):
        read(stream_of({}, 4, 2) + b"\0", there)
