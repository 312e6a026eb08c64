"""Asking ``libxl_domain_config`` for its fields, with the field's place in every complaint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from polyvisor.errors import SpecError
from polyvisor_libxl.config.settings import number

__all__ = ["MOST", "Part"]

#: Most items that a list may have.
MOST = 4096


class Part:
    """One structure.

    Args:
        fields: its fields.
        place: where it is, such as ``"b_info.type.hvm"``.
    """

    def __init__(self, fields: Any, place: str) -> None:
        self._place = place
        if not isinstance(fields, dict):
            self.fail("", "it should be an object with fields")
        self._fields: Mapping[str, Any] = fields

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def where(self, name: str) -> str:
        """Return the place of a field."""
        return ".".join(filter(None, (self._place, name)))

    def fail(self, name: str, fault: str) -> NoReturn:
        """Raise ``SpecError`` for a field."""
        place = self.where(name) or "the whole"
        raise SpecError(f"libxl's configuration, {place}: {fault}", element=place, fault=fault)

    def raw_map(self) -> dict[str, Any]:
        """Return all fields as they are."""
        return dict(self._fields)

    def raw(self, name: str) -> Any:
        """Return a field as it is."""
        return self._fields.get(name)

    def text(self, name: str) -> str | None:
        """Return text, ``None`` where there is none."""
        value = self._fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.fail(name, f"{_shown(value)} should be text")
        return value

    def word(self, name: str, known: Mapping[str, Any], default: Any = None) -> Any:
        """Return what stands for one of some words; ``default`` for nothing."""
        text = self.text(name)
        if text is None:
            return default
        if text not in known:
            self.fail(name, f"{text!r} can be {', '.join(known)}")
        return known[text]

    def count(self, name: str, default: int | None = None, *, most: int = 2**64 - 1) -> int | None:
        """Return a number that is not negative; libxl's way to say none is ``default``."""
        value = self._fields.get(name)
        if value is None or value in (-1, 2**64 - 1, "LIBXL_MEMKB_DEFAULT"):
            return default
        if isinstance(value, str):
            value = number(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            self.fail(name, f"{_shown(self._fields[name])} should be a number up to {most}")
        return value

    def truth(self, name: str) -> bool | None:
        """Return a ``libxl_defbool`` or a truth value; ``None`` for the default."""
        value = self._fields.get(name)
        known: dict[Any, bool | None] = {"True": True, "False": False, "<default>": None}
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value != 0
        if not isinstance(value, str) or value not in known:
            self.fail(name, f"{_shown(value)} should be 'True' or 'False'")
        return known[value]

    def part(self, name: str) -> Part:
        """Return a structure within; an empty one where there is none."""
        value = self._fields.get(name)
        return Part({} if value is None else value, self.where(name))

    def parts(self, name: str) -> list[Part]:
        """Return a list of structures."""
        found = self.items(name)
        return [Part(item, f"{self.where(name)}[{place}]") for place, item in enumerate(found)]

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        found = self.items(name)
        if not all(isinstance(item, str) for item in found):
            self.fail(name, "it should be a list of texts")
        return found

    def numbers(self, name: str, *, most: int) -> list[int]:
        """Return a list of numbers."""
        found = self.items(name, most=65536)
        for item in found:
            if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= most:
                self.fail(name, f"{_shown(item)} should be a number up to {most}")
        return found

    def items(self, name: str, *, most: int = MOST) -> list[Any]:
        """Return a list of anything; an empty one where there is none."""
        value = self._fields.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(name, f"{_shown(value)} should be a list")
        if len(value) > most:
            self.fail(name, f"it has {len(value)} items and can have {most}")
        return value


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}…"
