"""Turns declared structures into bytes and back, by code made once for each of them.

A structure is a named tuple. Absent values are ``None``, lists are lists, strings are
``str`` (bytes that are not UTF-8 survive as surrogates), opaque data is ``bytes``, a
``typed_param`` is a :class:`TypedParam`.

Everything that arrives is checked before it is believed: a length against its cap and
against what there is, a list's length against the least that so many would take, a UTF-8
string for zero bytes, a flag for being 0 or 1; and nothing may be left over.

The code that is made consists of names of our tables and of numbers, never of anything
that was received.
"""

from __future__ import annotations

import keyword
import re
import struct
from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from polyvisor_remote.wire.declaration import SCALARS
from polyvisor_remote.wire.errors import WireError

if TYPE_CHECKING:
    from polyvisor_remote.wire.declaration import Field, Structure

__all__ = ["STRING_MAX", "Codec", "PackedParams", "TypedParam"]

#: Bytes that a string may have at most (``REMOTE_STRING_MAX``).
STRING_MAX = 4194304

_UUID = 16
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")

_Encode = Callable[[Any, Callable[[bytes], object]], None]
_Decode = Callable[[bytes, int], tuple[Any, int]]


class TypedParam(NamedTuple):
    """A name with a value that says of itself what it is (``virTypedParameter``).

    Attributes:
        field: its name.
        kind: 1 int, 2 unsigned int, 3 long, 4 unsigned long, 5 double, 6 boolean,
            7 string (``virTypedParameterType``).
        value: its value.
    """

    field: str
    kind: int
    value: Any


class PackedParams:
    """Typed parameters that are encoded already, in the place of a list of them.

    Attributes:
        data: their number and their bytes.
    """

    __slots__ = ("_count", "data")

    def __init__(self, count: int, data: bytes) -> None:
        self._count = count
        self.data = data

    def __len__(self) -> int:
        return self._count


class Codec:
    """Encodes and decodes one structure.

    Attributes:
        structure: the structure.
        type: its named tuple.
    """

    __slots__ = ("_decode", "_encode", "structure", "type")

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        names = [_python_name(field.name) for field in structure.fields]
        title = re.sub(r"\W", "_", structure.name).rstrip("_")
        make: Any = namedtuple  # noqa: PYI024 - of a table, at run time
        made = make(title, names)
        self.type: type[Any] = made
        self._encode, self._decode = _compile(structure, self.type)

    def __repr__(self) -> str:
        return f"<Codec {self.structure.name}>"

    def encode(self, values: Iterable[Any]) -> bytes:
        """Return the bytes of a structure.

        Args:
            values: its fields in order: its named tuple or any other sequence.

        Raises:
            WireError: a value does not fit its type or is longer than its cap.
        """
        parts: list[bytes] = []
        try:
            self._encode(values, parts.append)
        except (struct.error, TypeError, ValueError, AttributeError, KeyError) as error:
            raise WireError(
                f"cannot encode {self.structure.name}: {error}; the values do not fit its fields"
            ) from error
        return b"".join(parts)

    def decode(self, data: bytes) -> Any:
        """Return the structure that all of ``data`` stands for, as its named tuple.

        Raises:
            WireError: it is cut short, longer, over a cap or malformed.
        """
        try:
            value, end = self._decode(data, 0)
        except struct.error as error:
            raise WireError(f"{self.structure.name}: the message is cut short") from error
        except UnicodeDecodeError as error:
            raise WireError(f"{self.structure.name}: a string is not UTF-8: {error}") from error
        if end != len(data):
            raise WireError(
                f"{self.structure.name}: {len(data)} bytes were sent where {end} were due"
            )
        return value


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _over(what: str, length: int, cap: int) -> WireError:
    return WireError(f"{what}: a length of {length} is over the cap of {cap}")


def _short(what: str) -> WireError:
    return WireError(f"{what}: the message is cut short")


# --- typed parameters --------------------------------------------------------------------------

