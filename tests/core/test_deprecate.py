"""What goes away warns first, in one way, and is gone when its time has come."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import pytest

from polyvisor import __version__
from polyvisor._deprecate import deprecated, removal, warn_deprecated

ROOT = Path(__file__).parents[2]


@deprecated(since="0.4.1", instead="polyvisor.open()", issue=7)
def old(number: int) -> int:
    """Return the next number."""
    return number + 1


def test_a_call_warns_where_it_stands() -> None:
    """The warning says since when, until when, why, and what to use; the call works."""
    with pytest.warns(DeprecationWarning, match="use polyvisor.open") as caught:
        assert old(1) == 2
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        f"{__name__}.old() is deprecated since polyvisor 0.4.1 and may be gone in 0.6.0; "
        f"use polyvisor.open() instead (issue 7)"
    )
    assert old.__doc__ == "Return the next number."


def test_a_warning_by_itself() -> None:
    """For what is no function: a keyword, a value, a setting."""
    with pytest.warns(DeprecationWarning, match="'old' is deprecated.*nothing takes its place$"):
        warn_deprecated("the setting 'old'", since="1.0.0", instead=None, issue=None)


def test_two_minor_versions() -> None:
    """A thing may go two minor versions after it began to warn; a wrong version is refused."""
    assert removal("1.9.7") == "1.11.0"
    with pytest.raises(ValueError, match="unpack"):
        deprecated(since="1.9", instead=None, issue=None)


def test_nothing_outstays_its_time() -> None:
    """What may be gone in this version is gone."""
    now = tuple(map(int, __version__.split(".")[:3]))
    late = []
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        with warnings.catch_warnings():
            tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "since":
                value = node.value
                if isinstance(value, ast.Constant) and str(value.value).count(".") == 2:
                    calls = tuple(map(int, removal(str(value.value)).split(".")))
                    if calls <= now and "_deprecate" in path.read_text(encoding="utf-8"):
                        late.append(f"{path}:{node.value.lineno}")
    assert not late
