"""libvirt's migration cookie: every text comes back, and no damage does harm."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from polyvisor.errors import MigrationError
from polyvisor_libxl.cookie import LibxlCookie, unwrap

# What XML can carry, without what its parsers make one character of.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
).filter(str.strip)
COOKIES = st.builds(LibxlCookie, TEXT, st.uuids(), TEXT, st.integers(1, 65535))


@given(COOKIES, st.binary().filter(lambda data: b"\0" not in data))
def test_a_cookie_comes_back(cookie, ours):
    """What is written is read, with what polyvisor has put behind it."""
    assert LibxlCookie.from_bytes(cookie.to_bytes(ours)) == (cookie, ours)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(data):
    """Bytes that are no cookie raise the one error and nothing else."""
    with pytest.raises(MigrationError, match="cookie cannot be used"):
        LibxlCookie.from_bytes(data)


@given(COOKIES, st.data())
def test_a_changed_byte_does_no_harm(cookie, data):
    """A cookie with one byte changed is read as something, or refused."""
    raw = bytearray(cookie.to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MigrationError):
        found, _ = LibxlCookie.from_bytes(bytes(raw))
        assert 0 < found.version < 1 << 16


def test_no_cookie_means_the_oldest_stream():
    """A source that says nothing writes the legacy stream."""
    assert unwrap(None, name="guest", uuid=UUID(int=1)) == (None, (1,))
    assert unwrap(b"", name="guest", uuid=UUID(int=1)) == (None, (1,))
