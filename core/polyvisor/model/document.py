"""What every document has in common: it is read from XML as a whole and written back."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import attrs

from polyvisor.model._plain import PlainForms
from polyvisor.model.binding import (
    Element,
    Source,
    bindings_of,
    element,
    read_document,
    write_document,
)

__all__ = ["Document", "known_only"]


@element(kw_only=True)
class Document(PlainForms, Element):
    """Base of the root elements: a definition that is a document of its own.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    #: The root element's tag.
    XML_TAG: ClassVar[str]
    #: What the document is called in messages.
    XML_TITLE: ClassVar[str] = "document"

    #: The text that :meth:`to_xml` made; a changed value starts without.
    _xml: str | None = attrs.field(default=None, init=False, eq=False, repr=False)

    @classmethod
    def from_xml(cls, source: Source) -> Self:
        """Read a definition.

        Args:
            source: XML as text or bytes, or the path of a file.

        Raises:
            XmlSyntaxError: it is not well-formed, or hostile.
            SchemaError: it is not what the schema allows; line and element are named.
            StorageError: the file cannot be read.
        """
        return read_document(cls, source, cls.XML_TAG, what=cls.XML_TITLE)

    def to_xml(self) -> str:
        """Return the definition as libvirt would print it.

        Raises:
            SchemaError: a field holds what the schema does not allow.
        """
        xml = self._xml
        if xml is None:
            xml = write_document(self, self.XML_TAG)
            object.__setattr__(self, "_xml", xml)
        return xml

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined.

        That is without what libvirt does not know, and without what only describes a running
        or existing object.
        """
        known: Self = known_only(self)
        return known


def known_only(value: Any) -> Any:
    """Return an element without what it and those below it carry unread."""
    changes: dict[str, Any] = {} if value.extra is None else {"extra": None}
    for name, binding in bindings_of(value.__class__):
        if binding.kind == "child":
            held = getattr(value, name)
            if held.__class__ is tuple:
                kept: Any = tuple(known_only(one) for one in held)
                if any(new is not old for new, old in zip(kept, held, strict=True)):
                    changes[name] = kept
            elif held is not None and (kept := known_only(held)) is not held:
                changes[name] = kept
    return attrs.evolve(value, **changes) if changes else value
