"""Hypothesis strategies that make any value of the model, for property tests of your own.

A plugin that reads or writes definitions can be tested with definitions that nobody would
think of::

    from hypothesis import given
    from polyvisor.testing.strategies import specs

    @given(specs())
    def test_my_format_loses_nothing(spec):
        assert read(write(spec)) == spec

What they make is what libvirt's schema allows value by value; it need not make sense as a
whole. Needs hypothesis (the extra ``test``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from hypothesis import strategies as st

from polyvisor.model import DomainSpec, Element, Extra, RawXml
from polyvisor.model._codecs import (
    BYTES,
    MAX_SIZE,
    NAME,
    STR,
    UUID_TEXT,
    Codec,
    Fault,
    unit_factor,
)
from polyvisor.model.binding import Binding, Choice, bindings_of, resolve
from polyvisor.model.forms import carried

__all__ = ["elements", "specs"]

E = TypeVar("E", bound=Element)

#: How deep elements are put into each other where nothing demands it.
_DEPTH = 4
#: How many optional fields of one element are set at most.
_FIELDS = 5
#: Elements that hold more than others, and are made more often.
_LARGE = frozenset({"devices", "cpu", "features"})

# What XML 1.0 can hold (section 2.2); a reader turns a bare carriage return into a line end.
_CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"
) | st.sampled_from("\t\n<>&'\" ")
_TEXT = st.text(_CHARACTERS, max_size=20)
_WORDS = st.from_regex(re.compile(r"[a-z][a-z0-9-]{0,8}", re.ASCII), fullmatch=True)


def specs() -> st.SearchStrategy[DomainSpec]:
    """Return a strategy for definitions of domains."""
    return elements(DomainSpec)


def elements(cls: type[E]) -> st.SearchStrategy[E]:
    """Return a strategy for any element of the model.

    Args:
        cls: its class.
    """
    made: st.SearchStrategy[E] = _element(cls, 0, None)
    return made


@st.composite
def _element(draw: st.DrawFn, cls: type[Any], depth: int, decided: tuple[str, str] | None) -> Any:
    """Make an element.

    Args:
        draw: hypothesis's.
        cls: its class.
        depth: how many elements are around it.
        decided: an attribute and the value by which the class was chosen.
    """
    fields: dict[str, Binding] = dict(bindings_of(cls))
    # Elements are more telling than words.
    shown = [name for name, one in fields.items() for _ in range(_weight(one, depth))]
    wanted = {name for name, one in fields.items() if one.required}
    if shown:
        least = 1 if depth < 2 else 0
        wanted |= set(draw(st.lists(st.sampled_from(shown), min_size=least, max_size=_FIELDS)))
    values: dict[str, Any] = {}
    for name in sorted(wanted):
        binding = fields[name]
        if decided is not None and binding.kind == "attr" and binding.name == decided[0]:
            continue
        values[name] = draw(_field(binding, depth))
    if decided is not None:
        values.update(
            (name, decided[1])
            for name, binding in fields.items()
            if binding.kind == "attr" and binding.name == decided[0]
        )
    for name in [*_homeless(fields, values)]:
        del values[name]
    if draw(st.integers(0, 9)) == 9:
        values["extra"] = draw(_extra(bool(_text_of(fields, values))))
    return cls(**values)


def _weight(binding: Binding, depth: int) -> int:
    if binding.kind != "child":
        return 1
    if depth >= _DEPTH:
        return 0
    return 8 if binding.name in _LARGE else 3


def _homeless(fields: dict[str, Binding], values: dict[str, Any]) -> Iterator[str]:
    """Yield the fields that XML has no place for beside the others."""
    text = _text_of(fields, values)
    held = {
        fields[name].name
        for name, value in values.items()
        if fields[name].kind != "beside" and value is not None
    }
    for name in values:
        binding = fields[name]
        alone = binding.kind == "beside" and binding.name not in held
        if alone or (text and not binding.required and binding.kind not in {"attr", "text"}):
            yield name


def _text_of(fields: dict[str, Binding], values: dict[str, Any]) -> str | None:
    return next((name for name in values if fields[name].kind == "text"), None)


def _field(binding: Binding, depth: int) -> st.SearchStrategy[Any]:
    one = _one(binding, depth)
    return st.lists(one, min_size=1, max_size=3).map(tuple) if binding.many else one


def _one(binding: Binding, depth: int) -> st.SearchStrategy[Any]:
    if binding.kind == "child":
        return _child(binding.ref, depth + 1)
    if binding.kind == "flag":
        return st.just(True)
    if binding.kind == "raw":
        return st.builds(_raw, st.just(binding.name), _WORDS, _TEXT)
    if binding.kind == "size":
        return _sizes(unit_factor(binding.unit, 1))
    if binding.codec is BYTES:
        return _sizes(1024)
    # An element whose text is empty is read as one that has none.
    return _values(binding.codec, 1 if binding.kind == "text" else 0)


def _sizes(step: int) -> st.SearchStrategy[int]:
    return st.integers(0, MAX_SIZE // step).map(lambda count: count * step)


def _child(ref: Any, depth: int) -> st.SearchStrategy[Any]:
    if isinstance(ref, dict):
        return st.one_of([_element(resolve(one), depth, None) for one in ref.values()])
    if isinstance(ref, Choice):
        return st.one_of(
            [_element(resolve(one), depth, (ref.by, word)) for word, one in ref.refs.items()]
        )
    return _element(resolve(ref), depth, None)


def _values(codec: Codec, shortest: int) -> st.SearchStrategy[Any]:
    """Return a strategy for what one attribute or text can be."""
    if codec is STR:
        return st.text(_CHARACTERS, min_size=shortest, max_size=20)
    if codec is NAME:
        return _TEXT.filter(lambda text: _writable(codec, text))
    if codec is UUID_TEXT:
        return st.uuids()
    said = codec.schema
    if "enum" in said:
        return st.sampled_from([_read(codec, word) for word in said["enum"]])
    if said.get("type") == "boolean":
        return st.booleans()
    if said.get("type") == "integer":
        return st.integers(said.get("minimum", 0), said.get("maximum", 2**31 - 1))
    if "pattern" in said:
        words = st.from_regex(re.compile(said["pattern"], re.ASCII), fullmatch=True)
        return words.filter(lambda text: len(text) >= shortest and _writable(codec, text))
    return _TEXT.filter(lambda text: len(text) >= shortest and _writable(codec, text))


def _read(codec: Codec, word: str) -> Any:
    return word if codec.read is None else codec.read(word)


def _writable(codec: Codec, value: Any) -> bool:
    """Say whether a codec takes a value and keeps it as it is."""
    try:
        codec.write(value)
        return bool(_read(codec, value) == value)
    except (Fault, ValueError):
        return False


def _raw(tag: str, word: str, text: str) -> RawXml:
    from xml.sax.saxutils import escape

    inside = f"<x:{word} xmlns:x='urn:{word}' {word}='1'>{escape(text)}</x:{word}>"
    return RawXml.parse(f"<{tag}>{inside}</{tag}>")


@st.composite
def _extra(draw: st.DrawFn, attributes_only: bool) -> Extra:
    names = draw(st.lists(_WORDS, unique=True, min_size=1, max_size=2))
    attributes = tuple((f"unknown-{name}", draw(_TEXT)) for name in names)
    if attributes_only or draw(st.booleans()):
        return Extra(attributes)
    return Extra(attributes, tuple(carried(f"<unknown-{name} a='1'/>") for name in names))
