"""Finds installed entry points without the cost of ``importlib.metadata``.

Importing that module and asking it takes some 20 ms, which every run of the command
would pay. The format read here is the one of the entry points specification
(https://packaging.python.org/specifications/entry-points/).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["EntryPoint", "find"]


class EntryPoint(NamedTuple):
    """One entry point.

    Attributes:
        name: its name.
        value: what it refers to, ``"module"`` or ``"module:attribute"``.
        distribution: name of the distribution that installed it.
        version: that distribution's version.
    """

    name: str
    value: str
    distribution: str
    version: str


def find(group: str, path: list[str] | None = None) -> list[EntryPoint]:
    """Return the entry points of ``group`` from all distributions on the import path.

    Of several copies of a distribution the first on the path counts.

    Args:
        group: the group's name.
        path: folders to search instead of ``sys.path``.
    """
    search = sys.path if path is None else path
    if any(entry and os.path.isfile(entry) for entry in search):
        return _find_everywhere(group)
    found: list[EntryPoint] = []
    seen: set[str] = set()
    wanted = f"[{group}]"
    told = wanted.encode()
    for entry in search:
        try:
            names = os.listdir(entry or ".")
        except OSError:
            continue
        for name in names:
            if not name.endswith(".dist-info"):
                continue
            distribution, _, version = name[: -len(".dist-info")].partition("-")
            normal = distribution.lower().replace("_", "-").replace(".", "-")
            if normal in seen:
                continue
            seen.add(normal)
            try:
                # Most have none of the group: those are not even decoded.
                with open(f"{entry or '.'}/{name}/entry_points.txt", "rb", buffering=0) as file:
                    text = file.read()
            except OSError:
                continue
            if told in text:
                for key, value in _section(text.decode(), wanted):
                    found.append(EntryPoint(key, value, normal, version))
    return found


def _section(text: str, wanted: str) -> Iterator[tuple[str, str]]:
    inside = False
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            inside = line == wanted
        elif inside and "=" in line:
            key, _, value = line.partition("=")
            yield key.strip(), value.partition("[")[0].strip()


def _find_everywhere(group: str) -> list[EntryPoint]:
    """Use the standard library's finder, which also looks into archives."""
    from importlib.metadata import entry_points

    return [
        EntryPoint(
            point.name,
            point.value,
            point.dist.name if point.dist else "",
            point.dist.version if point.dist else "",
        )
        for point in entry_points(group=group)
    ]
