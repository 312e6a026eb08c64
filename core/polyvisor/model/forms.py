"""The same value as plain data: dict, JSON and TOML, and their JSON Schema.

A dict has a key for each field that is not at its default, under the field's name.
Values are what JSON has: elements are dicts, lists of elements lists of dicts, UUIDs and
carried XML are text. Sizes are bytes as ``int``; text such as ``"2 GiB"`` is understood
as well. An element of which only the text is said may be that text or number alone:
``vcpu = 2``. TOML is written in these short forms. Where one list holds elements of several kinds,
each dict says its tag under ``"element"``.

What an element carries without being typed stands under ``"extra"``, so that nothing is
lost on the way to any of these forms and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import attrs

from polyvisor.errors import SchemaError, XmlSyntaxError
from polyvisor.model import _codecs
from polyvisor.model._codecs import BYTES, UUID_TEXT, Fault, nearest, unit_factor
from polyvisor.model._xml import MAX_BYTES, RawXml, parse, raw, read_source
from polyvisor.model.binding import (
    Binding,
    Choice,
    Element,
    Extra,
    bindings_of,
    resolve,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "carried",
    "from_dict",
    "from_json",
    "from_toml",
    "human_size",
    "is_size",
    "json_schema",
    "parse_size",
    "schema",
    "to_dict",
    "to_json",
    "to_toml",
]

E = TypeVar("E", bound=Element)

#: The key that says which element a dict stands for, where several kinds may stand.
TAG_KEY = "element"
EXTRA_KEY = "extra"
#: Far beyond any definition, far below Python's own limit.
_DEEPEST = 100


# --- sizes ------------------------------------------------------------------------------------

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_size = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII).fullmatch


def human_size(size: int) -> str:
    """Return a size as a whole number of the largest unit that divides it: ``"2 GiB"``."""
    unit = 0
    while size and size % 1024 == 0 and unit < len(_UNITS) - 1:
        size //= 1024
        unit += 1
    return f"{size} {_UNITS[unit]}"


def parse_size(text: str | int) -> int:
    """Return the bytes that ``"2 GiB"``, ``"1.5GB"`` or ``4096`` mean.

    A number without a unit is bytes.

    Raises:
        SchemaError: it is not a size.
    """
    try:
        return _read_size(text)
    except Fault as fault:
        raise SchemaError(f"{fault.fault}; {fault.advice}", fault=fault.fault) from None


def _read_size(given: object, step: int = 1) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        found = _size(given) if isinstance(given, str) else None
        if found is None:
            raise Fault(f"{given!r} is not a size", "write it like '2 GiB' or as bytes")
        from fractions import Fraction

        exact = Fraction(found[1]) * unit_factor(found[2] or "bytes")
        if exact.denominator != 1:
            raise Fault(f"{given!r} is not a whole number of bytes", "use a smaller unit")
        size = int(exact)
    if size < 0 or -(-size // step) * step > _codecs.MAX_SIZE:
        raise Fault(f"{given!r} is out of range", "sizes are 0 up to below 8 EiB")
    return -(-size // step) * step


def is_size(binding: Binding) -> bool:
    """Say whether a field holds a size in bytes."""
    return binding.kind == "size" or binding.codec is BYTES


# --- to plain data ----------------------------------------------------------------------------


def to_dict(value: Element, *, sizes: Callable[[int], Any] | None = None) -> dict[str, Any]:
    """Return a value as plain data.

    Args:
        value: any element.
        sizes: what to make of sizes, such as :func:`human_size`; ``None``: bytes.
    """
    return _table(value, sizes, None)


def _table(
    value: Element, sizes: Callable[[int], Any] | None, decides: str | None
) -> dict[str, Any]:
    """Return an element as a dict; ``decides``: the attribute that tells its class."""
    data: dict[str, Any] = {}
    cls = value.__class__
    defaults = {field.name: field.default for field in attrs.fields(cls)}
    for name, binding in bindings_of(cls):
        held = getattr(value, name)
        tells = binding.kind == "attr" and binding.name == decides
        if held is None or (held == defaults[name] and not tells):
            continue
        if sizes is not None and is_size(binding):
            data[name] = [sizes(one) for one in held] if binding.many else sizes(held)
        elif isinstance(binding.ref, dict):
            tags = {resolve(ref): tag for tag, ref in binding.ref.items()}
            data[name] = [
                {TAG_KEY: tags[item.__class__], **_table(item, sizes, None)} for item in held
            ]
        else:
            by = binding.ref.by if isinstance(binding.ref, Choice) else None
            data[name] = _plain(held, sizes, by)
    if value.extra is not None:
        data[EXTRA_KEY] = _plain_extra(value.extra)
    return data


def _plain(held: Any, sizes: Callable[[int], Any] | None, decides: str | None) -> Any:
    if isinstance(held, Element):
        table = _table(held, sizes, decides)
        # The short form of what is only its text: ``vcpu = 2``.
        if sizes is not None and decides is None and [*table] == [text_field(held.__class__)]:
            return next(iter(table.values()))
        return table
    if isinstance(held, tuple):
        return [_plain(item, sizes, decides) for item in held]
    if isinstance(held, UUID):
        return str(held)
    if isinstance(held, str):
        return str(held)
    return held


_text_fields: dict[type, str | None] = {}


def text_field(cls: type[Element]) -> str | None:
    """Return the field that holds an element's own text, if it has one."""
    if cls not in _text_fields:
        named = (name for name, binding in bindings_of(cls) if binding.kind == "text")
        _text_fields[cls] = next(named, None)
    return _text_fields[cls]


