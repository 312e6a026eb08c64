"""The quick parser: plain XML, in which no piece is looked at twice.

Definitions are alike.  Of a host's thousand machines each has its own name, disks and MAC
addresses, and nearly every other line stands in all of them.  So a document is cut at each
``<``, and a piece (``address type='usb' bus='0' port='1'/>`` and the blanks behind it) that was
met before is found in a table by its text, with what it means.  Elements are put together from
such pieces in the same way: the same parts make the same :class:`~polyvisor.model._node.Shared`
node, and what a reader made of a node stays with it.  That is sound because XML without
entities of its own has no context: the same text of an element is the same element wherever it
stands (prefixes of namespaces are dealt with later, :mod:`polyvisor.model._namespaces`).

*Plain* is what every tool writes: elements with ASCII names, attributes in one kind of quotes,
comments, any text with no entities but the five that XML names.  For all else, and for anything
that is wrong, :class:`NotPlain` is raised and the careful parser (:mod:`polyvisor.model._xml`,
expat) has the word; so errors, their lines and the limits are the careful parser's.  What is
plain, it reads the same; a test holds one against the other.

To learn a piece costs more than to parse it.  So a document that is mostly new is left to the
careful parser too; its pieces are learnt when they are met for the second time.

Memory is bounded: long pieces and large elements are not kept, and of the others those that
have not been met for a while go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import filterfalse
from sys import intern
from typing import Any

from polyvisor.model._node import NOT_READ, Shared, Token
from polyvisor.model._xml import MAX_DEPTH, illegal

__all__ = ["Generations", "NotPlain", "forget", "lex", "tables"]

#: Characters of a document that is read here; a longer one pays for a tree in any case.
MAX_LENGTH = 128 * 1024
#: Characters of a piece, pieces of an element that are kept: more are rarely met twice.
MAX_PIECE = 256
MAX_WEIGHT = 64
#: What stands in a piece that holds a password, which is not kept.
_PASSWORD = "passw"  # noqa: S105 - part of a name, not one
#: Of pieces, of elements and of pieces met once; at most twice as many are kept.
GENERATION = 2048
#: One piece in so many may be new where a document is read here.
NEW = 4

EMPTY, START, END, COMMENT = range(4)


class NotPlain(Exception):
    """The text is for the careful parser."""


_BLANK = " \t\n"
_NAME = "[A-Za-z_:][A-Za-z0-9_.:-]*"
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "apos": "'", "quot": '"'}
_DECLARATIONS = frozenset(
    f"?xml version={quote}1.0{quote}{encoding}?>"
    for quote in "'\""
    for encoding in ("", f" encoding={quote}utf-8{quote}", f" encoding={quote}UTF-8{quote}")
)


class Generations(dict[Any, Any]):
    """A table of what was made from keys, where what is not asked for goes in time.

    Args:
        make: from a key to a value and whether it is worth keeping.
    """

    __slots__ = ("make", "older")

    def __init__(self, make: Callable[[Any], tuple[Any, bool]]) -> None:
        super().__init__()
        self.make = make
        self.older: dict[Any, Any] = {}

    def __missing__(self, key: Any) -> Any:
        value = self.older.get(key)
        if value is None:
            value, keep = self.make(key)
            if not keep:
                return value
        if len(self) >= GENERATION:
            self.older = dict(self)
            self.clear()
        self[key] = value
        return value

    def forget(self) -> None:
        """Empty the table."""
        self.clear()
        self.older = {}


@cache
def _tag() -> Callable[[str], re.Match[str] | None]:
    """Return what matches a tag; compiled when the first document is read here."""
    # Line ends and tabs in a value mean other characters than they are.
    value = r"""(?:'[^'\0-\x1f]*'|"[^"\0-\x1f]*")"""
    # Nothing in it can be matched in two ways. Possessive quantifiers would say so, but let
    # wrong text pass before Python 3.11.5 (https://github.com/python/cpython/issues/106052).
    attribute = rf"[ \t\n]+{_NAME}[ \t\n]*=[ \t\n]*{value}"
    return re.compile(rf"(/?)({_NAME})((?:{attribute})*)[ \t\n]*(/?)>").match


def _entry(piece: str) -> tuple[tuple[int, Any], bool]:
    """Return what kind of piece it is and the token or node that it makes."""
    keep = len(piece) <= MAX_PIECE and _PASSWORD not in piece
    weight = 1 if keep else MAX_WEIGHT + 1
    found = _tag()(piece)
    tail = _comment_tail(piece) if found is None else piece[found.end() :]
    if (tail.strip(_BLANK) or not piece.isascii()) and illegal(piece) is not None:
        raise NotPlain
    if "&" in tail:
        tail = _resolved(tail)
    if found is None:
        return (COMMENT, Token(piece, "", {}, tail, weight)), keep
    ends, tag, words, empty = found.groups()
    if ends and (words or empty):
        raise NotPlain
    attributes = _attributes(words) if words else {}
    tag = intern(tag)
    if not empty:
        return (END if ends else START, Token(piece, tag, attributes, tail, weight)), keep
    node = Shared()
    node.tag, node.attributes, node.children = tag, attributes, ()
    node.text, node.start, node.kept = None, -1, NOT_READ if keep else None
    node.parts, node.tail, node.depth, node.weight = piece, tail, 1, weight
    return (EMPTY, node), keep


