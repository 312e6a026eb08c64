"""The language of ``xl.cfg``: assignments of text, numbers and lists.

It is xl's own grammar (tools/libs/util/libxlu_cfg_l.l and libxlu_cfg_y.y) and of what xm
read, which was Python, so much as is needed for files that state facts: text in three
quotes, lines that go on after a backslash, ``True``, ``False`` and ``None``.  Nothing is
computed and nothing run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeAlias

import attrs

from polyvisor.errors import SpecError
from polyvisor.native import MAX_SIZE

__all__ = ["Atom", "Entry", "Items", "Value", "format_entries", "parse"]

#: Deepest nesting of lists, and most values in a file.
MAX_DEPTH = 8
MAX_VALUES = 100_000


@attrs.frozen
class Atom:
    """Text or a number; which of them hardly matters to xl.

    Attributes:
        text: what it says, quotes and escapes resolved.
        line: where it begins, counted from 1.
        quoted: whether it was text.
    """

    text: str
    line: int
    quoted: bool = True


@attrs.frozen
class Items:
    """A list.

    Attributes:
        items: what is in it.
        line: where it begins.
    """

    items: tuple[Value, ...]
    line: int


Value: TypeAlias = Atom | Items
#: What is written for a name: text, a number, or a list of such.
Entry: TypeAlias = "str | int | list[Entry]"

# No possessive quantifiers: they match wrongly before Python 3.11.5.
_TOKEN = re.compile(
    r"""
    (?P<blank>(?:[ \t\r\f]|\\\r?\n)+)
    | (?P<newline>\n|\#[^\n]*(?:\n|$))
    | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
    | (?P<number>[+-]?[0-9][0-9a-fA-FxX]*)
    | (?P<long>\"\"\"(?:[^"\\]|\\.|"(?!""))*\"\"\")
    | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    | (?P<mark>\+=|[=,;\[\]])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPES = {
    **{mark: mark for mark in "\\\"'"},
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": "",
}  # fmt: skip
#: What XML cannot hold, and so no definition.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_WORDS = {"True": "1", "False": "0"}


def parse(data: bytes, *, path: str) -> dict[str, Value]:
    """Return what each name is set to, in the order of the file.

    A name that is set twice has its last value; ``+=`` adds text to text and lists to lists.

    Args:
        data: the file.
        path: its name, for errors.

    Raises:
        SpecError: it is not of this language, or too large; names the line.
    """
    return _Parser(data, path).entries()


class _Parser:
    """One pass through a file, token by token."""

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self.line = 1
        self.values = 0
        if len(data) > MAX_SIZE:
            self.fail(f"longer than a configuration may be ({MAX_SIZE} bytes)")
        try:
            self.source = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.line = data.count(b"\n", 0, error.start) + 1
            self.fail(f"byte {data[error.start]:#04x} is not UTF-8 text; save the file as UTF-8")
        self.place = 0
        self.kind = self.word = ""
        self.next()

    def fail(self, fault: str, line: int | None = None) -> NoReturn:
        line = self.line if line is None else line
        raise SpecError(f"{self.path}:{line}: {fault}", line=line, fault=fault)

    def next(self) -> None:
        """Go on to the next token that is no blank; ``kind`` is empty at the end."""
        self.line += self.word.count("\n")
        while self.place < len(self.source):
            found = _TOKEN.match(self.source, self.place)
            if found is None:
                self.strange()
            self.place = found.end()
            self.word = found.group()
            self.kind = found.lastgroup or ""
            if self.kind != "blank":
                return
            self.line += self.word.count("\n")
        self.kind = self.word = ""

    def strange(self) -> NoReturn:
        here = self.source[self.place]
        if here in "\"'":
            self.fail(f"the text that {here} opens is not closed on its line")
        if here in "()+-*/%.:{}<>!":
            self.fail(
                f"{here!r}: this is a program in Python; only text, numbers and lists are "
                f"read here, so write the values out"
            )
        self.fail(f"{here!r} is no part of a configuration")

    def entries(self) -> dict[str, Value]:
        """Read the whole file."""
        entries: dict[str, Value] = {}
        while self.kind:
            if self.kind == "newline" or self.word == ";":
                self.next()
                continue
            if self.kind != "name":
                self.fail(f"a name is to be set here, not {self.shown()}")
            name, line = self.word, self.line
            self.next()
            if self.word not in {"=", "+="}:
                self.fail(f"{name!r} is to be followed by '=', not {self.shown()}", line)
            adding = self.word == "+="
            self.next()
            value = self.value(0)
            if adding and name in entries:
                value = self.sum(name, entries[name], value)
            if value is None:
                entries.pop(name, None)
            else:
                entries[name] = value
            if self.kind and self.kind != "newline" and self.word != ";":
                self.fail(f"after the value of {name!r} there is {self.shown()}")
        return entries

    def shown(self) -> str:
        if not self.kind or self.kind == "newline":
            return "the end of the file" if not self.kind else "the end of the line"
        return repr(self.word if len(self.word) <= 20 else f"{self.word[:20]}…")

    def sum(self, name: str, old: Value, new: Value | None) -> Value:
        if isinstance(old, Items) and isinstance(new, Items):
            return Items(old.items + new.items, old.line)
        if isinstance(old, Atom) and isinstance(new, Atom):
            return Atom(old.text + new.text, old.line)
        self.fail(f"'+=' cannot add text and lists to each other for {name!r}")
        return None

    def value(self, depth: int) -> Value | None:
        """Read one value; ``None`` is Python's, which says nothing."""
        self.values += 1
        if self.values > MAX_VALUES:
            self.fail(f"more than {MAX_VALUES} values")
        kind, word, line = self.kind, self.word, self.line
        if word == "[":
            return self.items(depth)
        if kind == "number":
            atom = Atom(word, line, quoted=False)
        elif kind == "text":
            atom = Atom(self.plain(word[1:-1]), line)
        elif kind == "long":
            atom = Atom(self.plain(word[3:-3]), line)
        elif word in _WORDS:
            atom = Atom(_WORDS[word], line, quoted=False)
        elif word == "None":
            self.next()
            return None
        else:
            self.fail(f"a value is to stand here, not {self.shown()}")
        self.next()
        return atom

    def items(self, depth: int) -> Items:
        line = self.line
        if depth >= MAX_DEPTH:
            self.fail(f"lists within lists, more than {MAX_DEPTH} deep")
        self.next()
        held: list[Value] = []
        self.skip_lines()
        while self.word != "]":
            if not self.kind:
                self.fail(f"the list that begins on line {line} is not closed", line)
            value = self.value(depth + 1)
            if value is not None:
                held.append(value)
            self.skip_lines()
            if self.word == ",":
                self.next()
                self.skip_lines()
            elif self.kind and self.word != "]":
                self.fail(f"',' or ']' is to stand here, not {self.shown()}")
        self.next()
        return Items(tuple(held), line)

    def skip_lines(self) -> None:
        while self.kind == "newline":
            self.next()

    def plain(self, text: str) -> str:
        """Resolve escapes."""
        if "\\" in text:
            text = _ESCAPE.sub(self.escaped, text)
        found = _UNSAYABLE.search(text)
        if found is not None:
            self.fail(f"text with the character {found.group()!r}, which no definition can hold")
        return text

    def escaped(self, found: re.Match[str]) -> str:
        by_hex, by_octal, mark = found.groups()
        if by_hex:
            return chr(int(by_hex, 16))
        if by_octal:
            return chr(int(by_octal, 8) & 0xFF)
        if mark not in _ESCAPES:
            self.fail(f"text with '\\{mark}', which means nothing; write '\\\\' for a backslash")
        return _ESCAPES[mark]


def format_entries(entries: Mapping[str, Entry], *, long_text: bool = False) -> str:
    """Return a file that sets these names, one on a line.

    Args:
        entries: what to set.
        long_text: put text with both kinds of quotes into three, as xm read it and xl does not.
    """
    return "".join(f"{name} = {_written(value, long_text)}\n" for name, value in entries.items())


def _written(value: Entry, long_text: bool) -> str:
    if isinstance(value, list):
        return f"[ {', '.join(_listed(value, long_text))} ]"
    if isinstance(value, int):
        return str(value)
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    if '"' not in text:
        return f'"{text}"'
    if "'" not in text:
        return f"'{text}'"
    if long_text and not text.endswith('"') and '"""' not in text:
        return f'"""{text}"""'
    return '"' + text.replace('"', '\\"') + '"'


def _listed(values: Iterable[Entry], long_text: bool) -> Iterable[str]:
    return (_written(value, long_text) for value in values)
