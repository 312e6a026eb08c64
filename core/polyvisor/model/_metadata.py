"""Looking into metadata, which the model otherwise carries unread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polyvisor.model._xml import RawXml, escape_attribute, parse, raw

if TYPE_CHECKING:
    from polyvisor.model._node import Node

__all__ = ["find", "sanitised"]


def find(
    metadata: RawXml, namespace: str, name: str, declared: Mapping[str, str]
) -> tuple[dict[str, str], str, RawXml] | None:
    """Return attributes, text and XML of the first such child, or None.

    Args:
        metadata: the ``<metadata>`` element.
        namespace: the child's namespace URI.
        name: the child's name without prefix.
        declared: namespace declarations that hold for the metadata: ``{"xmlns:app": URI}``.
    """
    data = metadata.encode()
    root = parse(data)

    def scopes(node: Node) -> tuple[Mapping[str, str], ...]:
        here: tuple[Mapping[str, str], ...] = (root.attributes, declared)
        return here if node is root else (node.attributes, *here)

    for node in root.children:
        prefix, _, local = node.tag.rpartition(":")
        declaration = f"xmlns:{prefix}" if prefix else "xmlns"
        uri = next((a[declaration] for a in scopes(node) if declaration in a), None)
        if local == name and uri == namespace:
            attributes = {
                key: word
                for key, word in node.attributes.items()
                if key != "xmlns" and not key.startswith("xmlns:")
            }
            return attributes, node.text or "", _alone(raw(data, node, '"'), node, scopes(root))
    return None


def _alone(xml: RawXml, node: Node, scopes: tuple[Mapping[str, str], ...]) -> RawXml:
    """Return an element that also declares the namespaces which hold around it and it uses."""
    known: dict[str, str] = {}
    for scope in reversed(scopes):
        known.update((key, uri) for key, uri in scope.items() if key.startswith("xmlns:"))
    for key, uri in known.items():
        prefix = key[6:]
        if key not in node.attributes and (f"<{prefix}:" in xml or f" {prefix}:" in xml):
            at = 1 + len(node.tag)
            xml = RawXml(f'{xml[:at]} {key}="{escape_attribute(uri)}"{xml[at:]}')
    return xml


def sanitised(metadata: RawXml) -> RawXml | None:
    """Return metadata with one element of each namespace (virXMLNodeSanitizeNamespaces).

    Args:
        metadata: the ``<metadata>`` element.
    """
    data = metadata.encode()
    root = parse(data)
    seen: set[str | None] = {None}
    kept = []
    for node in root.children:
        prefix, colon, _ = node.tag.rpartition(":")
        declaration = f"xmlns:{prefix}" if colon else "xmlns"
        uri = node.attributes.get(declaration, root.attributes.get(declaration))
        if uri not in seen:
            seen.add(uri)
            kept.append(raw(data, node, '"'))
    if len(kept) == len(root.children):
        return metadata
    head = metadata[: metadata.index(">")].rstrip("/")
    return RawXml.parse(f"{head}>{''.join(kept)}</{root.tag}>") if kept else None
