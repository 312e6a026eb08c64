"""From the path of an element to its line."""

from __future__ import annotations

from collections.abc import Iterable

from polyvisor.model._node import Node, line_of
from polyvisor.model._xml import Source, parse, read_source

__all__ = ["lines_of"]


def lines_of(source: Source, paths: Iterable[str]) -> list[int]:
    """Return the 1-based lines of elements of a document.

    Args:
        source: the document.
        paths: such as ``"domain/devices/disk[2]/target"``; where one leads nowhere, the last
            element on the way counts.
    """
    data = read_source(source)
    root = parse(data)
    return [line_of(data, _node(root, path)) for path in paths]


def _node(root: Node, path: str) -> Node:
    here = root
    for step in path.split("/")[1:]:
        tag, _, number = step.rstrip("]").partition("[")
        twins = [below for below in here.children if below.tag == tag]
        if len(twins) < int(number or 1):
            break
        here = twins[int(number or 1) - 1]
    return here
