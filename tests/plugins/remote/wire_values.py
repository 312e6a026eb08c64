"""Values for any declared structure, derived from its declaration."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from polyvisor_remote.wire import Procedure, Program, Structure, TypedParam, program
from polyvisor_remote.wire.declaration import PROGRAMS, Type

__all__ = ["EVERYTHING", "PROCEDURES", "STRUCTURES", "smallest", "values"]

#: Lists grow no longer than this, whatever their cap.
FEW = 4

RANGES = {
    "int": (-(2**31), 2**31 - 1),
    "uint": (0, 2**32 - 1),
    "hyper": (-(2**63), 2**63 - 1),
    "uhyper": (0, 2**64 - 1),
    "char": (-(2**31), 2**31 - 1),
    "uchar": (0, 2**32 - 1),
    "ushort": (0, 2**32 - 1),
}
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
PARAMS = st.one_of(
    st.builds(TypedParam, TEXT, st.just(kind), content)
    for kind, content in (
        (1, st.integers(*RANGES["int"])),
        (2, st.integers(*RANGES["uint"])),
        (3, st.integers(*RANGES["hyper"])),
        (4, st.integers(*RANGES["uhyper"])),
        (5, st.floats(allow_nan=False)),
        (6, st.booleans()),
        (7, TEXT),
    )
)


def _one(kind: Type, home: Program) -> st.SearchStrategy[Any]:
    if kind.name in RANGES:
        return st.integers(*RANGES[kind.name])
    if kind.name == "chars":
        longest = kind.count if kind.count is not None else kind.cap
        text = st.binary(max_size=min(longest or 0, 40))
        return text.map(lambda data: data.rstrip(b"\0")) if kind.count is not None else text
    simple: dict[str, st.SearchStrategy[Any]] = {
        "string": TEXT,
        "double": st.floats(allow_nan=False),
        "uuid": st.binary(min_size=16, max_size=16),
        "opaque": st.binary(max_size=min(kind.cap or 0, 40)),
        "typed_param": PARAMS,
    }
    return simple[kind.name] if kind.name in simple else values(home.structure(kind.name))


def _field(kind: Type, home: Program) -> st.SearchStrategy[Any]:
    one = _one(kind, home)
    if kind.optional:
        return st.none() | one
    if kind.cap is not None and kind.name not in ("opaque", "chars"):
        return st.lists(one, max_size=min(kind.cap, FEW))
    return one


def values(structure: Structure) -> st.SearchStrategy[Any]:
    """Return a strategy of the named tuples that a structure may be."""
    fields = [_field(field.type, structure.home) for field in structure.fields]
    return st.tuples(*fields).map(lambda parts: structure.codec.type(*parts))


PROCEDURES: list[Procedure] = [each for name in PROGRAMS for each in program(name)]
#: Every structure that is declared.
STRUCTURES: list[Structure] = [
    *(one for name in PROGRAMS for one in program(name).structures.values()),
    *(one for each in PROCEDURES for one in (each.arguments, each.result)),
]
#: Every layout that is declared, under the name of the first structure that has it.
EVERYTHING: dict[str, Structure] = {
    f"{one.home.name} {one.name}": one
    for one in {(one.home.name, one.fields): one for one in reversed(STRUCTURES)}.values()
}


def smallest(structure: Structure) -> Any:
    """Return the value of a structure that takes the fewest bytes."""
    return structure.codec.type(*(_least(one.type, structure.home) for one in structure.fields))


def _least(kind: Type, home: Program) -> Any:
    if kind.optional:
        return None
    if kind.name in ("opaque", "chars"):
        return b""
    if kind.cap is not None:
        return []
    plain: dict[str, Any] = {"string": "", "uuid": bytes(16), "double": 0.0}
    if kind.name in RANGES:
        return 0
    return plain[kind.name] if kind.name in plain else smallest(home.structure(kind.name))
