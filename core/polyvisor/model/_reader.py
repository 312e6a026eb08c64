"""The reading half of the binding: from a node to an instance, one function per class.

What was read from a shared node is read once (:func:`~polyvisor.model._node.recalled`), so what
is read must depend on the node alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from polyvisor.model._codecs import Fault, exact_size, nearest, scaled
from polyvisor.model._declare import Binding, Choice, Element, Extra, Ref, bindings_of, resolve
from polyvisor.model._namespaces import adopt
from polyvisor.model._node import Node, recalled
from polyvisor.model._xml import RawXml, raw

__all__ = ["readers"]

Reader: TypeAlias = Callable[[Node, bytes], Any]

# How a child is read.
OBJECT, OBJECTS, WORD, VALUE, VALUES = range(5)


class Readers(dict[type, Reader]):
    def __missing__(self, cls: type) -> Reader:
        reader = self[cls] = _make_reader(cls)
        return reader


readers = Readers()


def _make_reader(cls: type) -> Reader:
    fields = attrs.fields(cls)
    build = _make_builder(cls, [field.name for field in fields])
    template = [None if f.default is attrs.NOTHING else f.default for f in fields]
    index = {field.name: number for number, field in enumerate(fields)}
    attributes: dict[str, tuple[int, Callable[[str], Any] | None]] = {}
    tags: dict[str, tuple[int, int, Callable[..., Any], str | None]] = {}
    own_text: tuple[int, Callable[[str], Any] | None] | None = None
    besides: dict[tuple[str, str], tuple[int, Callable[[str], Any] | None]] = {}
    lists: list[int] = []
    required: list[tuple[int, str]] = []

    for name, binding in bindings_of(cls):
        number = index[name]
        tag = binding.name or name
        if binding.required:
            required.append((number, f"attribute {tag}" if binding.kind == "attr" else f"<{tag}>"))
        if binding.many:
            lists.append(number)
        if binding.kind == "attr":
            attributes[tag] = number, binding.codec.read
        elif binding.kind == "text":
            own_text = number, binding.codec.read
        elif binding.kind == "beside":
            besides[tag, binding.attribute or ""] = number, binding.codec.read
        elif binding.kind == "child":
            mode = OBJECTS if binding.many else OBJECT
            refs = binding.ref if isinstance(binding.ref, dict) else {tag: binding.ref}
            for one, ref in refs.items():
                assert ref is not None
                tags[one] = mode, number, _first_use(tags, one, ref), None
        elif binding.kind == "raw":
            tags[tag] = OBJECT, number, _subtree, None
        elif binding.kind == "value" and not binding.many:
            tags[tag] = WORD, number, binding.codec.read or _same, None
        else:
            mode = VALUES if binding.many else VALUE
            tags[tag] = mode, number, _value_reader(binding), binding.attribute

    def read(node: Node, data: bytes) -> Any:
        given, content = node.attributes, node.text
        found: list[Any] = template.copy()
        extra: _Collected | None = None
        if given:
            try:
                for name, raw_value in given.items():
                    entry = attributes.get(name)
                    if entry is None:
                        if extra is None:
                            extra = _Collected()
                        extra.attributes.append((name, raw_value))
                    else:
                        number, convert = entry
                        found[number] = raw_value if convert is None else convert(raw_value)
            except Fault as fault:
                fault.node, fault.attribute = node, name
                raise
        for below in node.children:
            bound = tags.get(below.tag)
            if bound is not None:
                mode, number, convert, consumed = bound
                if mode == OBJECTS or (mode == OBJECT and found[number] is template[number]):
                    kept = below.kept
                    if kept is None:
                        result = convert(below, data)
                    elif kept[0] is convert:
                        result = kept[1]
                    else:
                        result = recalled(below, data, convert)
                    if mode == OBJECT:
                        found[number] = result
                    elif found[number]:
                        found[number].append(result)
                    else:
                        found[number] = [result]
                    continue
                if (
                    mode > OBJECTS
                    and not below.children
                    and (mode == VALUES or found[number] is template[number])
                ):
                    try:
                        if mode == WORD:
                            result = convert(below.text or "")
                            if not below.attributes:
                                found[number] = result
                                continue
                        else:
                            result = convert(below)
                    except Fault as fault:
                        fault.node = below
                        raise
                    if result is not None:
                        place = 0
                        if mode != VALUES:
                            found[number] = result
                        elif found[number]:
                            place = len(found[number])
                            found[number].append(result)
                        else:
                            found[number] = [result]
                        more = below.attributes
                        if more and (consumed is None or len(more) > 1):
                            rest = tuple((k, v) for k, v in more.items() if k != consumed)
                            if besides:
                                rest = _taken(besides, below, rest, found)
                            if rest:
                                if extra is None:
                                    extra = _Collected()
                                extra.of_values.append((below.tag, place, rest))
                        continue
            if extra is None:
                extra = _Collected()
            extra.elements.append(recalled(below, data, _carried))
        if own_text is not None and content is not None:
            number, convert = own_text
            try:
                found[number] = content if convert is None else convert(content)
            except Fault as fault:
                fault.node = node
                raise
        for number in lists:
            if found[number]:
                found[number] = tuple(found[number])
        for number, what in required:
            if found[number] is None:
                missing = Fault(f"has no {what}", "add it")
                missing.node = node
                raise missing
        if extra is not None:
            found[0] = Extra(tuple(extra.attributes), tuple(extra.elements), tuple(extra.of_values))
        return build(found)

    if tags or required:
        return _finished(cls, read)
    get = attributes.get

    def read_leaf(node: Node, data: bytes) -> Any:
        """Read what has attributes only; leave whatever else there is to the other."""
        found = template.copy()
        name = ""
        try:
            for name, word in node.attributes.items():
                number, convert = get(name, unknown)
                found[number] = word if convert is None else convert(word)
        except Fault as fault:
            fault.node, fault.attribute = node, name
            raise
        if node.children or node.text is not None or found[0] is not None:
            return read(node, data)
        return build(found)

    # An unknown attribute lands in the slot of ``extra``.
    unknown = (0, None)
    return _finished(cls, read_leaf)


def _finished(cls: Any, read: Reader) -> Reader:
    """Return a reader that does what the class wants done besides filling its fields."""
    settle = getattr(cls, "__attrs_post_init__", None)
    refuse = cls._refuse if cls._refuse is not Element._refuse else None
    namespaces = getattr(cls, "XML_NAMESPACES", None)
    if settle is None and refuse is None and namespaces is None:
        return read

    def read_finished(node: Node, data: bytes) -> Any:
        if namespaces is not None:
            node = adopt(node, namespaces)
        value = read(node, data)
        if settle is not None:
            settle(value)
        if refuse is not None:
            try:
                refuse(value)
            except Fault as fault:
                fault.node = fault.node or _below(node, fault.trail)
                raise
        return value

    return read_finished


def _below(node: Node, trail: list[str]) -> Node:
    """Return the node at the end of a trail such as ``["ip[2]", "dhcp"]``, or the last found."""
    for step in trail:
        tag, _, number = step.rstrip("]").partition("[")
        twins = [below for below in node.children if below.tag == tag]
        if len(twins) < int(number or 1):
            break
        node = twins[int(number or 1) - 1]
    return node


def _taken(
    besides: dict[tuple[str, str], tuple[int, Callable[[str], Any] | None]],
    node: Node,
    given: tuple[tuple[str, str], ...],
    found: list[Any],
) -> tuple[tuple[str, str], ...]:
    """Read the attributes of a plain child that have fields of their own; return the others."""
    rest = []
    for name, word in given:
        entry = besides.get((node.tag, name))
        if entry is None:
            rest.append((name, word))
            continue
        number, convert = entry
        try:
            found[number] = word if convert is None else convert(word)
        except Fault as fault:
            fault.node, fault.attribute = node, name
            raise
    return tuple(rest)


def _same(word: str) -> str:
    return word


def _carried(node: Node, data: bytes) -> RawXml:
    return raw(data, node)


def _subtree(node: Node, data: bytes) -> RawXml:
    return raw(data, node, '"')


class _Collected:
    __slots__ = ("attributes", "elements", "of_values")

    def __init__(self) -> None:
        self.attributes: list[tuple[str, str]] = []
        self.elements: list[RawXml] = []
        self.of_values: list[tuple[str, int, tuple[tuple[str, str], ...]]] = []


def _make_builder(cls: type, names: list[str]) -> Callable[[list[Any]], Any]:
    """Return a function from all field values to an instance, past ``__init__``.

    It fills a twin of the class that is not frozen, whose slots the interpreter
    sets directly, and then gives the instance its true class.
    """
    thawed = type(cls.__name__, (cls,), {"__slots__": (), "__setattr__": object.__setattr__})
    targets = ", ".join(f"o.{name}" for name in names)
    source = (
        "def build(v):\n o = new(thawed)\n"
        f" {targets}, = v\n o._written = None\n"
        " o.__class__ = cls\n return o\n"
    )
    scope: dict[str, Any] = {"new": object.__new__, "thawed": thawed, "cls": cls}
    exec(compile(source, f"<binding of {cls.__name__}>", "exec"), scope)  # noqa: S102
    build: Callable[[list[Any]], Any] = scope["build"]
    return build


def _first_use(tags: dict[str, Any], tag: str, ref: Ref | Choice) -> Reader:
    """Return a reader that finds the real one when the tag is first met and takes its place."""

    def read(node: Node, data: bytes) -> Any:
        reader = _choose(ref) if isinstance(ref, Choice) else readers[resolve(ref)]
        mode, number, _self, consumed = tags[tag]
        tags[tag] = mode, number, reader, consumed
        return recalled(node, data, reader)

    return read


def _choose(choice: Choice) -> Reader:
    by, refs, default = choice
    known: dict[Any, Reader] = {}

    def read(node: Node, data: bytes) -> Any:
        word: Any = node.attributes.get(by, default)
        reader = known.get(word)
        if reader is None:
            ref = refs.get(word or "")
            if ref is None:
                fault = Fault(
                    f"attribute {by} is missing"
                    if word is None
                    else f"{word!r} is not a known {by}",
                    nearest(word or "", list(refs)),
                )
                fault.node, fault.attribute = node, by
                raise fault
            reader = known[word] = readers[resolve(ref)]
        return reader(node, data)

    return read


def _value_reader(binding: Binding) -> Callable[[Node], Any]:
    convert = binding.codec.read
    attribute, missing = binding.attribute or "", binding.missing
    if binding.kind == "flag":
        return lambda node: True
    if binding.kind == "size":
        count = scaled if binding.unit == "KiB" else exact_size
        scale = binding.scale
        return lambda node: count(node.text, node.attributes.get("unit", ""), scale)
    if binding.kind == "value":
        read_word = convert or _same
        return lambda node: read_word(node.text or "")

    def read(node: Node) -> Any:
        word = node.attributes.get(attribute)
        if word is None:
            return missing
        try:
            return word if convert is None else convert(word)
        except Fault as fault:
            fault.attribute = attribute
            raise

    return read
