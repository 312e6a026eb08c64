"""Many typed parameters at once: the same names over and over, with other values.

The figures of a hundred domains are a hundred mappings with the same few sets of names. For
each set the bytes between the values are made once, and one ``struct`` puts the values in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from polyvisor_remote.wire.compiler import PackedParams, _encode_string, _encode_typed_param
from polyvisor_remote.wire.params import INT, LLONG, STRING, UINT, ULLONG, params

__all__ = ["Packer"]

#: Sets of names that are remembered; more are forgotten together.
_SHAPES_MAX = 256
_pack_count = struct.Struct(">I").pack
_unpack_count = struct.Struct(">I").unpack_from
_INTEGERS = {INT: "i", UINT: "I", LLONG: "q", ULLONG: "Q"}

_Shape = Callable[[Mapping[str, Any]], bytes]


class Packer:
    """Encodes mappings of figures.

    Args:
        kind: the type of a figure by its name (``virTypedParameterType``), 0 if its value
            says that (see :func:`polyvisor_remote.wire.params`), ``None`` to leave it out.
    """

    def __init__(self, kind: Callable[[str], int | None]) -> None:
        self._kind = kind
        self._shapes: dict[tuple[Any, ...], _Shape] = {}

    def pack(self, figures: Mapping[str, Any]) -> PackedParams:
        """Return a mapping as typed parameters that are encoded; ``None`` is left out.

        Raises:
            WireError: a value does not fit its type.
        """
        data = self.data(figures)
        (count,) = _unpack_count(data)
        return PackedParams(count, data)

    def data(self, figures: Mapping[str, Any]) -> bytes:
        """Return the bytes of a mapping as typed parameters, their number before them.

        Raises:
            WireError: a value does not fit its type.
        """
        key = (*figures, *map(type, figures.values()))
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _SHAPES_MAX:
                self._shapes.clear()
            shape = self._shapes[key] = self._shape(figures)
        try:
            return shape(figures)
        except struct.error:  # Most likely a number is negative that hardly ever is.
            return self._slowly(figures)

    def _shape(self, figures: Mapping[str, Any]) -> _Shape:
        wanted = [
            (name, kind)
            for name, value in figures.items()
            if value is not None and (kind := self._kind(name)) is not None
        ]
        number = _pack_count(len(wanted))
        pieces = list(_pieces(number, wanted, figures))
        if len(pieces) == 1:
            return pieces[0]
        return lambda values: b"".join([piece(values) for piece in pieces])

    def _slowly(self, figures: Mapping[str, Any]) -> bytes:
        kinds = {name: self._kind(name) for name in figures}
        chosen = {name: value for name, value in figures.items() if kinds[name] is not None}
        found = params(chosen, {name: kind for name, kind in kinds.items() if kind})
        parts: list[bytes] = [_pack_count(len(found))]
        for one in found:
            _encode_typed_param(one, parts.append)
        return b"".join(parts)


def _pieces(
    number: bytes, wanted: list[tuple[str, int]], figures: Mapping[str, Any]
) -> Iterator[_Shape]:
    """Yield what makes the bytes: of each run of numbers together, and of each text.

    Args:
        number: bytes that come before all of them.
        wanted: names and types.
        figures: values such as will come.
    """
    run: list[tuple[str, str, bytes]] = []
    before = number
    for name, kind in wanted:
        value = figures[name]
        letter = _INTEGERS.get(kind or ULLONG) if type(value) is int else None
        if letter is not None:
            head = before + _encode_string(name) + struct.pack(">i", kind or ULLONG)
            run.append((name, letter, head))
            before = b""
            continue
        if run:
            yield _numbers(run)
            run = []
        elif before:
            yield _bytes(before)
            before = b""
        if isinstance(value, str):
            yield _text(name, _encode_string(name) + struct.pack(">i", STRING))
        else:
            yield _other(name, kind)
    if run:
        yield _numbers(run)
    elif before:
        yield _bytes(before)


def _bytes(data: bytes) -> _Shape:
    return lambda values: data


def _numbers(run: list[tuple[str, str, bytes]]) -> _Shape:
    names = [name for name, _, _ in run]
    heads = [head for _, _, head in run]
    layout = ">" + "".join(f"{len(head)}s{letter}" for _, letter, head in run)
    pack = struct.Struct(layout).pack
    count = len(run)
    if count == 1:
        return lambda values: pack(heads[0], values[names[0]])
    get = itemgetter(*names)

    def shape(values: Mapping[str, Any]) -> bytes:
        mixed: list[Any] = [None] * (2 * count)
        mixed[::2] = heads
        mixed[1::2] = get(values)
        return pack(*mixed)

    return shape


def _text(name: str, head: bytes) -> _Shape:
    return lambda values: head + _encode_string(values[name])


def _other(name: str, kind: int) -> _Shape:
    def shape(values: Mapping[str, Any]) -> bytes:
        parts: list[bytes] = []
        for one in params({name: values[name]}, {name: kind} if kind else None):
            _encode_typed_param(one, parts.append)
        return b"".join(parts)

    return shape
