"""Definitions on the command line: read from a file in any form, written in any form."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import InvalidArgument, SchemaError, SpecError, StorageError

if TYPE_CHECKING:
    from polyvisor.connection import SpecSource
    from polyvisor.model import DomainSpec
    from polyvisor.model.document import Document

__all__ = ["FORMS", "Loaded", "forms", "kinds", "load", "load_spec", "written"]

#: Forms of the model's own, beside those of hypervisors.
FORMS = ("xml", "toml", "json")


@attrs.frozen
class Loaded:
    """A definition, and the text that it came from."""

    value: Document
    data: bytes
    form: str
    file: str

    def source(self) -> SpecSource:
        """Return what to define: the XML itself, so that lines can be named, or the value."""
        if self.form == "xml":
            return self.data if self.file == "-" else Path(self.file)
        spec: DomainSpec = self.value  # type: ignore[assignment]
        return spec


def forms() -> list[str]:
    """Return the names of all forms, those of plugins too."""
    from polyvisor import native

    return [*FORMS, *sorted(native.formats())]


def kinds() -> dict[str, type[Document]]:
    """Return the kinds of document by the tag of their root."""
    from polyvisor import model
    from polyvisor.model.document import Document

    found = (getattr(model, name) for name in model.__all__)
    return {
        cls.XML_TAG: cls for cls in found if isinstance(cls, type) and issubclass(cls, Document)
    }


def load(file: str, form: str | None = None, kind: str | None = None) -> Loaded:
    """Read a definition.

    Args:
        file: its path, ``-`` for standard input.
        form: one of :func:`forms`; ``None``: by the end of the name, else by what it says.
        kind: the root's tag; ``None``: what the XML says, else ``domain``.

    Raises:
        SpecError: it is wrong.
        StorageError: it cannot be read.
    """
    data = _bytes(file)
    if not data.strip():
        name = "standard input" if file == "-" else file
        raise SchemaError(f"{name} is empty; a definition is expected", fault="it is empty")
    try:
        return _loaded(data, file, form or _form(file, data), kind)
    except SpecError as error:
        if file != "-" and file not in error.message:
            error.message = f"{file}: {error.message}"
        raise


def _loaded(data: bytes, file: str, form: str, kind: str | None) -> Loaded:
    if form not in FORMS:
        return Loaded(_native(form, file, data), data, form, file)
    cls = _kind(data, form, kind)
    if form == "xml":
        value = cls.from_xml(data)
    else:
        value = cls.from_toml(data) if form == "toml" else cls.from_json(data)
    return Loaded(_anchored(value, file), data, form, file)


def load_spec(file: str) -> Loaded:
    """Read the definition of a domain, in any form."""
    return load(file, kind="domain")


def _bytes(file: str) -> bytes:
    from polyvisor.model._xml import MAX_BYTES

    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with open(file, "rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(
            f"cannot read {file}: {error.strerror}; check that it exists and may be read",
            path=file,
        ) from error


def _form(file: str, data: bytes) -> str:
    end = os.path.splitext(file)[1].lower().lstrip(".")
    if end in FORMS:
        return end
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<" or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "xml"
    if start == b"{":
        return "json"
    from polyvisor import native

    try:
        return native.identify(data, path=file).name
    except SpecError:
        return "toml"


def _kind(data: bytes, form: str, kind: str | None) -> type[Document]:
    known = kinds()
    if kind is None:
        kind = "domain"
        if form == "xml":
            from polyvisor.model._xml import parse, read_source

            kind = parse(read_source(data)).tag
    if kind not in known:
        raise InvalidArgument(
            f"there is no kind of definition {kind!r}; there are {', '.join(sorted(known))}"
        )
    return known[kind]


def _native(form: str, file: str, data: bytes) -> DomainSpec:
    from polyvisor import native

    return native.open_format(form).read(data, path=file)


def _anchored(value: Document, file: str) -> Document:
    from polyvisor.model import DomainSpec

    if file == "-" or not isinstance(value, DomainSpec):
        return value
    from polyvisor.model.paths import anchored

    return anchored(value, os.path.dirname(file))


def written(value: Document, form: str) -> str:
    """Return a definition in one of :func:`forms`.

    Raises:
        SpecError: that form cannot say it.
        InvalidArgument: that form is for domains alone.
    """
    if form == "xml":
        return value.to_xml()
    if form == "toml":
        return value.to_toml()
    if form == "json":
        return value.to_json() + "\n"
    from polyvisor import native
    from polyvisor.model import DomainSpec

    if not isinstance(value, DomainSpec):
        raise InvalidArgument(f"{form} is for domains, not for a {value.XML_TITLE}")
    return native.open_format(form).write(value)
