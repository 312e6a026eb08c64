"""A guest's memory, byte for byte."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import StorageError
from polyvisor_sim.memory import Memory
from polyvisor_sim.pages import PAGE_SIZE, Pattern

PAGES = 200
PATTERN = Pattern(PAGES, 1, 3, 64)


def fresh(pages: int = PAGES) -> Memory:
    """Return empty memory that is in no folder."""
    return Memory(os.memfd_create("test"), pages * PAGE_SIZE, "memory of a test")


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Hold empty memory of 200 pages."""
    with fresh() as found:
        os.ftruncate(found.fd, found.size)
        yield found


def expected(pattern: Pattern, ticks: int) -> bytes:
    """Return all of memory as it must be."""
    zeros = bytes(PAGE_SIZE)
    return b"".join(pattern.expected(page, ticks) or zeros for page in range(pattern.pages))


def content(memory: Memory) -> bytes:
    """Return all of memory as it is."""
    return os.pread(memory.fd, memory.size, 0).ljust(memory.size, b"\0")


@given(
    pattern=st.builds(
        Pattern,
        pages=st.integers(1, 60),
        seed=st.integers(0, 9),
        dirty=st.integers(0, 9),
        working_set=st.integers(0, 60),
    ),
    steps=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), min_size=1, max_size=6),
)
def test_any_steps_lead_to_the_same_bytes(pattern: Pattern, steps: list[tuple[int, int]]) -> None:
    """However memory is brought up to date, through resets too, it is as one step makes it."""
    with fresh(pattern.pages) as memory:
        boots, ticks = 1, 0
        for reset, more in steps:
            if reset:
                boots, ticks = boots + 1, 0
            ticks += more
            memory.bring_up(pattern, boots, ticks)
            assert content(memory) == expected(pattern, ticks)
            assert memory.verify(pattern, ticks) is None
            assert (memory.mark().boots, memory.mark().ticks) == (boots, ticks)


def test_an_hour_costs_one_write_per_page(memory: Memory) -> None:
    """No page is written twice, however long ago memory was last brought up to date."""
    assert memory.bring_up(PATTERN, 1, 360_000) == len(PATTERN.touched())
    assert memory.bring_up(PATTERN, 1, 360_000) == 0
    assert memory.bring_up(PATTERN, 1, 360_001) == 3


def test_memory_is_sparse(memory: Memory) -> None:
    """What was never written takes no room."""
    memory.bring_up(PATTERN, 1, 10)
    pages = {page for first, count in memory.extents() for page in range(first, first + count)}
    written = {page for page in range(PAGES) if PATTERN.expected(page, 10) is not None}
    assert pages == written
    assert os.fstat(memory.fd).st_blocks * 512 <= (len(written) + 1) * PAGE_SIZE


def test_being_killed_in_the_middle_is_harmless(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is the last one done, the next to look after memory sets it right."""
    original = Memory.write

    class Killed(BaseException):
        pass

    def count(*arguments: object) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        original(*arguments)  # type: ignore[arg-type]

    ticks, boots = 0, 1
    for allowed in range(30):
        left, ticks = allowed, ticks + 7
        if allowed % 10 == 0:
            boots += 1
        monkeypatch.setattr(Memory, "write", count)
        with contextlib.suppress(Killed):
            memory.bring_up(PATTERN, boots, ticks)
        monkeypatch.undo()
        ticks += 1
        memory.bring_up(PATTERN, boots, ticks)
        assert content(memory) == expected(PATTERN, ticks)


@pytest.mark.parametrize(
    ("spoil", "page", "words"),
    [
        (lambda m: m.write(3, bytes(PAGE_SIZE)), 3, "zeros instead of tick 0"),
        (lambda m: m.write(20, PATTERN.content(21, 50)), 20, "holds page 21"),
        (lambda m: m.write(20, PATTERN.content(20, 1)), 20, "holds tick 1 instead of tick"),
        (lambda m: m.write(PAGES - 1, PATTERN.content(5, 1)), PAGES - 1, "never written"),
        (lambda m: m.write(7, b"junk" * 1024), 7, "holds b'junkjunk"),
        (lambda m: os.pwrite(m.fd, b"\x01", 9 * PAGE_SIZE + 4095), 9, "torn: byte 4095"),
        (
            lambda m: m.write(8, Pattern(PAGES, 2, 3, 64).content(8, 0)),
            8,
            "another guest or another boot",
        ),
    ],
)
def test_the_first_wrong_page_is_named(
    memory: Memory, spoil: Callable[[Memory], object], page: int, words: str
) -> None:
    """Verifying says which page is wrong and what is wrong with it."""
    memory.bring_up(PATTERN, 1, 50)
    assert memory.verify(PATTERN, 50) is None
    spoil(memory)
    wrong = memory.verify(PATTERN, 50)
    assert wrong is not None
    assert wrong.page == page
    assert words in wrong.fault


def test_zeros_leave_holes(memory: Memory) -> None:
    """Writing zeros where nothing was takes no room; where something was, it is gone."""
    memory.write_unless_zero(100, memoryview(bytes(50 * PAGE_SIZE)))
    assert list(memory.extents()) == []
    memory.write(110, b"x" * PAGE_SIZE)
    memory.write_unless_zero(100, memoryview(bytes(50 * PAGE_SIZE)))
    assert not any(content(memory))


def test_a_full_disk_is_a_storage_error() -> None:
    """Where memory has no room the error names the file, and nobody dies of SIGBUS."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    with (
        Memory(os.open(full, os.O_RDWR), PAGES * PAGE_SIZE, "/dev/full") as memory,
        pytest.raises(StorageError, match=r"/dev/full.*make room"),
    ):
        memory.write(0, bytes(PAGE_SIZE))


def test_memory_that_was_cut_off(memory: Memory) -> None:
    """A file that became shorter than memory is an error that says so, not zeros."""
    memory.bring_up(PATTERN, 1, 50)
    os.ftruncate(memory.fd, 10 * PAGE_SIZE)
    with pytest.raises(StorageError, match=f"ends at byte {10 * PAGE_SIZE}"):
        memory.verify(PATTERN, 50)
