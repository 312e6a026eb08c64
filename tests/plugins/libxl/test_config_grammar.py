"""The language of xl.cfg: what it says, and what it refuses with the line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SpecError
from polyvisor.native import MAX_SIZE
from polyvisor_libxl.config.grammar import Atom, Items, Value, format_entries, parse


def plain(value: Value) -> object:
    """Return a value without its line."""
    return value.text if isinstance(value, Atom) else [plain(item) for item in value.items]


def read(text: str) -> dict[str, object]:
    """Return what a configuration sets."""
    return {name: plain(value) for name, value in parse(text.encode(), path="a.cfg").items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1", {"a": "1"}),
        ("a=0x1F;b = -3 # c\n", {"a": "0x1F", "b": "-3"}),
        ("# a = 1\n\n  \t a = 'x # y' # z", {"a": "x # y"}),
        ("a = 1\na = 2", {"a": "2"}),
        ("a = [ ]", {"a": []}),
        ("a = [ 1, 'b', [ 'c', [ ] ], ]", {"a": ["1", "b", ["c", []]]}),
        ("a = [\n 'b', # first\n\n 'c'\n]\nd = 1", {"a": ["b", "c"], "d": "1"}),
        ("a = 'b'\na += 'c'", {"a": "bc"}),
        ("a = ['b']\na += ['c', 'd']", {"a": ["b", "c", "d"]}),
        ("a += 'c'", {"a": "c"}),
        (r"""a = "q\"s\\t'n\n\x41\101" """, {"a": "q\"s\\t'n\nAA"}),
        ('a = """b"c\nd"""', {"a": 'b"c\nd'}),
        ("a = \\\n  1", {"a": "1"}),
        ("a = True\nb = False\nc = 1\nc = None", {"a": "1", "b": "0"}),
        ("a = 1\r\nb = 2\r\n", {"a": "1", "b": "2"}),
        ("\ufeffa = 'ü'", {"a": "ü"}),
        ("", {}),
    ],
)
def test_what_it_says(text: str, said: dict[str, object]) -> None:
    """Text, numbers, lists and lists within; comments, lines that go on, and ``+=``."""
    assert read(text) == said


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("a = 1\nb", 2, "is to be followed by '='"),
        ("a = 1 2", 1, "after the value of 'a'"),
        ("a =\n", 1, "a value is to stand here, not the end of the line"),
        ("a = 'b\n", 1, "not closed on its line"),
        ("a = 1\nb = [ 'c',\n", 2, "the list that begins on line 2 is not closed"),
        ("a = [ 'b' 'c' ]", 1, "',' or ']' is to stand here"),
        ("\n\nimport os\n", 3, "'import' is to be followed by '='"),
        ("a = os.getenv('b')", 1, "a value is to stand here, not 'os.getenv'"),
        ("a = 'b' + 'c'", 1, "this is a program in Python"),
        ("a = ('b')", 1, "this is a program in Python"),
        ("a = ['b']\na += 'c'", 2, "cannot add text and lists"),
        ("a = " + "[" * 20, 1, "lists within lists"),
        ("a = 'b\\qc'", 1, "means nothing"),
        ("a = 'b\\x00'", 1, "which no definition can hold"),
        ("a = 1\n\xff = 2", 2, "no part of a configuration"),
    ],
)
def test_what_it_refuses(text: str, line: int, fault: str) -> None:
    """Whatever is wrong is named in one line, with the line on which it is."""
    with pytest.raises(SpecError) as caught:
        parse(text.encode(), path="a.cfg")
    assert caught.value.line == line
    assert caught.value.message.startswith(f"a.cfg:{line}: ")
    assert fault in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_too_much() -> None:
    """A file that is too large, has too many values or is no text is refused at once."""
    for data, fault in (
        (b" " * (MAX_SIZE + 1), "longer than"),
        (b"a = [" + b"1," * 200_000 + b"]", "more than 100000 values"),
        (b"a = 1\nb = '\xff'", "byte 0xff is not UTF-8 text"),
    ):
        with pytest.raises(SpecError, match=fault):
            parse(data, path="a.cfg")


_TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff")
    | st.sampled_from("\n\t\"'\\#"),
    max_size=20,
)
_VALUES = st.recursive(
    _TEXTS | st.integers(-(2**31), 2**63), lambda inner: st.lists(inner, max_size=4), max_leaves=8
)
_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)


def _said(value: object) -> object:
    return [_said(item) for item in value] if isinstance(value, list) else str(value)


@given(st.dictionaries(_NAMES, _VALUES, max_size=5), st.booleans())
def test_what_is_written_is_read(entries, long_text: bool) -> None:
    """Any names, texts, numbers and lists come back, whatever quotes are in them."""
    expected = {name: _said(value) for name, value in entries.items()}
    assert read(format_entries(entries, long_text=long_text)) == expected


@given(st.binary(max_size=200) | st.text("ab=+[],;'\"\\#\n 1x", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ``SpecError`` comes of bytes that nobody would write."""
    found: dict[str, Value] = {}
    with suppress(SpecError):
        found = parse(data, path="a.cfg")
    assert all(isinstance(value, Atom | Items) for value in found.values())
