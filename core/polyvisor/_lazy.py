"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["attach"]


def attach(
    package: str, rooms: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package, or for a module.

    Args:
        package: its dotted name.
        rooms: for each public name the module below the package where it lives; for a
            module that is no package, the one beside it.
    """

    def find(name: str) -> Any:
        room = rooms.get(name)
        if room is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        home = sys.modules[package]
        above = package if hasattr(home, "__path__") else package.rpartition(".")[0]
        value = getattr(import_module(f"{above}.{room}"), name)
        vars(home)[name] = value
        return value

    def names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return find, names
