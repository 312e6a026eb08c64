"""Elements of namespaces of their own: read under any prefix, written under libvirt's.

A class says which it knows, ``XML_NAMESPACES = {"fs": "http://libvirt.org/…/fs/1.0"}``,
and declares its children with that prefix: ``child(MountOptions, "fs:mount_opts")``.
"""

from __future__ import annotations

from collections.abc import Mapping

from polyvisor.model._node import Node, renamed

__all__ = ["adopt", "declare"]


def adopt(node: Node, known: Mapping[str, str]) -> Node:
    """Return a node below which prefixes are those under which elements are declared here.

    Args:
        node: the element whose class knows the namespaces.
        known: URIs by prefix.
    """
    if not declares(node.attributes) and not any(map(_concerned, node.children)):
        return node
    adopted = _adopt(node, known, {prefix: prefix for prefix in known}, deeper=False)
    # Where the prefix means another namespace and is of no use, it is in the writer's way.
    attributes = {
        name: uri
        for name, uri in adopted.attributes.items()
        if name[:6] != "xmlns:" or name[6:] not in known or _used(adopted, f"{{{uri}}}:")
    }
    return renamed(adopted, adopted.tag, attributes, adopted.children)


def declares(attributes: Mapping[str, str]) -> bool:
    """Say whether attributes declare a namespace."""
    return any(name == "xmlns" or name.startswith("xmlns:") for name in attributes)


def _concerned(node: Node) -> bool:
    return ":" in node.tag or "xmlns" in node.attributes


def _used(node: Node, prefix: str) -> bool:
    return any(below.tag.startswith(prefix) or _used(below, prefix) for below in node.children)


def _adopt(node: Node, known: Mapping[str, str], scope: dict[str, str], *, deeper: bool) -> Node:
    """Rename by ``scope``: what each prefix of the document is here, ``""`` for the default."""
    given = node.attributes
    if declares(given):
        given, scope = dict(given), dict(scope)
        ours = {uri: prefix for prefix, uri in known.items()}
        for name, uri in list(given.items()):
            if name == "xmlns" or name.startswith("xmlns:"):
                theirs = name[6:]
                prefix = ours.get(uri)
                if prefix is not None and prefix == theirs:
                    scope[theirs] = prefix
                    del given[name]
                elif prefix is not None and f"xmlns:{prefix}" not in given:
                    scope[theirs] = prefix
                elif theirs in known:
                    # Another's namespace under this prefix: nothing below is meant.
                    scope[theirs] = f"{{{uri}}}"
                else:
                    scope.pop(theirs, None)
    tag = node.tag
    children = node.children
    if deeper:
        theirs, colon, local = tag.rpartition(":")
        prefix = scope.get(theirs)
        if prefix is not None and prefix != theirs:
            tag = f"{prefix}:{local}"
        elif prefix is None and not colon:
            return renamed(node, tag, given, children)
    children = [
        _adopt(below, known, scope, deeper=True) if "" in scope or _concerned(below) else below
        for below in children
    ]
    return renamed(node, tag, given, children)


def declare(head: str, body: str, known: Mapping[str, str]) -> str:
    """Return a start tag that declares the namespaces used below it.

    Args:
        head: the start tag without its end.
        body: the children.
        known: URIs by prefix.
    """
    for prefix, uri in known.items():
        if f"<{prefix}:" in body and f" xmlns:{prefix}=" not in head:
            head += f" xmlns:{prefix}='{uri}'"
    return head
