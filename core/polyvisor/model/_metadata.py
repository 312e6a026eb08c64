"""Looking into metadata, which the model otherwise carries unread."""

from __future__ import annotations

from polyvisor.model._xml import ATTRIBUTES, CHILDREN, TAG, TEXT, RawXml, parse, raw

__all__ = ["find"]


def find(metadata: RawXml, namespace: str, name: str) -> tuple[dict[str, str], str, RawXml] | None:
    """Return attributes, text and XML of the first such child, or None.

    Args:
        metadata: the ``<metadata>`` element.
        namespace: the child's namespace URI.
        name: the child's name without prefix.
    """
    data = metadata.encode()
    root = parse(data)
    for node in root[CHILDREN:]:
        prefix, _, local = node[TAG].rpartition(":")
        declaration = f"xmlns:{prefix}" if prefix else "xmlns"
        uri = node[ATTRIBUTES].get(declaration, root[ATTRIBUTES].get(declaration))
        if local == name and uri == namespace:
            attributes = {
                key: word
                for key, word in node[ATTRIBUTES].items()
                if key != "xmlns" and not key.startswith("xmlns:")
            }
            return attributes, node[TEXT] or "", raw(data, node)
    return None