def _attributes(words: str) -> dict[str, str]:
    """Return the attributes of a start tag, which are known to be well-formed each by itself."""
    quote = "'" if "'" in words else '"'
    parts = words.split(quote)
    pairs = zip(parts[:-1:2], parts[1::2], strict=True)
    attributes = {intern(name.strip(" \t\n=")): word for name, word in pairs}
    if 2 * len(attributes) + 1 < len(parts) or (quote == "'" and '"' in words):
        raise NotPlain
    if "&" in words:
        return {name: _resolved(word) for name, word in attributes.items()}
    return attributes


def _resolved(text: str) -> str:
    """Return what a text with entities stands for."""
    resolved, *rest = text.split("&")
    for part in rest:
        name, end, behind = part.partition(";")
        if not end or name not in _ENTITIES:
            raise NotPlain
        resolved += _ENTITIES[name] + behind
    return resolved


def _comment_tail(piece: str) -> str:
    """Return what stands behind a comment."""
    _, end, tail = piece[3:].partition("--")
    if piece[:3] != "!--" or not end or tail[:1] != ">" or illegal(piece) is not None:
        raise NotPlain
    return tail[1:]


def _element(parts: tuple[Any, ...]) -> tuple[Shared, bool]:
    """Return the node made of a start tag, what is in it, and an end tag."""
    first, *middle, last = parts
    if first.tag != last.tag:
        raise NotPlain
    weight, depth, text = first.weight + last.weight, 0, first.tail
    children = []
    for part in middle:
        weight += part.weight
        if part.__class__ is Shared:
            children.append(part)
            depth = max(depth, part.depth)
        else:
            text += part.tail
    if depth >= MAX_DEPTH:
        raise NotPlain
    keep = weight <= MAX_WEIGHT
    node = Shared()
    node.tag, node.attributes, node.children = first.tag, first.attributes, children
    node.text, node.start = None if children else text or None, -1
    node.kept = NOT_READ if keep else None
    node.parts, node.tail, node.depth, node.weight = parts, last.tail, depth + 1, weight
    return node, keep


_entries = Generations(_entry)
_elements = Generations(_element)
#: Hashes of pieces, since a document that is met once need not be remembered itself.
_met_once = Generations(lambda key: (key, True))


def _is_strange(pieces: list[str]) -> bool:
    """Say whether too much of a document was never met before; from now on it was."""
    unknown = set(filterfalse(_entries.__contains__, pieces))
    if NEW * len(unknown) <= len(pieces):
        return False
    if len(unknown) > GENERATION:
        return True
    older = _entries.older
    hashes = {hash(piece) for piece in unknown if piece not in older}
    new = sum(1 for one in hashes if one not in _met_once and one not in _met_once.older)
    for one in hashes:
        _met_once[one]
    return NEW * new > len(pieces)


def lex(text: str, *, new: bool = False) -> Shared:
    """Return the root node of a document.

    Args:
        text: the document.
        new: whether to read it even though it is mostly new.

    Raises:
        NotPlain: it has what is not read here, or is not well-formed, or exceeds a limit, or is
            mostly new.
    """
    # Any markup in what is not longer than this is within the other parser's limit.
    if len(text) > MAX_LENGTH or "\r" in text or "]]>" in text:
        raise NotPlain
    before, *pieces = text.split("<")
    if pieces and pieces[0][:1] == "?":
        if before or pieces[0].rstrip(_BLANK) not in _DECLARATIONS:
            raise NotPlain
        del pieces[0]
    if not new and _is_strange(pieces):
        raise NotPlain
    here: list[Any] = []
    document = here
    append = here.append
    above: list[list[Any]] = []
    entries, elements = _entries, _elements
    try:
        for piece in pieces:
            kind, thing = entries[piece]
            if kind == EMPTY:
                append(thing)
            elif kind == START:
                above.append(here)
                here = [thing]
                append = here.append
            elif kind == END:
                append(thing)
                parts = tuple(here)
                here = above.pop()
                append = here.append
                append(elements[parts])
            else:
                append(thing)
    except IndexError:
        # An end tag that ends nothing.
        raise NotPlain from None
    roots = [part for part in document if part.__class__ is Shared]
    if above or len(roots) != 1 or (before + "".join([p.tail for p in document])).strip(_BLANK):
        raise NotPlain
    root: Shared = roots[0]
    return root


def tables() -> tuple[Generations, Generations, Generations]:
    """Return what is remembered: by piece, by the parts of elements, and by a piece's hash."""
    return _entries, _elements, _met_once


def forget() -> None:
    """Forget all that was met; what comes next is read as the first of its kind."""
    for table in tables():
        table.forget()
