"""Element classes and how their fields are declared; :mod:`polyvisor.model.binding` teaches it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar

import attrs

from polyvisor.model._codecs import STR, Codec

if TYPE_CHECKING:
    from polyvisor.model._xml import RawXml

__all__ = [
    "Binding",
    "Choice",
    "Element",
    "Extra",
    "Ref",
    "attr",
    "beside",
    "bindings_of",
    "child",
    "children",
    "element",
    "flag",
    "inner",
    "inners",
    "resolve",
    "size",
    "subtree",
    "text",
    "value",
    "values",
]

T = TypeVar("T")

#: A class, or where it is: ``".disk:Disk"`` (below polyvisor.model) or ``"package.module:Class"``.
Ref: TypeAlias = "type[Element] | str"

if TYPE_CHECKING:
    # To a type checker an element is what attrs makes of it; evolve, fields and asdict work.
    from attrs import frozen as element
else:

    def element(cls=None, *, kw_only=True):
        """Make an attrs class: frozen, slotted, keyword-only; comparison comes from Element."""

        def decorate(cls):
            return attrs.define(
                cls,
                frozen=True,
                kw_only=kw_only,
                eq=False,
                repr=False,
                match_args=False,
                weakref_slot=False,
                getstate_setstate=False,
                auto_detect=False,
            )

        return decorate if cls is None else decorate(cls)


@attrs.frozen
class Extra:
    """What stood in an element and is not declared in its class."""

    #: Attributes as (name, value).
    attributes: tuple[tuple[str, str], ...] = ()
    #: Child elements, whole.
    elements: tuple[RawXml, ...] = ()
    #: Attributes of children that are plain values here: (tag, which of them, attributes).
    of_values: tuple[tuple[str, int, tuple[tuple[str, str], ...]], ...] = ()


class _Plain:
    """Comparison, hash, repr and copies of all element classes, made once."""

    # Where it was last written, and as what: (indentation, tag, text).  Unset in a value that was
    # not read, until it is written.
    __slots__ = ("_written",)

    _written: tuple[str, str, str] | None

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        key = _keys[self.__class__]
        return bool(key(self) == key(other))

    def __hash__(self) -> int:
        return hash((self.__class__, _keys[self.__class__](self)))

    def __repr__(self) -> str:
        cls: Any = self.__class__
        shown = ", ".join(
            f"{field.name}={here!r}"
            for field in attrs.fields(cls)
            if field.init and (here := getattr(self, field.name)) != field.default
        )
        return f"{type(self).__name__}({shown})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> Any:
        cls: Any = self.__class__
        names = [field.name for field in attrs.fields(cls) if field.init]
        return _rebuilt, (self.__class__, {name: getattr(self, name) for name in names})


def _rebuilt(cls: type[T], fields: dict[str, Any]) -> T:
    return cls(**fields)


@element(kw_only=True)
class Element(_Plain):
    """Base of every class bound to an XML element."""

    #: What stood in the XML and is not declared; written back.
    extra: Extra | None = None

    def _refuse(self) -> None:
        """Raise :class:`~polyvisor.model._codecs.Fault` for fields that cannot stand together.

        Asked of every element read or written whose class has its own.
        """


class _Keys(dict[type, Callable[[Any], Any]]):
    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        names = [field.name for field in attrs.fields(cls) if field.eq]
        key = self[cls] = operator.attrgetter(*names)
        return key


_keys = _Keys()

#: Sets ``_written``, past what freezes the value.
keep_written = _Plain.__dict__["_written"].__set__


# --- declaration ------------------------------------------------------------------------------


class Choice(NamedTuple):
    """Children of one tag whose class an attribute decides.

    The class declares that attribute like any other, with its own value as default.
    """

    #: The attribute.
    by: str
    #: Its values.
    refs: dict[str, Ref]
    #: For an absent attribute: the value that counts; None: it may not be absent.
    default: str | None = None


class Binding(NamedTuple):
    """How one field stands in XML; the value of the field's metadata under ``"xml"``."""

    kind: str
    name: str | None
    codec: Codec = STR
    ref: Ref | Choice | dict[str, Ref] | None = None
    many: bool = False
    required: bool = False
    attribute: str | None = None
    missing: Any = None
    #: Written behind the fields of subclasses.
    last: bool = False
    #: Of a size: the unit in which it is written; ``""``: the largest that divides it.
    unit: str = "KiB"
    #: Of a size: the bytes that a number without unit counts.
    scale: int = 1024


def _field(binding: Binding, default: Any) -> Any:
    if binding.required:
        return attrs.field(metadata={"xml": binding})
    return attrs.field(default=default, metadata={"xml": binding})


def attr(
    codec: Codec = STR, *, name: str | None = None, default: Any = None, required: bool = False
) -> Any:
    """Declare an attribute.

    Args:
        codec: how its value stands.
        name: its name, if it is not the field's.
        default: the value in Python when absent.  None is not written, all else is.
        required: refuse the element when it is absent.
    """
    return _field(Binding("attr", name, codec, required=required), default)


