"""Metadata by namespace: one element of an application's own, put in and taken out.

The application's element is given and told without prefix, and kept with one
(virXMLInjectNamespace and virXMLExtractNamespaceXML, ``src/util/virxml.c``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.model._xml import RawXml, escape_attribute

if TYPE_CHECKING:
    from xml.dom.minidom import Element

__all__ = ["element_of", "replaced"]

_PREFIX = re.compile(r"[A-Za-z_][\w.-]*")


def element_of(metadata: RawXml, namespace: str, declared: Mapping[str, str]) -> str | None:
    """Return the first child of a namespace without its prefix, or ``None``.

    Args:
        metadata: the ``<metadata>`` element.
        namespace: the URI.
        declared: declarations that hold around it: ``{"xmlns:app": URI}``.
    """
    for child in _children(_dom(metadata, declared)):
        if child.namespaceURI == namespace:
            return RawXml.parse(_stripped(child, namespace)).replace('"', "'")
    return None


def replaced(
    metadata: RawXml | None,
    namespace: str,
    prefix: str | None,
    xml: str | None,
    declared: Mapping[str, str],
) -> RawXml | None:
    """Return metadata with another element of a namespace, or none; ``None`` if it is empty."""
    kept: list[str] = []
    if metadata is not None:
        children = _children(_dom(metadata, declared))
        kept = [child.toxml() for child in children if child.namespaceURI != namespace]
    if xml is not None:
        if prefix is None or not _PREFIX.fullmatch(prefix):
            raise InvalidArgument(
                f"set metadata of {namespace}: the prefix {prefix!r} is not one that XML allows"
            )
        kept.append(_prefixed(_dom(RawXml.parse(xml)), namespace, prefix))
    return RawXml.parse(f"<metadata>{''.join(kept)}</metadata>") if kept else None


def _dom(xml: RawXml, declared: Mapping[str, str] = MappingProxyType({})) -> Element:
    """Return an element that was read safely before as a tree that knows its namespaces."""
    from xml.dom.minidom import parseString
    from xml.parsers.expat import ExpatError

    around = " ".join(f'{key}="{escape_attribute(uri)}"' for key, uri in declared.items())
    try:
        # RawXml's own parser has refused entities and what is too deep or too large.
        tree: Any = parseString(f"<x {around}>{xml}</x>")  # noqa: S318
    except ExpatError as error:
        raise InvalidArgument(f"metadata: {error}") from error
    found: Element = tree.documentElement.firstChild
    return found


def _children(element: Any) -> list[Any]:
    return [child for child in element.childNodes if child.nodeType == child.ELEMENT_NODE]


def _prefixed(root: Any, namespace: str, prefix: str) -> str:
    for element in (root, *root.getElementsByTagName("*")):
        if element.namespaceURI is None:
            element.tagName = element.nodeName = f"{prefix}:{element.tagName}"
    root.setAttribute(f"xmlns:{prefix}", namespace)
    text: str = root.toxml()
    return text


def _stripped(root: Any, namespace: str) -> str:
    for element in (root, *root.getElementsByTagName("*")):
        if element.namespaceURI == namespace:
            element.tagName = element.nodeName = element.localName
        for name, value in list(element.attributes.items()):
            if value == namespace and (name == "xmlns" or name.startswith("xmlns:")):
                element.removeAttribute(name)
    text: str = root.toxml()
    return text
