"""Connection URIs are read and written as libvirt's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import UriError
from polyvisor.uri import ConnectionUri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qemu:///session", ConnectionUri("qemu", path="/session")),
        (
            "qemu+ssh://root@lab-2:2222/system?socket=/a%20b",
            ConnectionUri("qemu", "ssh", "root", "lab-2", 2222, "/system", {"socket": "/a b"}),
        ),
        (
            "esx://host/?no_verify=1",
            ConnectionUri("esx", host="host", path="/", query={"no_verify": "1"}),
        ),
        ("xen://[::1]:16514/", ConnectionUri("xen", host="::1", port=16514, path="/")),
    ],
)
def test_parts_of_a_uri(text: str, expected: ConnectionUri) -> None:
    """Scheme, transport, user, host, port, path and parameters are told apart."""
    assert ConnectionUri.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "no-scheme", "://x", "qemu+://x", "qemu://h:port/", "qemu://[::1/", "a\nb://"]
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    """A malformed URI is a ``UriError`` that quotes it."""
    with pytest.raises(UriError):
        ConnectionUri.parse(text)


_words = st.text(
    min_size=1, max_size=12, alphabet=st.characters(min_codepoint=0x20, exclude_categories=["Cs"])
)


@given(
    scheme=st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True),
    user=st.none() | _words,
    path=_words,
    query=st.dictionaries(_words, _words, max_size=3),
)
def test_a_uri_survives_being_written_and_read(scheme, user, path, query) -> None:
    """Whatever stands in the parts, writing and reading gives the same value."""
    uri = ConnectionUri(scheme, None, user, "host", 1, f"/{path}", query)
    assert ConnectionUri.parse(str(uri)) == uri


@given(st.from_regex(r"[a-zA-Z]{1,5}:///[A-Za-z0-9/._-]{0,20}", fullmatch=True))
def test_a_plain_uri_means_the_same_as_one_with_an_empty_query(text: str) -> None:
    """The short way to read the URIs of this machine finds what the long one does."""
    assert ConnectionUri.parse(text) == ConnectionUri.parse(f"{text}?")
    assert ConnectionUri.parse(str(ConnectionUri.parse(text))) == ConnectionUri.parse(text)