def text(codec: Codec = STR, *, required: bool = False) -> Any:
    """Declare the element's own text."""
    return _field(Binding("text", None, codec, required=required), None)


def value(codec: Codec = STR, *, name: str | None = None, required: bool = False) -> Any:
    """Declare a child that is only its text: ``<title>web</title>``."""
    return _field(Binding("value", name, codec, required=required), None)


def values(codec: Codec = STR, *, name: str) -> Any:
    """Declare any number of children that are only their text."""
    return _field(Binding("value", name, codec, many=True), ())


def size(
    *,
    name: str | None = None,
    required: bool = False,
    default: int | None = None,
    unit: str = "KiB",
    scale: int = 1024,
) -> Any:
    """Declare a child that is a size: bytes in Python, ``<memory unit='KiB'>`` in XML.

    Args:
        name: the child's tag, if it is not the field's name.
        required: refuse the element when it is absent.
        default: the value in Python when absent.  None is not written, all else is.
        unit: in which it is written, ``"KiB"``, ``"bytes"`` or ``"M"``; ``""``: the largest
            unit that divides it.
        scale: the bytes that a number without unit counts.
    """
    return _field(
        Binding("size", name, required=required, attribute="unit", unit=unit, scale=scale), default
    )


def beside(name: str, attribute: str, codec: Codec = STR) -> Any:
    """Declare a further attribute of a child that is otherwise a plain value.

    Args:
        name: the child's tag.
        attribute: the attribute.
        codec: how its value stands.
    """
    return _field(Binding("beside", name, codec, attribute=attribute), None)


def inner(
    name: str, attribute: str, codec: Codec = STR, *, missing: Any = None, last: bool = False
) -> Any:
    """Declare a child of which one attribute is all that counts: ``<vmport state='off'/>``.

    Args:
        name: the child's tag.
        attribute: the attribute.
        codec: how its value stands.
        missing: what the child means without the attribute; None: it is carried unread.
        last: write it behind the fields of subclasses.
    """
    return _field(
        Binding("inner", name, codec, attribute=attribute, missing=missing, last=last), None
    )


def inners(name: str, attribute: str, codec: Codec = STR) -> Any:
    """Declare any number of children of which one attribute is all that counts."""
    return _field(Binding("inner", name, codec, many=True, attribute=attribute), ())


def flag(name: str | None = None) -> Any:
    """Declare a child whose presence means True: ``<readonly/>``."""
    return _field(Binding("flag", name), False)


def child(
    ref: Ref | Choice,
    name: str | None = None,
    *,
    required: bool = False,
    default: Any = None,
    last: bool = False,
) -> Any:
    """Declare a child element of a class of its own.

    Args:
        ref: the class, where it is, or a :class:`Choice`.
        name: its tag, if it is not the field's name.
        required: refuse the element when it is absent.
        default: the value when absent.
        last: write it behind the fields of subclasses.
    """
    return _field(Binding("child", name, ref=ref, required=required, last=last), default)


def children(ref: Ref | Choice | dict[str, Ref], name: str | None = None) -> Any:
    """Declare any number of children, in document order.

    Args:
        ref: as in :func:`child`, or classes by tag for children of several kinds in one field.
        name: their tag, unless ``ref`` says it.
    """
    return _field(Binding("child", name, ref=ref, many=True), ())


def subtree(name: str | None = None) -> Any:
    """Declare a child that is carried as :class:`RawXml`, such as metadata."""
    return _field(Binding("raw", name), None)


# --- asking ------------------------------------------------------------------------------------


def resolve(ref: Ref) -> type[Element]:
    """Return the class that a reference names, importing its module."""
    if not isinstance(ref, str):
        return ref
    module, _, name = ref.partition(":")
    found: type[Element] = getattr(
        import_module(f"polyvisor.model{module}" if module.startswith(".") else module), name
    )
    return found


def bindings_of(cls: type, behind: Mapping[str, str] | None = None) -> list[tuple[str, Binding]]:
    """Return the bound fields of a class in the order in which they are written.

    Args:
        cls: the class.
        behind: which fields stand behind which, instead of what ``XML_BEHIND`` says.
    """
    found = []
    for field in attrs.fields(cls):
        binding = field.metadata.get("xml")
        if binding is not None:
            found.append((field.name, binding._replace(name=binding.name or field.name)))
    # attrs puts a field that a subclass declares anew behind the others; here it keeps its place.
    place: dict[str, int] = {}
    for base in reversed(cls.__mro__):
        for name in vars(base).get("__annotations__", ()):
            place.setdefault(name, len(place))
    found.sort(key=lambda pair: (pair[1].last, place[pair[0]]))
    if behind is None:
        behind = getattr(cls, "XML_BEHIND", {})
    for moved, before in behind.items():
        pair = found.pop([name for name, _ in found].index(moved))
        found.insert([name for name, _ in found].index(before) + 1, pair)
    return found
