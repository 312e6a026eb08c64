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

#: As libvirt 9.0's Xen driver wrote it in begin, on Xen 4.17 (see ``tests/xen``).
RECORDED = b"""\
<libxl-migration>
  <name>hand</name>
  <uuid>6f0e1c1a-7d0c-4a6b-9f57-000000000015</uuid>
  <hostname>xen1</hostname>
  <migration-stream-version>2</migration-stream-version>
</libxl-migration>
\0"""


def test_a_recorded_cookie():
    """A real libvirt's cookie is read, and ours of the same domain is the same bytes."""
    uuid = UUID("6f0e1c1a-7d0c-4a6b-9f57-000000000015")
    cookie, ours = LibxlCookie.from_bytes(RECORDED)
    assert cookie == LibxlCookie("hand", uuid, "xen1", 2)
    assert ours == b""
    assert cookie.to_bytes() == RECORDED
    assert unwrap(RECORDED, name="hand", uuid=uuid) == (None, (2,))


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


@pytest.mark.parametrize("version", ["0", "65536", "000000001" + "0" * 5000, "\u0662", " 2", "-2"])
def test_a_version_that_is_none(version):
    """A number that no stream's version can be is refused, however many digits it has."""
    cookie = RECORDED.replace(b">2<", f">{version}<".encode())
    with pytest.raises(MigrationError, match="not a version of a migration stream"):
        LibxlCookie.from_bytes(cookie)


def test_no_cookie_means_the_oldest_stream():
    """A source that says nothing writes the legacy stream."""
    assert unwrap(None, name="guest", uuid=UUID(int=1)) == (None, (1,))
    assert unwrap(b"", name="guest", uuid=UUID(int=1)) == (None, (1,))
