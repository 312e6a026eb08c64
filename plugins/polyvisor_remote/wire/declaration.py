"""What the protocol is made of, read from the tables beside this file.

Numbers, names, layouts, caps, priorities and permissions are facts of libvirt's published
protocol (``src/remote/*.x`` of its source). A table has one line for each thing:

``program 0x20008086 version 1``
    the program that all the procedures of the table belong to.
``struct NAME: FIELD TYPE, …``
    a structure that procedures use.
``NUMBER  NAME  CLASS  PERMISSIONS  (FIELD TYPE, …) -> (FIELD TYPE, …)``
    a procedure: what is sent and what is answered. ``readstream`` or ``writestream`` at
    the end says that a stream follows, and which way the client sees it.
``NUMBER  NAME  event  -  (FIELD TYPE, …)``
    a message that needs no answer.

Columns are two or more blanks apart. *Class* is ``high`` where libvirt promises not to
wait for a hypervisor's monitor, else ``low``.

A *type* is one of :data:`SCALARS`, ``double``, ``string``, ``opaque`` (bytes), ``uuid``
(16 bytes), ``chars`` (bytes that take four bytes each), ``typed_param``, the name of a
structure, ``NAME!``, what the event NAME carries, or ``NAME->``, what procedure NAME
answers. After it may stand ``?`` (may be absent), ``[N]`` (a list of at most N) or ``*N``
(exactly N).

A *permission* is ``OBJECT:PERMISSION`` as in libvirt's access control; ``?FIELD&MASK``
after it makes it count only if one of those bits is set in an argument, ``?!FIELD&MASK``
only if none is, ``?FIELD=VALUE`` only for that value. With ``~`` before it, it says which
objects a list that is answered may name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from polyvisor_remote.wire.compiler import Codec

__all__ = [
    "PROGRAMS",
    "SCALARS",
    "Condition",
    "Field",
    "Permission",
    "Procedure",
    "Program",
    "Structure",
    "Type",
    "program",
]

#: Tables, and so programs, that there are.
PROGRAMS = ("remote", "qemu", "lxc", "admin", "keepalive")

#: Scalar types with the letter that :mod:`struct` knows their encoding by (RFC 4506).
#: The small ones take four bytes too.
SCALARS = {
    "int": "i",
    "uint": "I",
    "hyper": "q",
    "uhyper": "Q",
    "char": "i",
    "uchar": "I",
    "ushort": "I",
}

_TYPE = re.compile(r"(\w+(?:!|->)?)(?:(\?)|\[(\d+)\]|\*(\d+))?")
_CONDITION = re.compile(r"(!?)(\w+)([&=])(\d+)")


@attrs.frozen
class Type:
    """The type of a field.

    Attributes:
        name: see the module's docstring.
        optional: whether it may be absent.
        cap: for a list, and for ``opaque``: how many at most; else ``None``.
        count: for a fixed number: how many; else ``None``.
    """

    name: str
    optional: bool = False
    cap: int | None = None
    count: int | None = None


@attrs.frozen
class Field:
    """A field of a structure."""

    name: str
    type: Type


@attrs.frozen
class Structure:
    """Fields in the order in which they are sent.

    Attributes:
        name: its name, unique in its program.
        fields: its fields.
        home: the program that declares it.
    """

    name: str
    fields: tuple[Field, ...]
    home: Program = attrs.field(repr=False, eq=False)

    @property
    def codec(self) -> Codec:
        """What turns it into bytes and back; compiled when it is first asked for."""
        return self.home.codec(self)


@attrs.frozen
class Condition:
    """When a permission counts: see the module's docstring.

    Attributes:
        field: the argument that is looked at.
        mask: the bits, or ``None`` for a condition on a value.
        inverse: whether none of the bits must be set.
        value: the value, if there is no mask.
    """

    field: str
    mask: int | None
    inverse: bool
    value: int

    def holds(self, arguments: Any) -> bool:
        """Say whether the permission counts for a call with these arguments."""
        given = getattr(arguments, self.field)
        if self.mask is None:
            return bool(given == self.value)
        return bool(given & self.mask) is not self.inverse


@attrs.frozen
class Permission:
    """What a caller must be allowed to.

    Attributes:
        object: ``"connect"``, ``"domain"``, ``"network"`` …
        action: ``"read"``, ``"write"``, ``"start"`` …
        condition: when it counts; ``None``: always.
    """

    object: str
    action: str
    condition: Condition | None = None

    @property
    def changes_nothing(self) -> bool:
        """Whether a read-only client has it."""
        return self.action in ("getattr", "read") or self.action.startswith("search_")


@attrs.frozen(eq=False)
class Procedure:
    """A procedure of a program, or one of its events.

    Attributes:
        program: the program.
        number: its number there.
        name: its name, lower case.
        event: whether it is a message that needs no answer.
        high: whether it never waits for a hypervisor's monitor.
        permissions: what a caller must be allowed to.
        filters: which objects of an answer a caller may see.
        arguments: what is sent with a call, or what an event carries.
        result: what is answered.
        stream: ``"read"`` or ``"write"`` where a stream follows, as the client sees it.
    """

    program: Program = attrs.field(repr=False)
    number: int
    name: str
    event: bool
    high: bool
    permissions: tuple[Permission, ...]
    filters: tuple[Permission, ...]
    arguments: Structure = attrs.field(repr=False)
    result: Structure = attrs.field(repr=False)
    stream: str | None = None

    @property
    def read_only(self) -> bool:
        """Whether a read-only client may call it, whatever the arguments."""
        return all(permission.changes_nothing for permission in self.permissions)

    def refused_read_only(self, arguments: Any) -> bool:
        """Say whether a read-only client may not call it with these arguments."""
        return any(
            not permission.changes_nothing
            and (permission.condition is None or permission.condition.holds(arguments))
            for permission in self.permissions
        )


class Program:
    """A program of the protocol: its procedures and structures.

    Lines of the table are read one by one when their procedure is first asked for.

    Attributes:
        name: its name, one of :data:`PROGRAMS`.
        number: the number that stands for it in a message.
        version: its version.
    """

    number: int
    version: int

    def __init__(self, name: str, table: str) -> None:
        self.name = name
        self._lines: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._structures: dict[str, str] = {}
        self._procedures: dict[str, Procedure] = {}
        self._codecs: dict[str, Codec] = {}
        for line in table.splitlines():
            word, _, rest = line.strip().partition(" ")
            if word.isdigit():
                called = rest.split(None, 1)[0]
                self._names[int(word)] = called
                self._lines[called] = line
            elif word == "struct":
                called, _, fields = rest.partition(":")
                self._structures[called] = fields
            elif word == "program":
                number, _, version = rest.partition(" version ")
                self.number, self.version = int(number, 16), int(version)

    def __repr__(self) -> str:
        return f"<Program {self.name} {self.number:#x} version {self.version}>"

    def __iter__(self) -> Iterator[Procedure]:
        return (self[name] for name in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        return key in self._lines or key in self._names

    def __getitem__(self, key: str | int) -> Procedure:
        """Return the procedure with this name or number; ``KeyError`` if there is none."""
        name = self._names[key] if isinstance(key, int) else key
        found = self._procedures.get(name)
        if found is None:
            found = self._procedures[name] = self._read(self._lines[name])
        return found

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The structures that its table declares, by name."""
        return {name: self.structure(name) for name in self._structures}

    def structure(self, name: str) -> Structure:
        """Return a structure by its name, as a type names it."""
        if name.endswith("!"):
            return self[name[:-1]].arguments
        if name.endswith("->"):
            return self[name[:-2]].result
        if name not in self._structures and self.name != "remote":
            return program("remote").structure(name)
        return self._structure(name, self._structures[name])

    def codec(self, structure: Structure) -> Codec:
        """Return what turns a structure into bytes and back."""
        found = self._codecs.get(structure.name)
        if found is None:
            from polyvisor_remote.wire.compiler import Codec

            found = self._codecs[structure.name] = Codec(structure)
        return found

    def _structure(self, name: str, text: str) -> Structure:
        parts = [part for part in text.strip().strip("()").split(", ") if part]
        return Structure(name, tuple(map(_field, parts)), self)

    def _read(self, line: str) -> Procedure:
        number, name, kind, permissions, body = re.split(r"  +", line.strip(), maxsplit=4)
        arguments, _, answer = body.partition(" -> ")
        result, _, stream = answer.partition(") ")
        words = permissions.split() if permissions != "-" else []
        event = kind == "event"
        return Procedure(
            self,
            int(number),
            name,
            event,
            kind == "high",
            tuple(_permission(word) for word in words if not word.startswith("~")),
            tuple(_permission(word[1:]) for word in words if word.startswith("~")),
            self._structure(f"{name}!" if event else f"{name}()", arguments),
            self._structure(f"{name}->", result),
            stream.removesuffix("stream") or None,
        )


def _field(text: str) -> Field:
    name, _, kind = text.strip().partition(" ")
    found = _TYPE.fullmatch(kind)
    assert found is not None, text
    cap, count = found[3], found[4]
    return Field(
        name,
        Type(
            found[1],
            found[2] is not None,
            int(cap) if cap else None,
            int(count) if count else None,
        ),
    )


def _permission(text: str) -> Permission:
    what, _, when = text.partition("?")
    thing, _, action = what.partition(":")
    if not when:
        return Permission(thing, action)
    found = _CONDITION.fullmatch(when)
    assert found is not None, text
    number = int(found[4])
    mask = number if found[3] == "&" else None
    return Permission(thing, action, Condition(found[2], mask, found[1] == "!", number))


@cache
def program(name: str) -> Program:
    """Return the program of this name, one of :data:`PROGRAMS`."""
    table = files("polyvisor_remote.wire").joinpath(f"{name}.txt")
    return Program(name, table.read_text(encoding="utf-8"))
