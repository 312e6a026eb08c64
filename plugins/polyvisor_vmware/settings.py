"""The language of ``vmx`` files: a name, ``=`` and a value in quotes on each line.

Names are not told apart by case.  In values ``|XX`` is a character by its code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NoReturn
from uuid import UUID

from polyvisor.errors import SpecError
from polyvisor.native import MAX_SIZE

__all__ = ["Settings", "escaped", "formatted", "uuid_text"]

_LINE = re.compile(
    r'[ \t]*(?:(?P<name>[A-Za-z.][A-Za-z0-9_:.-]*)[ \t]*=[ \t]*"(?P<value>[^"\r\n]*)"[ \t]*)?'
    r"(?:#[^\r\n]*)?"
)
#: The encoding, by which the rest is read; what stands here is ASCII in all of them.
_ENCODING = re.compile(
    rb'^[ \t]*\.encoding[ \t]*=[ \t]*"([A-Za-z0-9._-]{1,40})"', re.MULTILINE | re.IGNORECASE
)
_PIPE = re.compile(r"\|([0-9A-Fa-f]{2})")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")
#: What XML cannot hold, and so no definition.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NUMBER = re.compile(r"[ \t]*[+-]?[0-9]{1,19}[ \t]*")


class Settings:
    """What a file sets.

    Args:
        data: the file.
        path: its name, for errors.

    Raises:
        SpecError: it is not of this language, or too large; names the line.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self._path = path
        self._lines: dict[str, int] = {}
        self._values: dict[str, str] = {}
        if len(data) > MAX_SIZE:
            raise SpecError(f"{path}: longer than {MAX_SIZE} bytes", fault="too long")
        for line, text in enumerate(_decoded(data, path).split("\n"), 1):
            found = _LINE.fullmatch(text.rstrip("\r"))
            if found is None:
                fault = f'{text[:60]!r} should be a name, = and a value in quotes: name = "value"'
                raise SpecError(f"{path}:{line}: {fault}", line=line, fault=fault)
            name = (found["name"] or "").lower()
            # A name that stands there twice has its first value, as for libvirt.
            if name and name not in self._values:
                self._values[name] = found["value"]
                self._lines[name] = line

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def names(self) -> Iterator[str]:
        """Yield all names in small letters, in order."""
        return iter(self._values)

    def fail(self, name: str, fault: str) -> NoReturn:
        """Raise ``SpecError`` for the line of a name."""
        line = self._lines.get(name.lower())
        place = self._path if line is None else f"{self._path}:{line}"
        raise SpecError(f"{place}: {fault}", line=line, fault=fault)

    def text(self, name: str, *, percent: bool = False) -> str | None:
        """Return a value, ``None`` where the name is not set.

        Args:
            name: the name.
            percent: whether ``%XX`` is a character too, as in the machine's name.
        """
        value = self._values.get(name.lower())
        if value is None:
            return None
        if percent:
            for found in _PERCENT.finditer(value):
                if found[1] is None:
                    self.fail(name, f"{name}: '%' should be followed by a character's code")
            value = _bytes(_PERCENT, value)
        value = _bytes(_PIPE, value)
        found_bad = _UNSAYABLE.search(value)
        if found_bad is not None:
            self.fail(name, f"{name} has the character {found_bad.group()!r} in it")
        return value

    def needed(self, name: str) -> str:
        """Return a value that must be there."""
        value = self.text(name)
        if value is None:
            self.fail(name, f"{name} is not set")
        return value

    def number(self, name: str, default: int) -> int:
        """Return a whole number; -1 stands for no limit."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() == "unlimited":
            return -1
        if not _NUMBER.fullmatch(text):
            self.fail(name, f"{name} is {text!r} and should be a number")
        return int(text)

    def truth(self, name: str, default: bool) -> bool:
        """Return whether it is on."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() not in {"true", "false"}:
            self.fail(name, f"{name} is {text!r} and should be true or false")
        return text.lower() == "true"

    def word(self, name: str, known: Iterable[str], default: str | None = None) -> str | None:
        """Return one of some words, in small letters."""
        text = self.text(name)
        if text is None:
            return default
        if text.lower() not in known:
            self.fail(name, f"{name} is {text!r} and can be {', '.join(known)}")
        return text.lower()

    def uuid(self, name: str) -> UUID | None:
        """Return a UUID of bytes with blanks between them."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return UUID(re.sub(r"[\s-]", "", text))
        except ValueError:
            self.fail(name, f"{name} is {text!r} and should be the 16 bytes of a UUID")


def _decoded(data: bytes, path: str) -> str:
    found = _ENCODING.search(data)
    encoding = "utf-8" if found is None else found[1].decode()
    try:
        # Only what Python has as text; "hex" and its like are no encodings of text.
        return data.decode("utf-8-sig" if encoding.lower() == "utf-8" else encoding)
    except (LookupError, UnicodeError, ValueError) as error:
        line = 1
        if isinstance(error, UnicodeDecodeError):
            line += data.count(b"\n", 0, error.start)
        fault = f"it is not text in {encoding}"
        raise SpecError(f"{path}:{line}: {fault}", line=line, fault=fault) from error


def _bytes(pattern: re.Pattern[str], text: str) -> str:
    """Resolve codes; each is a byte of the character's UTF-8 form."""
    if not pattern.search(text):
        return text
    raw = bytearray()
    place = 0
    for found in pattern.finditer(text):
        raw += text[place : found.start()].encode("utf-8", "surrogatepass")
        raw.append(int(found[1], 16))
        place = found.end()
    raw += text[place:].encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "replace")


def escaped(text: str, mark: str, special: str) -> str:
    """Put a mark and its code in the place of some characters.

    Args:
        text: the text.
        mark: the mark, ``"|"`` or ``"%"``, which is escaped too.
        special: the characters.
    """
    return "".join(f"{mark}{ord(c):02x}" if c == mark or c in special else c for c in text)


def formatted(entries: Iterable[tuple[str, str]]) -> str:
    """Return a file of these names and values; quotes and line ends become codes."""
    found = []
    for name, value in entries:
        value = value.replace('"', "|22").replace("\n", "|0A").replace("\r", "|0D")
        found.append(f'{name} = "{value}"\n')
    return "".join(found)


def uuid_text(uuid: UUID) -> str:
    """Return a UUID as VMware writes it."""
    parts = [f"{byte:02x}" for byte in uuid.bytes]
    return f"{' '.join(parts[:8])}-{' '.join(parts[8:])}"
