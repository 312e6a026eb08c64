"""Batches of pages: counted as the same however they are looked at."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor_libxl.streams.pages import Runs, first_of_run

runs = st.tuples(
    st.one_of(st.integers(0, 1 << 18), st.integers(0, (1 << 64) - 2000)), st.integers(1, 1500)
)


@given(batches=st.lists(runs, max_size=12))
def test_what_follows_each_other_is_told(batches: list[tuple[int, int]]) -> None:
    """Of normal pages the first is told, or nothing is, which is no claim."""
    told = Runs()
    for first, count in batches:
        entries = array("Q", range(first, first + count)).tobytes()
        sound = first >> 52 == 0 and first + count <= 1 << 52
        assert told.first(entries) in ((first, -1) if sound else (-1,))


@given(
    first=st.integers(0, (1 << 52) - 600),
    where=st.integers(0, 299),
    bit=st.integers(0, 63),
)
def test_one_wrong_bit_is_no_run(first: int, where: int, bit: int) -> None:
    """Whatever bit of whatever entry is another, they do not follow each other."""
    told, sound = Runs(), array("Q", range(first, first + 300))
    for _ in range(3):
        told.first(sound.tobytes())
    broken = array("Q", sound)
    broken[where] ^= 1 << bit
    assert told.first(broken.tobytes()) == -1


@pytest.mark.parametrize("first", [0, 70_000, 1 << 40, (1 << 52) - 65_536])
def test_it_is_told_when_it_pays(first: int) -> None:
    """From the third long batch of neighbours on, as the slower way tells it from the first."""
    told, entries = Runs(), array("Q", range(first, first + 1024)).tobytes()
    assert [told.first(entries) for _ in range(4)] == [-1, first, first, first]
    if first < 1 << 48:
        assert first_of_run(entries) == first
    assert told.first(array("Q", [first + 5]).tobytes()) == first + 5
