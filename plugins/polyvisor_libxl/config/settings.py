"""Asking a configuration for its values, with the line in every complaint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from polyvisor.errors import SpecError
from polyvisor_libxl.config.grammar import Atom, Items, Value

__all__ = ["Settings", "number"]

_NUMBER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\s*")


def number(text: str) -> int | None:
    """Return what a number says, ``None`` if it is none; hexadecimal after ``0x``."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    value = int(found[2], 16 if found[2][:2] in {"0x", "0X"} else 10)
    return -value if found[1] == "-" else value


class Settings:
    """The names of a configuration.

    Args:
        entries: what each is set to.
        path: the file, for errors.
    """

    def __init__(self, entries: Mapping[str, Value], path: str) -> None:
        self._entries = entries
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def fail(self, where: str | Value, fault: str) -> NoReturn:
        """Raise ``SpecError`` for the line of a name or value."""
        value = self._entries.get(where) if isinstance(where, str) else where
        line = None if value is None else value.line
        place = self._path if line is None else f"{self._path}:{line}"
        raise SpecError(f"{place}: {fault}", line=line, fault=fault)

    def text(self, name: str) -> str | None:
        """Return text, ``None`` where the name is not set."""
        value = self._entries.get(name)
        if value is None:
            return None
        if isinstance(value, Items):
            self.fail(name, f"{name} is a list and should be text")
        return value.text

    def words(self, name: str, known: Mapping[str, str], default: str) -> str:
        """Return what stands for one of some words.

        Args:
            name: the name.
            known: what stands for each word.
            default: the word that counts where the name is not set.
        """
        text = self.text(name)
        found = known.get(default if text is None else text)
        if found is None:
            self.fail(name, f"{name} is {text!r} and can be {', '.join(known)}")
        return found

    def number(self, name: str, default: int, *, least: int = 0, most: int = 2**31 - 1) -> int:
        """Return a whole number, also where it was written as text."""
        text = self.text(name)
        if text is None:
            return default
        found = number(text)
        if found is None or not least <= found <= most:
            self.fail(name, f"{name} is {text!r} and should be a number from {least} to {most}")
        return found

    def truth(self, name: str) -> bool | None:
        """Return whether it is on, ``None`` where the name is not set."""
        text = self.text(name)
        if text is None:
            return None
        found = number(text)
        if found is None:
            self.fail(name, f"{name} is {text!r} and should be 0 or 1")
        return found != 0

    def atoms(self, name: str) -> tuple[Atom, ...] | None:
        """Return the texts of a list, ``None`` where the name is not set or not a list."""
        value = self._entries.get(name)
        if not isinstance(value, Items):
            return None
        for item in value.items:
            if isinstance(item, Items):
                self.fail(item, f"{name} has a list in it and should have texts")
        return tuple(item for item in value.items if isinstance(item, Atom))

    def lists(self, name: str) -> tuple[Items, ...]:
        """Return the lists of a list, none where the name is not set."""
        value = self._entries.get(name)
        if value is None:
            return ()
        if isinstance(value, Atom):
            self.fail(name, f"{name} is text and should be a list of lists")
        for item in value.items:
            if isinstance(item, Atom):
                self.fail(item, f"{name} has text in it and should have lists")
        return tuple(item for item in value.items if isinstance(item, Items))

    def pairs(self, atom: Atom) -> list[tuple[str, str]]:
        """Return the names and values of ``"a=1,b=2"``."""
        found = []
        for part in atom.text.split(","):
            if not part.strip():
                continue
            key, equals, value = part.partition("=")
            if not equals:
                self.fail(atom, f"{part.strip()!r} in {atom.text!r} is not of the form name=value")
            found.append((key.strip(), value.strip()))
        return found
