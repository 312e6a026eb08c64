"""Elements of namespaces of their own: read under any prefix, written under libvirt's.

A class says which it knows, ``XML_NAMESPACES = {"fs": "http://libvirt.org/…/fs/1.0"}``,
and declares its children with that prefix: ``child(MountOptions, "fs:mount_opts")``.
"""

from __future__ import annotations

from collections.abc import Mapping

from polyvisor.model._xml import ATTRIBUTES, CHILDREN, TAG, Node

__all__ = ["adopt", "declare"]


def adopt(node: Node, known: Mapping[str, str]) -> None:
    """Give what is below a node the prefixes under which it is declared here.

    Args:
        node: the element whose class knows the namespaces.
        known: URIs by prefix.
    """
    _adopt(node, known, {prefix: prefix for prefix in known}, deeper=False)
    for name, uri in list(node[ATTRIBUTES].items()):
        # Where the prefix means another namespace and is of no use, it is in the writer's way.
        if name[:6] == "xmlns:" and name[6:] in known and not _used(node, f"{{{uri}}}:"):
            del node[ATTRIBUTES][name]


def _used(node: Node, prefix: str) -> bool:
    return any(below[TAG].startswith(prefix) or _used(below, prefix) for below in node[CHILDREN:])


def _adopt(node: Node, known: Mapping[str, str], scope: dict[str, str], *, deeper: bool) -> None:
    """Rename by ``scope``: what each prefix of the document is here, ``""`` for the default."""
    given = node[ATTRIBUTES]
    if "xmlns" in given or any(name.startswith("xmlns:") for name in given):
        scope = dict(scope)
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
    if deeper:
        theirs, colon, local = node[TAG].rpartition(":")
        prefix = scope.get(theirs)
        if prefix is not None and prefix != theirs:
            node[TAG] = f"{prefix}:{local}"
        elif prefix is None and not colon:
            return
    for below in node[CHILDREN:]:
        if ":" in below[TAG] or "" in scope or "xmlns" in below[ATTRIBUTES]:
            _adopt(below, known, scope, deeper=True)


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
