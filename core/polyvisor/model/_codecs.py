"""How one attribute or text value stands in XML and as what in Python.

A codec has ``read`` (text to value) and ``write`` (value to text that is ready
to stand between quotes or tags).  Either raises :class:`Fault` when the value
cannot be; the binding adds line and element.  A new codec is a function that
returns :class:`Codec`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from polyvisor.model._xml import (
    Unwritable,
    escape_attribute,
    escape_text,
    special_in_attribute,
    special_in_text,
)

__all__ = [
    "BIT",
    "BYTES",
    "HEX",
    "INT",
    "INT64",
    "NAME",
    "ON_OFF",
    "STR",
    "UINT",
    "ULONG",
    "UUID_TEXT",
    "YES_NO",
    "Codec",
    "Fault",
    "choices",
    "exact_size",
    "in_unit",
    "integer",
    "scaled",
    "unit_factor",
]


class Fault(Exception):
    """A value is not what the schema allows.

    Args:
        fault: what is wrong.
        advice: what would be right.
    """

    def __init__(self, fault: str, advice: str = "") -> None:
        super().__init__(fault)
        self.fault = fault
        self.advice = advice
        #: The node at fault when reading, set by the binding.
        self.node: Any = None
        #: The attribute at fault, or None for the text of the element.
        self.attribute: str | None = None
        #: Elements on the way to the fault from the one asked, innermost last.
        self.trail: list[str] = []

    def at(self, *trail: str) -> Fault:
        """Say that the fault is further below: tags, with a number where there are several."""
        self.trail = list(trail)
        return self


_ANY_TEXT = {"type": "string"}


class Codec(NamedTuple):
    """A pair of functions between text and value."""

    #: None: the text is the value.
    read: Callable[[str], Any] | None
    write: Callable[[Any], str]
    #: The same between tags, where line ends and tabs stand for themselves.
    write_text: Callable[[Any], str] | None = None
    #: What a JSON Schema says of the value.
    schema: Mapping[str, Any] = _ANY_TEXT


class _Table(dict[Any, Any]):
    """Answers with a dictionary's speed, and calls ``missing`` for what is not in it."""

    __slots__ = ("missing",)

    def __init__(self, pairs: dict[Any, Any], missing: Callable[[Any], Any]) -> None:
        super().__init__(pairs)
        self.missing = missing

    def __missing__(self, key: Any) -> Any:
        return self.missing(key)


def _quoted(value: str) -> str:
    try:
        if special_in_attribute(value) is None:
            return value
        return escape_attribute(value)
    except Unwritable as error:
        raise Fault(f"{value!r} {error}", "remove it") from None
    except TypeError:
        raise Fault(f"{value!r} is not a string") from None


def _text(value: str) -> str:
    try:
        if special_in_text(value) is None:
            return value
        return escape_text(value)
    except Unwritable as error:
        raise Fault(f"{value!r} {error}", "remove it") from None
    except TypeError:
        raise Fault(f"{value!r} is not a string") from None


#: Any text.
STR = Codec(None, _quoted, _text)


