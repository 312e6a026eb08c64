"""Changing frozen values only where they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from polyvisor.model.binding import Element

__all__ = ["changed", "defaults", "each"]

E = TypeVar("E", bound=Element)
T = TypeVar("T")


def changed(value: E, **fields: Any) -> E:
    """Return the value with these fields; itself when they are so already."""
    different = {name: new for name, new in fields.items() if getattr(value, name) != new}
    return attrs.evolve(value, **different) if different else value


def defaults(value: E, **fields: Any) -> E:
    """Return the value with these fields where it has None."""
    return changed(value, **{n: new for n, new in fields.items() if getattr(value, n) is None})


def each(items: tuple[T, ...], change: Callable[[T], T]) -> tuple[T, ...]:
    """Return all items changed; the tuple itself when none does."""
    new = tuple(map(change, items))
    return items if all(a is b for a, b in zip(items, new, strict=True)) else new
