"""What a plugin's distribution requires and does not find here, told in words.

Asked only where plugins are listed or checked, or one has failed: it costs an import of
``importlib.metadata`` and a look at each requirement's distribution. Versions are compared by
the library ``packaging`` where that is installed; without it only what is missing is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from typing import NamedTuple

__all__ = ["compares_versions", "unmet"]

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


class _Requirement(NamedTuple):
    """A requirement that is not met: of which extra, of what, what is there instead."""

    extra: str
    name: str
    text: str
    installed: str | None


def compares_versions() -> bool:
    """Say whether versions of what is required can be compared here."""
    return find_spec("packaging") is not None


def unmet(distribution: str, plugin: str, complaint: str = "") -> list[str]:
    """Return what a distribution requires and is not here, each with what to do.

    Args:
        distribution: its name; one that is not installed requires nothing.
        plugin: the plugin's name; an extra of that name is taken to be what the plugin needs.
        complaint: what the plugin failed with. An extra's requirement is told if that names it,
            or if it is of the plugin's own extra and some module was missing.
    """
    told = []
    for one in _unmet(distribution):
        if one.extra and not _speaks_of(complaint, one, plugin):
            continue
        whole = f"{distribution}[{one.extra}]" if one.extra else distribution
        if one.installed is None:
            remedy = f"pip install '{whole if one.extra else one.text}'"
            if remedy not in complaint:
                told.append(f"{whole} requires {one.text}, which is not installed; {remedy}")
        else:
            told.append(
                f"{whole} requires {one.text}, but {one.name} {one.installed} is installed; "
                f"let pip look for versions that go together: "
                f"pip install --upgrade polyvisor '{whole}'"
            )
    return told


def _speaks_of(complaint: str, one: _Requirement, plugin: str) -> bool:
    if one.extra == plugin and "No module named" in complaint:
        return True
    module = re.escape(one.name).replace(r"\-", "[-_.]")
    return re.search(rf"(?<!\w){module}(?!\w)", complaint, re.IGNORECASE) is not None


@cache
def _unmet(distribution: str) -> tuple[_Requirement, ...]:
    try:
        requires = Distribution.from_name(distribution).requires or ()
    except (PackageNotFoundError, ValueError):
        return ()
    compare = _compared if compares_versions() else _present
    return tuple(one for text in requires for one in compare(text))


def _compared(text: str) -> Iterator[_Requirement]:
    from packaging.requirements import Requirement

    try:
        wanted = Requirement(text)
        extra = _EXTRA.search(text.partition(";")[2])
        name = extra.group(1) if extra else ""
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": name}):
            return
        installed = _version(wanted.name)
        if installed is None or not wanted.specifier.contains(installed, prereleases=True):
            yield _Requirement(name, wanted.name, f"{wanted.name}{wanted.specifier}", installed)
    except ValueError:
        return  # What pip could not have read either.


def _present(text: str) -> Iterator[_Requirement]:
    required, _, marker = text.partition(";")
    found, extra = _NAME.match(required), _EXTRA.search(marker)
    if found is None or (marker and (extra is None or extra.group(0) != marker.strip())):
        return  # Whether it counts here cannot be told.
    if _version(found.group(1)) is None:
        yield _Requirement(extra.group(1) if extra else "", found.group(1), required.strip(), None)


def _version(name: str) -> str | None:
    try:
        return Distribution.from_name(name).version
    except (PackageNotFoundError, ValueError):
        return None