def nearest(word: str, allowed: list[str]) -> str:
    """Return advice: the closest allowed words, or all of them when few."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), allowed, 3, 0.6)
    if close:
        return "did you mean " + " or ".join(map(repr, close)) + "?"
    return "use one of " + ", ".join(allowed)


def _table(pairs: dict[str, Any], what: str) -> Codec:
    def unknown(word: Any) -> Any:
        raise Fault(f"{word!r} is not {what}", nearest(str(word), list(pairs)))

    texts = _Table({value: text for text, value in pairs.items()}, unknown)

    def write(value: Any) -> str:
        try:
            text: str = texts[value]
        except TypeError:
            text = unknown(value)
        return text

    kinds = {bool: {"type": "boolean"}}
    schema = kinds.get(type(next(iter(pairs.values()))), {"enum": list(pairs)})
    return Codec(_Table(pairs, unknown).__getitem__, write, schema=schema)


YES_NO = _table({"yes": True, "no": False}, "yes or no")
BIT = _table({"1": True, "0": False}, "1 or 0")
ON_OFF = _table({"on": True, "off": False}, "on or off")


def choices(literal: Any) -> Codec:
    """Return the codec of a ``Literal[...]`` of words: read and written as they stand."""
    return _table({word: word for word in literal.__args__}, "a known value")


_number = re.compile(r"\s*[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", re.ASCII).fullmatch


def integer(low: int, high: int, form: str = "d") -> Codec:
    """Return the codec of a whole number.

    Args:
        low: the least allowed.
        high: the greatest allowed.
        form: how it is written: ``"d"``, or as libvirt prints the field, ``"#06x"``.
    """
    bounds = f"use a whole number from {low} to {high}"

    def convert(text: str | None) -> int:
        if text is None or _number(text) is None:
            raise Fault(f"{text or ''!r} is not a whole number", bounds)
        if len(text) > 40:
            raise Fault(f"{text[:20]}… is out of range", bounds)
        value = int(text, 16) if "x" in text or "X" in text else int(text)
        if not low <= value <= high:
            raise Fault(f"{text} is out of range", bounds)
        if len(known) < 512:
            known[text] = value
        return value

    # Slots, ports and indexes come again and again.
    known = _Table({}, convert)

    def shown(value: Any) -> str:
        if not isinstance(value, int):
            raise Fault(f"{value!r} is not a whole number", bounds)
        if not low <= value <= high:
            raise Fault(f"{value} is out of range", bounds)
        text = format(value, form)
        if len(printed) < 512:
            printed[value] = text
        return text

    printed = _Table({}, shown)

    def write(value: Any) -> str:
        text: str = printed[value] if value.__class__ is int else shown(value)
        return text

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Codec(known.__getitem__, write, schema=schema)


INT = integer(-(2**31), 2**31 - 1)
INT64 = integer(-(2**63), 2**63 - 1)
UINT = integer(0, 2**32 - 1)
ULONG = integer(0, 2**64 - 1)


def HEX(digits: int) -> Codec:  # noqa: N802 - stands in a declaration like the constants
    """Return the codec of a number written as ``0x`` and that many digits."""
    return integer(0, 16 ** max(digits, 1) - 1, f"#0{digits + 2}x")


#: Upper bound of a memory size (virDomainParseMemory, domain_conf.c: LLONG_MAX).
MAX_SIZE = 2**63 - 1

_FACTORS: dict[str, int] = {"": 1024, "b": 1, "byte": 1, "bytes": 1} | {
    prefix.lower() + suffix: base**power
    for power, prefix in enumerate("KMGTPE", 1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
_UNITS = ["bytes", "KB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "PB", "PiB", "EB", "EiB"]


def unit_factor(unit: str, default: int = 1024) -> int:
    """Return the bytes of one unit, as virScaleInteger (virutil.c) reads it.

    Args:
        unit: such as ``"MiB"``; case does not matter.
        default: what an empty unit stands for.
    """
    if not unit:
        return default
    try:
        return _FACTORS[unit.lower()]
    except KeyError:
        raise Fault(f"{unit!r} is not a unit of size", nearest(unit, _UNITS)) from None


def scaled(text: str | None, unit: str, default: int = 1024) -> int:
    """Return a size in bytes, rounded up to whole KiB as libvirt keeps it.

    Args:
        text: the number.
        unit: its unit, ``""`` for the default.
        default: bytes of the default unit.
    """
    assert ULONG.read is not None
    count = ULONG.read(text)  # type: ignore[arg-type]
    size: int = -(-count * unit_factor(unit, default) // 1024) * 1024
    if size > MAX_SIZE:
        raise Fault(f"{text} {unit or 'KiB'} is out of range", "sizes end below 8 EiB")
    return size


def exact_size(text: str | None, unit: str, default: int = 1) -> int:
    """Return a size in bytes, not rounded.

    Args:
        text: the number.
        unit: its unit, ``""`` for the default.
        default: bytes of the default unit.
    """
    assert ULONG.read is not None
    size: int = ULONG.read(text) * unit_factor(unit, default)  # type: ignore[arg-type]
    if size > MAX_SIZE:
        raise Fault(f"{text} {unit} is out of range", "sizes end below 8 EiB")
    return size


def in_unit(value: int, unit: str) -> tuple[int, str]:
    """Return a size as number and unit.

    Args:
        value: in bytes.
        unit: the unit; ``""``, or when it does not divide the value: the largest that does
            (virFormatIntPretty, virutil.c).
    """
    if not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
        raise Fault(f"{value!r} is not a number of bytes below 8 EiB")
    if unit and value % unit_factor(unit) == 0:
        return value // unit_factor(unit), unit
    number, shown = value, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if not number or number % 1024:
            break
        number, shown = number // 1024, larger
    return number, shown


def _write_kib(value: int) -> str:
    if not isinstance(value, int):
        raise Fault(f"{value!r} is not a number of bytes")
    if 0 <= value <= MAX_SIZE:
        return str(-(-value // 1024))
    raise Fault(f"{value} bytes are out of range", "sizes are 0 up to below 8 EiB")


#: A size in bytes that stands in XML as a number of KiB without a unit beside it.


def _check_unit(unit: str) -> str:
    unit_factor(unit)
    return unit


#: The unit of the size beside it: read in any, kept and written in KiB.
UNIT = Codec(_check_unit, _quoted, schema={"type": "string", "enum": ["KiB"]})
BYTES = Codec(
    lambda text: scaled(text, ""),
    _write_kib,
    schema={"type": "integer", "minimum": 0, "maximum": MAX_SIZE},
)


_hex_digits = re.compile(r"[0-9a-fA-F]{32}", re.ASCII).fullmatch


def _read_uuid(text: str | None) -> UUID:
    digits = (text or "").strip().replace("-", "")
    if _hex_digits(digits) is None:
        raise Fault(
            f"{text or ''!r} is not a UUID",
            "use 32 hexadecimal digits, as in 4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
        )
    return UUID(int=int(digits, 16))


def _write_uuid(value: UUID) -> str:
    if not isinstance(value, UUID):
        raise Fault(f"{value!r} is not a uuid.UUID")
    return str(value)


UUID_TEXT = Codec(_read_uuid, _write_uuid, schema={"type": "string", "format": "uuid"})

#: Longest name: it becomes a file name with a suffix (NAME_MAX, limits.h).
MAX_NAME = 240


def _check_name(text: str | None) -> str:
    if not isinstance(text, str) or not text.strip():
        raise Fault("the name is empty", "give a name")
    if "/" in text or "\n" in text:
        raise Fault(f"the name {text[:60]!r} holds a slash or a line end", "remove it")
    if len(text.encode(errors="replace")) > MAX_NAME:
        raise Fault(f"the name is longer than {MAX_NAME} bytes", "shorten it")
    if text in {".", ".."}:
        raise Fault(f"the name {text!r} means a folder", "use another name")
    return text


#: A name as virDomainDefPostParseCheck and virXMLCheckIllegalChars (domain_conf.c) allow it.
NAME = Codec(
    _check_name,
    lambda value: _text(_check_name(value)),
    schema={"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[^/\\n]+$"},
)
