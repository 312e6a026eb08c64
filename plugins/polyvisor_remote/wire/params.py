"""Typed parameters as mappings, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from polyvisor_remote.wire.compiler import TypedParam
from polyvisor_remote.wire.errors import WireError

__all__ = ["BOOLEAN", "DOUBLE", "INT", "LLONG", "STRING", "UINT", "ULLONG", "mapping", "params"]

# virTypedParameterType
INT, UINT, LLONG, ULLONG, DOUBLE, BOOLEAN, STRING = range(1, 8)

#: Bytes that a name may have at most (``VIR_TYPED_PARAM_FIELD_LENGTH`` and its zero byte).
_FIELD_MAX = 79


def params(values: Mapping[str, Any], kinds: Mapping[str, int] | None = None) -> list[TypedParam]:
    """Return a mapping as typed parameters; what is ``None`` is left out.

    Args:
        values: value by name.
        kinds: type by name, where the value's own does not say it: text is a string, a
            ``bool`` a boolean, a ``float`` a double, a whole number an unsigned long, or
            a long if it is negative.
    """
    known = kinds or {}
    return [
        TypedParam(name, known.get(name) or _kind(value), value)
        for name, value in values.items()
        if value is not None
    ]


def mapping(received: Iterable[TypedParam], *, repeated: Iterable[str] = ()) -> dict[str, Any]:
    """Return typed parameters as a mapping.

    Args:
        received: the parameters.
        repeated: names that may occur more than once; they map to lists.

    Raises:
        WireError: a name is too long, or occurs twice.
    """
    several = frozenset(repeated)
    values: dict[str, Any] = {}
    for name, _, value in received:
        if len(name) > _FIELD_MAX:
            raise WireError(f"typed parameter {name[:40]!r}…: the name is over {_FIELD_MAX} bytes")
        if name in several:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise WireError(f"typed parameter {name!r} occurs twice")
        else:
            values[name] = value
    return values


def _kind(value: Any) -> int:
    if isinstance(value, str):
        return STRING
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, float):
        return DOUBLE
    return LLONG if value < 0 else ULLONG
