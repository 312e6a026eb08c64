"""What every document has in common: it is read from XML as a whole and written back."""

from __future__ import annotations

from typing import ClassVar, Self

import attrs

from polyvisor.model._plain import PlainForms
from polyvisor.model.binding import Element, Source, element, read_document, write_document

__all__ = ["Document"]


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