def _plain_extra(extra: Extra) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if extra.attributes:
        data["attributes"] = dict(extra.attributes)
    if extra.elements:
        data["elements"] = [str(element) for element in extra.elements]
    if extra.of_values:
        data["of_values"] = [
            {TAG_KEY: tag, "place": place, "attributes": dict(attributes)}
            for tag, place, attributes in extra.of_values
        ]
    return data


# --- from plain data --------------------------------------------------------------------------


def from_dict(cls: type[E], data: Mapping[str, Any], *, path: str = "") -> E:
    """Return the value that plain data describes.

    Args:
        cls: the element's class.
        data: as :func:`to_dict` gives it.
        path: where the data stands, for messages.

    Raises:
        SchemaError: a key is unknown, or a value is not what the schema allows; names
            the place, the fault and what would be right.
    """
    if not isinstance(data, Mapping):
        raise _error(path or cls.__name__, f"{_shown(data)} is not a table", "give keys and values")
    if path.count(".") > _DEEPEST:
        raise _error(path[:60] + "…", f"tables are nested deeper than {_DEEPEST} levels", "")
    known = dict(bindings_of(cls))
    values: dict[str, Any] = {}
    for key, given in data.items():
        where = f"{path}.{key}" if path else str(key)
        if key == EXTRA_KEY:
            values[key] = _read_extra(given, where)
            continue
        binding = known.get(key)
        if binding is None:
            raise _error(where, "there is no such key", nearest(str(key), [*known, EXTRA_KEY]))
        values[str(key)] = _read_field(binding, given, where)
    for name, binding in known.items():
        if binding.required and name not in values:
            raise _error(path or cls.__name__, f"{name} is missing", "add it")
    return cls(**values)


def _read_field(binding: Binding, given: Any, where: str) -> Any:
    if not binding.many:
        return _read_one(binding, given, where)
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise _error(where, f"{_shown(given)} is not a list", "put it in brackets")
    return tuple(_read_one(binding, item, f"{where}[{i}]") for i, item in enumerate(given))


def _read_one(binding: Binding, given: Any, where: str) -> Any:
    try:
        if binding.kind == "child":
            return _read_child(binding, given, where)
        if binding.kind == "flag":
            if not isinstance(given, bool):
                raise Fault(f"{given!r} is not true or false")
            return given
        if binding.kind == "raw":
            return _read_raw(binding.name, given)
        if is_size(binding):
            rounded = binding.codec is BYTES or binding.unit == "KiB"
            return _read_size(given, 1024 if rounded else 1)
        if binding.codec is UUID_TEXT and isinstance(given, str):
            assert UUID_TEXT.read is not None
            return UUID_TEXT.read(given)
        if isinstance(given, list):
            given = tuple(given)
        # In Python True is 1; here they are different answers.
        wants = binding.codec.schema.get("type")
        if (wants == "boolean") is not isinstance(given, bool) and wants in _TRUTH_MATTERS:
            raise Fault(f"{given!r} is not {_TRUTH_MATTERS[wants]}")
        binding.codec.write(given)
    except Fault as fault:
        raise _error(where, fault.fault, fault.advice) from None
    except (AttributeError, TypeError):
        raise _error(where, f"{_shown(given)} is not what stands here", "") from None
    return given


