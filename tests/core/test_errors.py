"""Every error has a stable code and a libvirt number, and is drawn in the tree."""

from __future__ import annotations

import json
import re

import pytest

from polyvisor import errors
from polyvisor.errors import PolyvisorError

ALL = [getattr(errors, name) for name in errors.__all__]


def test_codes_are_unique_words() -> None:
    """No two classes share a code, and each is a lower-case word."""
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("cls", ALL)
def test_each_class_is_in_the_drawn_tree(cls: type[PolyvisorError]) -> None:
    """The docstring's tree shows the class below its parent."""
    assert errors.__doc__ is not None
    drawing = [
        line for line in errors.__doc__.splitlines() if re.search(r"[├└]── |PolyvisorError$", line)
    ]
    if cls is PolyvisorError:
        return
    depth = {}
    parents: list[tuple[int, str]] = [(-1, "PolyvisorError")]
    for line in drawing[1:] if drawing[0].strip() == "PolyvisorError" else drawing:
        indent = line.index("── ")
        name = line[indent + 3 :].split()[0]
        while parents[-1][0] >= indent:
            parents.pop()
        depth[name] = parents[-1][1]
        parents.append((indent, name))
    assert depth[cls.__name__] == cls.__mro__[1].__name__


@pytest.mark.parametrize("cls", ALL)
def test_each_error_is_plain_data(cls: type[PolyvisorError]) -> None:
    """An error becomes JSON with its code, message and what it carries."""
    error = cls("it went wrong", domain="guest", operation="start")
    data = json.loads(json.dumps(error.to_dict()))
    assert data["code"] == cls.code
    assert data["message"] == "it went wrong" == str(error)
    assert data["domain"] == "guest"
    assert isinstance(data["libvirt_number"], int)


def test_not_found_has_the_number_of_its_kind() -> None:
    """Libvirt has a number for each kind of missing object."""
    assert errors.NotFound("x").libvirt_number == 42
    assert errors.NotFound("x", kind="snapshot").libvirt_number == 72
