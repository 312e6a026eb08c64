"""Which page holds what, against a guest that really writes its pages one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polyvisor_sim.pages import BOOT_PAGES, PAGE_SIZE, Pattern

patterns = st.builds(
    Pattern,
    pages=st.integers(1, 80),
    seed=st.integers(0, 2**40),
    dirty=st.integers(0, 9),
    working_set=st.integers(0, 90),
)


def run(pattern: Pattern, ticks: int) -> dict[int, bytes]:
    """Do what a guest does, tick by tick; return the pages that are not zero."""
    memory = {page: pattern.content(page, 0) for page in pattern.boot()}
    dirtied_in_turn = list(pattern.dirtied(0, 10**9)) if pattern.dirty else []
    for tick in range(1, ticks + 1):
        for page in pattern.dirtied(tick - 1, tick):
            memory[page] = pattern.content(page, tick)
    assert set(memory) <= {*pattern.boot(), *dirtied_in_turn}
    return memory


@given(pattern=patterns, ticks=st.integers(0, 200))
def test_the_closed_form_agrees_with_running(pattern: Pattern, ticks: int) -> None:
    """Each page holds what the last tick that wrote it left there."""
    memory = run(pattern, ticks)
    for page in range(pattern.pages):
        assert pattern.expected(page, ticks) == memory.get(page)


@given(pattern=patterns, since=st.integers(0, 100), more=st.integers(0, 100))
def test_what_was_dirtied_is_the_sum_of_the_ticks(pattern: Pattern, since: int, more: int) -> None:
    """The pages written between two ticks are those of each tick in between, ascending."""
    expected: set[int] = set()
    for tick in range(since, since + more):
        expected.update(pattern.dirtied(tick, tick + 1))
    found = list(pattern.dirtied(since, since + more))
    assert found == sorted(expected)


@given(pattern=patterns)
def test_the_working_set_is_written_in_full_before_any_page_twice(pattern: Pattern) -> None:
    """A full round of writes touches each page of the working set exactly once."""
    single = Pattern(pattern.pages, pattern.seed, 1, pattern.working_set)
    written = [
        page for tick in range(single.working_set) for page in single.dirtied(tick, tick + 1)
    ]
    assert sorted(written) == list(single.touched())[len(single.boot()) :]


def test_pages_tell_one_another_apart() -> None:
    """Page, tick, seed: each changes the whole of a page."""
    pattern, other = Pattern(64, 1, 1, 8), Pattern(64, 2, 1, 8)
    contents = {
        source.content(page, tick)
        for source in (pattern, other)
        for page in (3, 4)
        for tick in (5, 6)
    }
    assert len(contents) == 8
    assert all(len(content) == PAGE_SIZE for content in contents)
    assert len({content[PAGE_SIZE - 8 :] for content in contents}) == 8


def test_memory_smaller_than_what_boots() -> None:
    """A guest with less memory than its boot pages has nothing else."""
    pattern = Pattern(BOOT_PAGES - 1, 0, 4, 1024)
    assert list(pattern.boot()) == list(range(BOOT_PAGES - 1))
    assert pattern.working_set == 0
    assert list(pattern.dirtied(0, 1000)) == []