def _read_raw(tag: str | None, given: Any) -> RawXml:
    try:
        if parse(read_source(str(given))).tag != tag:
            raise Fault(f"{_shown(given)} is another element", f"write <{tag}>…</{tag}>")
        return RawXml.parse(given)
    except XmlSyntaxError as error:
        raise Fault(error.message, f"write <{tag}>…</{tag}>") from None


_TRUTH_MATTERS = {"boolean": "true or false", "integer": "a whole number"}


def _read_child(binding: Binding, given: Any, where: str) -> Element:
    ref = binding.ref
    assert ref is not None
    if isinstance(ref, dict):
        if not isinstance(given, Mapping) or TAG_KEY not in given:
            raise _error(where, f"{TAG_KEY} is missing", nearest("", list(ref)))
        tag = given[TAG_KEY]
        if tag not in ref:
            raise _error(where, f"{tag!r} cannot stand here", nearest(str(tag), list(ref)))
        ref = ref[tag]
        given = {key: item for key, item in given.items() if key != TAG_KEY}
    if isinstance(ref, Choice):
        word = given.get(_field_of(ref), ref.default) if isinstance(given, Mapping) else None
        if word not in ref.refs:
            fault = f"{ref.by} is missing" if word is None else f"{word!r} is not a known {ref.by}"
            raise _error(where, fault, nearest(str(word or ""), list(ref.refs)))
        ref = ref.refs[word]
    cls = resolve(ref)
    if isinstance(given, (str, int, float)) and (name := text_field(cls)) is not None:
        given = {name: given}
    return from_dict(cls, given, path=where)


def _field_of(choice: Choice) -> str:
    """Return the name of the field that holds the attribute which decides the class."""
    cls = resolve(next(iter(choice.refs.values())))
    for name, binding in bindings_of(cls):
        if binding.kind == "attr" and binding.name == choice.by:
            return name
    return choice.by


def _read_extra(given: Any, where: str) -> Extra:
    try:
        return Extra(
            tuple(given.get("attributes", {}).items()),
            tuple(carried(text) for text in given.get("elements", ())),
            tuple(
                (item[TAG_KEY], item["place"], tuple(item["attributes"].items()))
                for item in given.get("of_values", ())
            ),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise _error(where, f"this is not what extra holds ({error!r})", "") from None


def carried(text: str) -> RawXml:
    """Return an element as the reader of XML carries one that is not typed.

    Raises:
        XmlSyntaxError: it is not one well-formed element.
    """
    data = read_source(text)
    return raw(data, parse(data))


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _error(where: str, fault: str, advice: str) -> SchemaError:
    end = f"; {advice}" if advice else ""
    return SchemaError(f"{where}: {fault}{end}", element=where, fault=fault)


# --- JSON and TOML ----------------------------------------------------------------------------


def to_json(value: Element, *, indent: int | None = 2) -> str:
    """Return a value as JSON text."""
    import json

    return json.dumps(to_dict(value), indent=indent, ensure_ascii=False)


def from_json(cls: type[E], text: str | bytes) -> E:
    """Return the value that JSON text describes.

    Raises:
        SchemaError: it is not JSON, or not what the schema allows.
    """
    import json

    _bounded(text)
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise SchemaError(f"this is not JSON: {error}", line=line, fault=str(error)) from None
    return from_dict(cls, data)


def _bounded(text: str | bytes) -> None:
    if len(text) > MAX_BYTES:
        raise SchemaError(
            f"the definition has {len(text)} bytes or more; the limit is {MAX_BYTES}",
            fault="document too large",
        )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; a key that stands twice has no meaning."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_shown(twice)} stands twice in one object")
    return found


