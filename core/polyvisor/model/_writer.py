"""The writing half of the binding: from an instance to text, one function per class."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from polyvisor.model._codecs import BYTES, STR, Fault, in_unit, nearest
from polyvisor.model._declare import (
    Binding,
    Element,
    Extra,
    Ref,
    bindings_of,
    keep_written,
    resolve,
)
from polyvisor.model._namespaces import declare
from polyvisor.model._xml import RawXml, special_in_attribute

__all__ = ["writers"]

#: From an instance, the indentation and the tag to lines of text.
Writer: TypeAlias = Callable[[Any, str, str], str]

#: Characters of a text that is kept with its value: a device's are, a domain's are kept once,
#: by the document.
MAX_KEPT = 1024


class Writers(dict[type, Writer]):
    def __missing__(self, cls: type) -> Writer:
        if not issubclass(cls, Element):
            raise Fault(f"a {cls.__name__} stands where an element is expected")
        writer = _make_writer(cls)
        if (when := getattr(cls, "XML_BEHIND_WHEN", None)) is not None:
            writer = _either(writer, _make_writer(cls, when[2]), when[0], when[1])
        writer = self[cls] = _keeping(writer)
        return writer


writers = Writers()


def _keeping(write: Writer) -> Writer:
    """Return a writer that writes a value once, since it is frozen and often shared."""

    def written(value: Any, indent: str, tag: str) -> str:
        try:
            kept = value._written
        except AttributeError:
            kept = None
        if kept is not None and kept[0] == indent and kept[1] == tag:
            text: str = kept[2]
            return text
        text = write(value, indent, tag)
        if len(text) <= MAX_KEPT:
            keep_written(value, (indent, tag, text))
        return text

    return written


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _value: ()
    get = operator.attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


def _either(usual: Writer, other: Writer, name: str, wanted: Any) -> Writer:
    """Return a writer that has another order when a field has a certain value."""

    def write(value: Any, indent: str, tag: str) -> str:
        return (other if getattr(value, name) == wanted else usual)(value, indent, tag)

    return write


def _make_writer(cls: type[Element], behind: Mapping[str, str] | None = None) -> Writer:
    bindings = bindings_of(cls, behind)
    attribute_bindings = [(name, b) for name, b in bindings if b.kind == "attr"]
    child_bindings = [(name, b) for name, b in bindings if b.kind not in {"attr", "text", "beside"}]
    own_attributes = _getter([name for name, _ in attribute_bindings])
    own_children = _getter([name for name, _ in child_bindings])
    attribute_plan = [
        (f" {b.name}='", None if b.codec is STR else b.codec.write) for _, b in attribute_bindings
    ]
    child_plan = [(_absent(b), _child_writer(b)) for _, b in child_bindings]
    besides = [
        (name, b.name or name, f" {b.attribute}='", b.codec.write)
        for name, b in bindings
        if b.kind == "beside"
    ]
    own_text = next((name for name, b in bindings if b.kind == "text"), None)
    text_codec = next((b.codec for _, b in bindings if b.kind == "text"), STR)
    write_text = text_codec.write_text or text_codec.write
    always_open = getattr(cls, "XML_OPEN", False)
    namespaces = getattr(cls, "XML_NAMESPACES", None)
    refuse = cls._refuse if cls._refuse is not Element._refuse else None

    def opening(value: Any, indent: str, tag: str) -> str:
        head = f"{indent}<{tag}"
        for item, (prefix, convert) in zip(own_attributes(value), attribute_plan):  # noqa: B905 - strict costs 100 ns
            if item is not None:
                if convert is not None:
                    head += f"{prefix}{convert(item)}'"
                elif item.__class__ is str and special_in_attribute(item) is None:
                    head += f"{prefix}{item}'"
                else:
                    head += f"{prefix}{STR.write(item)}'"
        return head

    def write(value: Any, indent: str, tag: str) -> str:
        try:
            if refuse is not None:
                refuse(value)
            head = opening(value, indent, tag) if attribute_plan else f"{indent}<{tag}"
            body = ""
            if child_plan:
                deeper = indent + "  "
                children = own_children(value)
                for item, (absent, write_child) in zip(children, child_plan):  # noqa: B905 - as above
                    if item is not None and item is not absent:
                        body += write_child(item, deeper)
            for name, beside, prefix, convert in besides:
                item = getattr(value, name)
                if item is not None:
                    body = _with_attribute(body, beside, 0, f"{prefix}{convert(item)}'", deeper)
            content = None
            if own_text is not None:
                content = getattr(value, own_text)
                if content is not None:
                    content = write_text(content)
            extra = value.extra
            if extra is not None:
                for name, word in extra.attributes:
                    head += f" {name}='{STR.write(word)}'"
                body = _with_extra(extra, body, indent + "  ")
            if namespaces is not None:
                head = declare(head, body, namespaces)
        except Fault as fault:
            fault.trail.insert(0, tag)
            raise
        if content is not None:
            if body:
                return f"{head}>{content}\n{body}{indent}</{tag}>\n"
            return f"{head}>{content}</{tag}>\n"
        if body or always_open:
            return f"{head}>\n{body}{indent}</{tag}>\n"
        return head + "/>\n"

    def write_leaf(value: Any, indent: str, tag: str) -> str:
        """Write what has attributes only."""
        if value.extra is not None or refuse is not None:
            return write(value, indent, tag)
        try:
            return opening(value, indent, tag) + "/>\n"
        except Fault as fault:
            fault.trail.insert(0, tag)
            raise

    return write if child_plan or own_text is not None or always_open else write_leaf


def _absent(binding: Binding) -> Any:
    """Return what beside None stands for nothing to write."""
    if binding.many:
        return ()
    return False if binding.kind == "flag" else None


def _child_writer(binding: Binding) -> Callable[[Any, str], str]:
    tag = binding.name or ""
    kind, many = binding.kind, binding.many
    if kind == "child":
        if isinstance(binding.ref, dict):
            return _union_writer(binding.ref)
        if many:

            def all_of(items: Any, indent: str) -> str:
                return "".join([writers[item.__class__](item, indent, tag) for item in items])

            return all_of
        return lambda item, indent: writers[item.__class__](item, indent, tag)
    if kind == "raw":
        return lambda item, indent: (
            item if isinstance(item, RawXml) else RawXml.parse(item)
        ).indented(indent)
    if kind == "flag":
        return lambda item, indent: f"{indent}<{tag}/>\n"
    convert = binding.codec.write_text or binding.codec.write
    before, after = f"<{tag}>", f"</{tag}>\n"
    if kind == "size":
        if binding.unit != "KiB":
            return _size_writer(tag, binding.unit)
        convert, before = BYTES.write, f"<{tag} unit='KiB'>"
    elif kind == "inner":
        convert, before, after = binding.codec.write, f"<{tag} {binding.attribute}='", "'/>\n"

    def one(item: Any, indent: str) -> str:
        try:
            return f"{indent}{before}{convert(item)}{after}"
        except Fault as fault:
            fault.trail.insert(0, tag)
            raise

    if many:
        return lambda items, indent: "".join([one(item, indent) for item in items])
    return one


def _size_writer(tag: str, unit: str) -> Callable[[Any, str], str]:
    def write(item: Any, indent: str) -> str:
        try:
            number, shown = in_unit(item, unit)
        except Fault as fault:
            fault.trail.insert(0, tag)
            raise
        return f"{indent}<{tag} unit='{shown}'>{number}</{tag}>\n"

    return write


def _union_writer(refs: dict[str, Ref]) -> Callable[[Any, str], str]:
    tags: dict[type, str] = {}

    def write(items: Any, indent: str) -> str:
        body = ""
        for item in items:
            cls = item.__class__
            if cls not in tags:
                tags.update({resolve(ref): tag for tag, ref in refs.items()})
            if cls not in tags:
                raise Fault(f"a {cls.__name__} cannot stand here", nearest("", list(refs)))
            body += writers[cls](item, indent, tags[cls])
        return body

    return write


def _with_extra(extra: Extra, body: str, indent: str) -> str:
    for tag, place, attributes in extra.of_values:
        added = "".join(f" {name}='{STR.write(word)}'" for name, word in attributes)
        body = _with_attribute(body, tag, place, added, indent)
    return body + "".join([item.indented(indent) for item in extra.elements])


def _with_attribute(body: str, tag: str, place: int, added: str, indent: str) -> str:
    """Return the children with more attributes in the start tag of one that is a plain value."""
    # A child stands at this indentation and at a line's start; text cannot hold "<".
    start = -1
    opening = f"{indent}<{tag}"
    for _ in range(place + 1):
        start = _find_line(body, opening, start + 1)
        if start < 0:
            return body
    at = start + len(opening)
    if body.startswith(" ", at):
        at = body.index("'", body.index("'", at) + 1) + 1
    return body[:at] + added + body[at:]


def _find_line(body: str, opening: str, start: int) -> int:
    while (at := body.find(opening, start)) >= 0:
        follows = body[at + len(opening)]
        if (at == 0 or body[at - 1] == "\n") and follows in " />":
            return at
        start = at + 1
    return -1