_pack_count = struct.Struct(">I").pack
_unpack_count = struct.Struct(">I").unpack_from
_param_packers = {
    1: struct.Struct(">ii").pack,
    2: struct.Struct(">iI").pack,
    3: struct.Struct(">iq").pack,
    4: struct.Struct(">iQ").pack,
    5: struct.Struct(">id").pack,
    6: struct.Struct(">ii").pack,
}
_param_unpackers = {
    1: (struct.Struct(">i").unpack_from, 4),
    2: (struct.Struct(">I").unpack_from, 4),
    3: (struct.Struct(">q").unpack_from, 8),
    4: (struct.Struct(">Q").unpack_from, 8),
    5: (struct.Struct(">d").unpack_from, 8),
    6: (struct.Struct(">i").unpack_from, 4),
}
_STRING_KIND = 7
_BOOLEAN_KIND = 6
#: Encoded names of parameters; there are few hundred of them, used over and over.
_field_names: dict[str, bytes] = {}
_known_fields: dict[bytes, str] = {}
_FIELD_NAMES_MAX = 4096
#: Longer names are not libvirt's.
_FIELD_SEEN = 80


def _encode_string(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    length = len(data)
    if length > STRING_MAX:
        raise _over("string", length, STRING_MAX)
    if 0 in data:
        raise WireError("a string with a zero byte cannot be sent")
    return _pack_count(length) + data + _PAD[length & 3]


def _decode_string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = _unpack_count(data, at)
    at += 4
    if length > STRING_MAX:
        raise _over("string", length, STRING_MAX)
    piece = data[at : at + length]
    if len(piece) != length:
        raise _short("string")
    if 0 in piece:
        raise WireError("a string holds a zero byte")
    return piece.decode("utf-8", "surrogateescape"), at + (length + 3 & -4)


def _encode_typed_param(value: Any, write: Callable[[bytes], object]) -> None:
    field, kind, content = value
    name = _field_names.get(field)
    if name is None:
        name = _encode_string(field)
        if len(_field_names) < _FIELD_NAMES_MAX:
            _field_names[field] = name
    write(name)
    if kind == _STRING_KIND:
        write(b"\0\0\0\7")
        write(_encode_string(content))
    else:
        write(_param_packers[kind](kind, content))


def _decode_typed_param(data: bytes, at: int) -> tuple[TypedParam, int]:
    (length,) = _unpack_count(data, at)
    start = at + 4
    at = start + (length + 3 & -4)
    # One that was never seen is checked; those that were, come over and over.
    field = _known_fields.get(data[start : start + length]) if length < _FIELD_SEEN else None
    if field is None:
        field, _ = _decode_string(data, start - 4)
        if length < _FIELD_SEEN and len(_known_fields) < _FIELD_NAMES_MAX:
            _known_fields[data[start : start + length]] = field
    (kind,) = _unpack_count(data, at)
    at += 4
    content: Any
    if kind == _STRING_KIND:
        content, at = _decode_string(data, at)
    elif kind in _param_unpackers:
        unpack, size = _param_unpackers[kind]
        (content,) = unpack(data, at)
        at += size
        if kind == _BOOLEAN_KIND:
            content = bool(content)
    else:
        raise WireError(f"typed parameter {field[:40]!r}: there is no type {kind}")
    return tuple.__new__(TypedParam, (field, kind, content)), at


# --- making code -------------------------------------------------------------------------------


class _Writer:
    """Collects the lines of one function, and joins fixed fields into one ``struct``."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "WireError": WireError,
            "over": _over,
            "short": _short,
            "PAD": _PAD,
            "Packed": PackedParams,
            "new": tuple.__new__,
            "string": _encode_string,
            "unstring": _decode_string,
            "pack_count": _pack_count,
            "unpack_count": _unpack_count,
        }
        self._letters = ""
        self._operands: list[str] = []

    def fixed(self, letters: str, *operands: str) -> None:
        self._letters += letters
        self._operands += operands

    def line(self, text: str) -> None:
        self.flush()
        self.lines.append(text)

    def flush(self) -> None:
        """Write the line for the pending fixed fields."""
        raise AssertionError

    def _struct(self) -> struct.Struct | None:
        """Return the pending fixed fields as one ``struct``, and forget them."""
        if not self._letters:
            return None
        packed = struct.Struct(">" + self._letters)
        self._letters = ""
        return packed

    def helper(self, value: Any) -> str:
        name = f"h{len(self.names)}"
        self.names[name] = value
        return name


class _EncodeWriter(_Writer):
    def reckon(self, text: str) -> None:
        """Add a line that writes nothing and needs nothing written before it."""
        self.lines.append(text)

    def flush(self) -> None:
        if packed := self._struct():
            self.lines.append(f"w({self.helper(packed.pack)}({', '.join(self._operands)}))")
            self._operands = []


class _DecodeWriter(_Writer):
    def flush(self) -> None:
        if packed := self._struct():
            names = "".join(f"{name}, " for name in self._operands)
            self.lines.append(f"{names}= {self.helper(packed.unpack_from)}(d, p)")
            self.lines.append(f"p += {packed.size}")
            self._operands = []


def _compile(structure: Structure, made: Any) -> tuple[_Encode, _Decode]:
    names = [f"f{index}" for index in range(len(structure.fields))]
    encode, decode = _EncodeWriter(), _DecodeWriter()
    if names:
        encode.line(f"{', '.join(names)}, = v")
    for name, field in zip(names, structure.fields, strict=True):
        _encode_field(encode, name, field, structure)
        _decode_field(decode, name, field, structure)
    encode.flush()
    decode.names["made"] = made
    decode.line(f"return new(made, ({', '.join(names)}{',' if names else ''})), p")
    body = "\n ".join(encode.lines) or "tuple.__new__(tuple, v)"
    encode.names["tuple"] = tuple
    source = f"def encode(v, w):\n {body}\n"
    exec(source, encode.names)  # noqa: S102 - of our own tables alone
    exec("def decode(d, p):\n " + "\n ".join(decode.lines), decode.names)  # noqa: S102
    return encode.names["encode"], decode.names["decode"]


def _codec_of(name: str, structure: Structure) -> tuple[_Encode, _Decode]:
    if name == "typed_param":
        return _encode_typed_param, _decode_typed_param
    codec = structure.home.structure(name).codec
    return codec._encode, codec._decode


def _smallest(name: str, structure: Structure) -> int:
    """Return how many bytes a value of a type takes at least."""
    if name in SCALARS:
        return struct.calcsize(">" + SCALARS[name])
    fixed = {"string": 4, "opaque": 4, "uuid": _UUID, "double": 8, "typed_param": 12}
    if name in fixed:
        return fixed[name]
    inner = structure.home.structure(name)
    total = 0
    for field in inner.fields:
        kind = field.type
        if kind.optional or kind.cap is not None:
            total += 4
        else:
            total += _smallest(kind.name, inner) * (kind.count or 1)
    return total


def _encode_field(out: _EncodeWriter, name: str, field: Field, structure: Structure) -> None:
    kind = field.type
    what = f"{structure.name}.{field.name}"
    if kind.optional:
        out.flush()
        if kind.name == "string":
            out.line(f"w(b'\\0\\0\\0\\0' if {name} is None else b'\\0\\0\\0\\1' + string({name}))")
        else:
            inner = out.helper(_codec_of(kind.name, structure)[0])
            out.line(f"if {name} is None: w(b'\\0\\0\\0\\0')")
            out.line(f"else: w(b'\\0\\0\\0\\1'); {inner}({name}, w)")
    elif kind.name == "chars":
        out.reckon(f"n = len({name})")
        if kind.count is not None:
            out.reckon(f"if n > {kind.count}: raise over({what!r}, n, {kind.count})")
            out.line(
                f"w(bytes(b for c in {name}.ljust({kind.count}, b'\\0') for b in (0, 0, 0, c)))"
            )
        else:
            out.reckon(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
            out.line(f"w(pack_count(n) + bytes(b for c in {name} for b in (0, 0, 0, c)))")
    elif kind.name == "opaque":
        out.reckon(f"n = len({name})")
        out.reckon(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
        out.fixed("I", "n")
        out.line(f"w({name} + PAD[n & 3])")
    elif kind.cap is not None:
        out.reckon(f"n = len({name})")
        out.reckon(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
        if kind.name in SCALARS:
            pack = out.helper(struct.pack)
            out.line(f"w({pack}(f'>I{{n}}{SCALARS[kind.name]}', n, *{name}))")
        elif kind.name == "string":
            out.line("w(pack_count(n))")
            out.line(f"for x in {name}: w(string(x))")
        else:
            inner = out.helper(_codec_of(kind.name, structure)[0])
            loop = ("w(pack_count(n))", f"for x in {name}: {inner}(x, w)")
            if kind.name == "typed_param":
                out.line(f"if {name}.__class__ is Packed: w({name}.data)")
                out.line("else:")
                loop = (f" {loop[0]}", f" {loop[1]}")
            for line in loop:
                out.line(line)
    elif kind.name in SCALARS:
        out.fixed(SCALARS[kind.name], name)
    elif kind.name == "double":
        out.fixed("d", name)
    elif kind.name == "uuid":
        out.reckon(f"if len({name}) != {_UUID}: raise WireError('a UUID has {_UUID} bytes')")
        out.fixed(f"{_UUID}s", name)
    elif kind.name == "string":
        out.reckon(f"{name} = {name}.encode('utf-8', 'surrogateescape')")
        out.reckon(f"n = len({name})")
        out.reckon(f"if n > {STRING_MAX}: raise over({what!r}, n, {STRING_MAX})")
        out.reckon(f"if 0 in {name}: raise WireError({what + ': a zero byte cannot be sent'!r})")
        out.fixed("I", "n")
        out.line(f"w({name} + PAD[n & 3])")
    else:
        out.line(f"{out.helper(_codec_of(kind.name, structure)[0])}({name}, w)")


def _decode_field(out: _DecodeWriter, name: str, field: Field, structure: Structure) -> None:
    kind = field.type
    what = f"{structure.name}.{field.name}"
    if kind.optional:
        out.fixed("I", "n")
        inner = (
            "unstring" if kind.name == "string" else out.helper(_codec_of(kind.name, structure)[1])
        )
        out.line(f"if n == 1: {name}, p = {inner}(d, p)")
        out.line(f"elif n == 0: {name} = None")
        out.line(f"else: raise WireError({what!r} + f': neither absent nor present, but {{n}}')")
    elif kind.name == "chars":
        if kind.count is not None:
            out.line(f"n = {kind.count}")
        else:
            out.fixed("I", "n")
            out.line(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
        out.line("x = d[p:p + 4 * n]")
        out.line(f"if len(x) != 4 * n: raise short({what!r})")
        out.line(f"{name} = x[3::4]")
        if kind.count is not None:
            out.line(f"{name} = {name}.rstrip(b'\\0')")
        out.line("p += 4 * n")
    elif kind.name == "opaque":
        out.fixed("I", "n")
        out.line(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
        out.line(f"{name} = d[p:p + n]")
        out.line(f"if len({name}) != n: raise short({what!r})")
        out.line("p += n + 3 & -4")
    elif kind.cap is not None:
        least = _smallest(kind.name, structure)
        out.fixed("I", "n")
        out.line(f"if n > {kind.cap}: raise over({what!r}, n, {kind.cap})")
        out.line(f"if n * {least} > len(d) - p: raise short({what!r})")
        if kind.name in SCALARS:
            unpack = out.helper(struct.unpack_from)
            out.line(f"{name} = list({unpack}(f'>{{n}}{SCALARS[kind.name]}', d, p))")
            out.line(f"p += {least} * n")
        else:
            inner = (
                "unstring"
                if kind.name == "string"
                else out.helper(_codec_of(kind.name, structure)[1])
            )
            out.line(f"{name} = []")
            out.line("for _ in range(n):")
            out.line(f" x, p = {inner}(d, p)")
            out.line(f" {name}.append(x)")
    elif kind.name in SCALARS:
        out.fixed(SCALARS[kind.name], name)
    elif kind.name == "double":
        out.fixed("d", name)
    elif kind.name == "uuid":
        out.fixed(f"{_UUID}s", name)
    elif kind.name == "string":
        out.fixed("I", "n")
        out.line(f"if n > {STRING_MAX}: raise over({what!r}, n, {STRING_MAX})")
        out.line(f"{name} = d[p:p + n]")
        out.line(f"if len({name}) != n: raise short({what!r})")
        out.line(f"if 0 in {name}: raise WireError({what!r} + ': holds a zero byte')")
        out.line(f"{name} = {name}.decode('utf-8', 'surrogateescape')")
        out.line("p += n + 3 & -4")
    else:
        out.line(f"{name}, p = {out.helper(_codec_of(kind.name, structure)[1])}(d, p)")