_strings = re.compile(r"""\"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")


def _shallow(text: str) -> None:
    """Refuse keys such as ``a.a.a…``, on which the parser spends time with their square."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _DEEPEST and _strings.sub("", line).count(".") > _DEEPEST:
            raise SchemaError(
                f"line {number}: a key has more than {_DEEPEST} parts",
                line=number,
                fault="key too deep",
            )


def to_toml(value: Element) -> str:
    """Return a value as TOML text, with sizes such as ``"2 GiB"``."""
    import tomli_w

    return tomli_w.dumps(to_dict(value, sizes=human_size), multiline_strings=False)


def from_toml(cls: type[E], text: str | bytes) -> E:
    """Return the value that TOML text describes.

    Raises:
        SchemaError: it is not TOML, or not what the schema allows.
    """
    import tomllib

    _bounded(text)
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        _shallow(decoded)
        data = tomllib.loads(decoded)
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line ([0-9]+)", str(error))
        raise SchemaError(
            f"this is not TOML: {error}", line=int(line[1]) if line else None, fault=str(error)
        ) from None
    return from_dict(cls, data)


# --- JSON Schema ------------------------------------------------------------------------------


def schema(cls: type[Element] | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a document's plain form, for editors and other programs.

    Args:
        cls: the document's class; ``None``: :class:`~polyvisor.model.DomainSpec`.
    """
    if cls is None:
        from polyvisor.model.domain import DomainSpec

        cls = DomainSpec
    return json_schema(cls, title=f"polyvisor {cls.__name__}")


def json_schema(cls: type[Element], *, title: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a class's plain data, for editors.

    Args:
        cls: the root element's class.
        title: the document's name.
    """
    definitions: dict[str, Any] = {}
    reference = _definition(cls, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }


_SIZE_SCHEMA = {
    "description": "bytes, or a number and a unit",
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?[A-Za-z]*$"},
    ],
}


def _definition(cls: type[Element], definitions: dict[str, Any]) -> dict[str, Any]:
    name = f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
    if name not in definitions:
        entry: dict[str, Any] = {"type": "object", "additionalProperties": False}
        definitions[name] = entry
        if cls.__doc__:
            entry["description"] = cls.__doc__.partition("\n")[0]
        entry["properties"] = properties = {}
        for field, binding in bindings_of(cls):
            one = _field_schema(binding, definitions)
            properties[field] = {"type": "array", "items": one} if binding.many else one
        properties[EXTRA_KEY] = {"type": "object", "description": "carried without being typed"}
        required = [field for field, binding in bindings_of(cls) if binding.required]
        if required:
            entry["required"] = required
    return {"$ref": f"#/$defs/{name}"}


def _field_schema(binding: Binding, definitions: dict[str, Any]) -> dict[str, Any]:
    if binding.kind == "child":
        ref = binding.ref
        if isinstance(ref, dict):
            return {
                "oneOf": [
                    {
                        "allOf": [_open(_child_schema(one, definitions), definitions)],
                        "properties": {TAG_KEY: {"const": tag}},
                        "required": [TAG_KEY],
                    }
                    for tag, one in ref.items()
                ]
            }
        assert ref is not None
        whole = _child_schema(ref, definitions)
        cls = None if isinstance(ref, Choice) else resolve(ref)
        name = None if cls is None else text_field(cls)
        if cls is None or name is None:
            return whole
        return {"anyOf": [whole, _field_schema(dict(bindings_of(cls))[name], definitions)]}
    if binding.kind == "flag":
        return {"type": "boolean"}
    if binding.kind == "raw":
        return {"type": "string", "contentMediaType": "application/xml"}
    if is_size(binding):
        return _SIZE_SCHEMA
    return dict(binding.codec.schema)


def _open(reference: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Let a definition that stands in a list of several kinds have the tag's key too."""
    for one in reference.get("anyOf", [reference]):
        name = one["$ref"].rpartition("/")[2]
        definitions[name]["properties"].setdefault(TAG_KEY, {"type": "string"})
    return reference


def _child_schema(ref: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if isinstance(ref, Choice):
        classes = dict.fromkeys(resolve(one) for one in ref.refs.values())
        return {"anyOf": [_definition(one, definitions) for one in classes]}
    return _definition(resolve(ref), definitions)
