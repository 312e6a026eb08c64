"""The tree between text and values: what the two parsers make and the readers read.

A :class:`Node` of the careful parser (:mod:`polyvisor.model._xml`) belongs to one document and
knows where it starts in it.  A :class:`Shared` one of the quick parser
(:mod:`polyvisor.model._lexer`) is the same object wherever the same text stands, in whatever
document: it has no place, but its own text, and it keeps the value that was read from it.

Nodes are not changed once made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["NOT_READ", "Node", "Shared", "Token", "line_of", "path_of", "recalled", "renamed"]

#: What stands in :attr:`Node.kept` before anything was read from a shared node.
NOT_READ: tuple[Any, Any] = (None, None)


class Node:
    """An element.

    Attributes:
        tag: its name, with prefix.
        attributes: in document order.
        text: of an element without children; None if there is none.
        children: the elements directly in it.
        start: the byte position of its start tag; -1 for a shared one.
        kept: the function that read it last and what came of it; None: nothing is kept.
    """

    __slots__ = ("attributes", "children", "kept", "start", "tag", "text")

    tag: str
    attributes: dict[str, str]
    text: str | None
    children: Sequence[Node]
    start: int
    kept: tuple[Any, Any] | None


class Token:
    """A piece of text, from one ``<`` to the next, that is not an element by itself.

    Attributes:
        piece: the text behind the ``<``.
        tag: its name; empty for a comment.
        attributes: of a start tag.
        tail: what stands behind its ``>``.
        weight: 1, or more than any shared node has if it is too long to be kept.
    """

    __slots__ = ("attributes", "piece", "tag", "tail", "weight")

    def __init__(
        self, piece: str, tag: str, attributes: dict[str, str], tail: str, weight: int
    ) -> None:
        self.piece = piece
        self.tag = tag
        self.attributes = attributes
        self.tail = tail
        self.weight = weight


class Shared(Node):
    """An element that is the same object wherever it stands.

    Attributes:
        parts: the one piece that it is, or the tokens and nodes that it is made of.
        tail: what stands behind it.
        depth: levels of elements, itself included.
        weight: pieces.
    """

    __slots__ = ("depth", "parts", "tail", "weight")

    parts: str | tuple[Token | Shared, ...]
    tail: str
    depth: int
    weight: int

    def source(self) -> str:
        """Return its text, with what stands behind it."""
        pieces: list[str] = []
        self._collect(pieces.append)
        return "<" + "<".join(pieces)

    def _collect(self, found: Callable[[str], None]) -> None:
        if isinstance(self.parts, str):
            found(self.parts)
            return
        for part in self.parts:
            if isinstance(part, Shared):
                part._collect(found)
            else:
                found(part.piece)


def renamed(node: Node, tag: str, attributes: dict[str, str], children: Sequence[Node]) -> Node:
    """Return a node that stands for another under other names; nothing of it is kept."""
    new = node.__class__()
    new.tag, new.attributes, new.children = tag, attributes, children
    new.text, new.start, new.kept = node.text, node.start, None
    if isinstance(node, Shared) and isinstance(new, Shared):
        new.parts, new.tail, new.depth, new.weight = node.parts, node.tail, node.depth, node.weight
    return new


def recalled(node: Node, data: bytes, read: Callable[[Node, bytes], Any]) -> Any:
    """Return what a function reads from a node, or read from it before."""
    kept = node.kept
    if kept is None:
        return read(node, data)
    if kept[0] is read:
        return kept[1]
    value = read(node, data)
    if node.kept is kept:
        # A pair in one store: any thread that looks sees function and value that belong together.
        node.kept = read, value
    return value


def line_of(data: bytes, node: Node) -> int:
    """Return the 1-based line of a node's start tag."""
    return data.count(b"\n", 0, node.start) + 1


def path_of(root: Node, node: Node) -> str:
    """Return where a node stands, as ``domain/devices/disk[2]/target``."""
    trail = [root.tag]
    here = root
    while here.start != node.start:
        children = here.children
        # The subtree that holds the node is the last one that starts no later than it.
        below = next((c for c in reversed(children) if c.start <= node.start), None)
        if below is None:
            break
        twins = [child for child in children if child.tag == below.tag]
        number = next(n for n, child in enumerate(twins, 1) if child is below)
        trail.append(f"{below.tag}[{number}]" if len(twins) > 1 else below.tag)
        here = below
    return "/".join(trail)
