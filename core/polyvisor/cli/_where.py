"""What commands that change domains share: for whom, and sizes as virsh takes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from polyvisor.cli._declare import option
from polyvisor.errors import InvalidArgument

__all__ = ["size", "where", "where_options"]

_F = TypeVar("_F", bound=Callable[..., Any])
_UNITS = "kmgtpe"


def where_options(function: _F) -> _F:
    """Add ``--live``, ``--config`` and ``--current``."""
    for name, words in (
        ("--current", "What there is now: the guest if it runs, else the definition."),
        ("--config", "The definition, from the next start on."),
        ("--live", "The running guest."),
    ):
        function = option(name, is_flag=True, help=words)(function)
    return function


def where(found: Any, live: bool, config: bool, current: bool) -> dict[str, bool]:
    """Return what is to change, as virsh decides: what there is now unless it is said.

    Raises:
        InvalidArgument: ``--current`` is given beside another.
    """
    if current and (live or config):
        raise InvalidArgument("--current excludes --live and --config")
    if live or config:
        return {"live": live, "config": config}
    active = found.active
    return {"live": active, "config": not active}


def size(text: str, *, unit: int = 1024) -> int:
    """Return a size in bytes: ``2G``, ``512MiB``, ``1000KB``; a bare number counts ``unit``.

    Raises:
        InvalidArgument: it is none.
    """
    found = re.fullmatch(r"(\d+)(?:([kmgtpe])(b|ib)?|b|bytes)?", text.strip().lower())
    if found is None:
        raise InvalidArgument(f"{text!r} is not a size; write one as 512M, 2GiB or 1000KB")
    number, letter, kind = int(found[1]), found[2], found[3]
    if letter is None:
        return number * (unit if found[0].isdigit() else 1)
    scale: int = (1000 if kind == "b" else 1024) ** (_UNITS.index(letter) + 1)
    return number * scale
