"""The one way in which something public goes away: it warns for two minor versions first."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["deprecated", "removal", "warn_deprecated"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def removal(since: str) -> str:
    """Return the first version in which what was deprecated in ``since`` may be gone.

    Args:
        since: ``"MAJOR.MINOR.PATCH"``.

    Raises:
        ValueError: it is no such version.
    """
    major, minor, _ = (int(part) for part in since.split("."))
    return f"{major}.{minor + 2}.0"


def warn_deprecated(
    thing: str, *, since: str, instead: str | None, issue: int | None, stacklevel: int = 2
) -> None:
    """Warn that something goes away; what is asked for here cannot be left out.

    Args:
        thing: what goes away, as its user writes it.
        since: version in which it began to warn.
        instead: what to use, as its user writes it; ``None``: there is nothing.
        issue: number of the issue that says why; ``None``: there is none.
        stacklevel: whose line is shown; 2 is the caller's of the one who calls this.
    """
    use = f"use {instead} instead" if instead else "nothing takes its place"
    why = f" (issue {issue})" if issue is not None else ""
    warnings.warn(
        f"{thing} is deprecated since polyvisor {since} and may be gone in "
        f"{removal(since)}; {use}{why}",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )


def deprecated(
    *, since: str, instead: str | None, issue: int | None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function or method that warns when it is called; see :func:`warn_deprecated`."""
    removal(since)

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        name = f"{function.__module__}.{function.__qualname__}()"

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            warn_deprecated(name, since=since, instead=instead, issue=issue)
            return function(*args, **kwargs)

        return call

    return decorate
