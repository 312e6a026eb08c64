"""From text to a light tree, within limits, and back to text that libvirt would print.

The parser is expat from Python's own library: it is imported in a millisecond
(lxml.etree needs twenty), its handlers let limits be kept while reading, and it
never opens a file or a socket.  A document type declaration is refused, so
there are no entities to expand, no default attributes and nothing external.

Each node keeps the byte position of its start tag, from which the line number of an error and
the exact source of a subtree that must be carried unread are found when they are needed.

Documents that are plain do not come here; see :mod:`polyvisor.model._lexer`.
"""

from __future__ import annotations

import os
import pyexpat
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from polyvisor.errors import StorageError, XmlSyntaxError
from polyvisor.model._node import Node, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_MARKUP", "Source", "parse", "raw", "read_source"]

Source: TypeAlias = "str | bytes | os.PathLike[str]"

#: Twice the longest string that libvirt's wire carries (REMOTE_STRING_MAX, remote_protocol.x).
MAX_BYTES = 8 * 1024 * 1024
#: libxml2 stops here too (xmlParserMaxDepth, parserInternals.h).
MAX_DEPTH = 256
#: Bounds memory: a tag costs some 300 bytes as a node, an attribute 150.
MAX_MARKUP = 250_000

_DECLARED_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_ENCODINGS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii"} | {
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "utf-16": "utf-16",
}


def read_source(source: Source) -> bytes:
    """Return a document as UTF-8 bytes.

    Args:
        source: XML as text or bytes, or the path of a file.

    Raises:
        XmlSyntaxError: it is larger than :data:`MAX_BYTES` or not in an encoding read here.
        StorageError: the file cannot be read.
    """
    if isinstance(source, str):
        if len(source) > MAX_BYTES:
            raise _too_large(len(source))
        try:
            return source.encode()
        except UnicodeEncodeError as error:
            line = source.count("\n", 0, error.start) + 1
            raise _refusal("the text holds a lone surrogate, which XML cannot", line) from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source) if len(source) <= MAX_BYTES else b""
        if not data and len(source):
            raise _too_large(len(source))
        return _as_utf8(data)
    path = os.fspath(source)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(
            f"cannot read the XML file {path}: {error.strerror}; check that it exists and "
            "may be read",
            path=path,
        ) from error
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    return _as_utf8(data)


def _as_utf8(data: bytes) -> bytes:
    encoding = None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif declared := _DECLARED_ENCODING.match(data[:200]):
        name = declared[1].decode().lower()
        encoding = _ENCODINGS.get(name)
        if encoding is None:
            raise _refusal(f"the encoding {name!r} is not read here; write it as UTF-8", 1)
    if encoding is None or encoding == "utf-8":
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeError as error:
        raise _refusal(f"the text is not in the encoding it declares: {error}", 1) from error


def _too_large(size: int) -> XmlSyntaxError:
    return XmlSyntaxError(
        f"the XML document has {size} bytes or more; the limit is {MAX_BYTES}",
        fault="document too large",
    )


def _refusal(fault: str, line: int | None) -> XmlSyntaxError:
    where = f"line {line}: " if line else ""
    return XmlSyntaxError(f"not readable as XML: {where}{fault}", line=line, fault=fault)


def parse(data: bytes) -> Node:
    """Return the root node of a document.

    Args:
        data: from :func:`read_source`.

    Raises:
        XmlSyntaxError: it is not well-formed, or exceeds a limit, or has a DTD.
    """
    if data.count(b"<") + data.count(b"=") > MAX_MARKUP:
        raise _refusal(f"more than {MAX_MARKUP} tags and attributes", None)
    parser = pyexpat.ParserCreate("utf-8")
    document: list[Node] = []
    here = document
    above: list[list[Node]] = []
    push, pop = above.append, above.pop
    pieces: list[str] = []
    clear = pieces.clear

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal here
        clear()
        push(here)
        if len(above) > MAX_DEPTH:
            raise _refusal(
                f"elements are nested deeper than {MAX_DEPTH} levels", parser.CurrentLineNumber
            )
        node = Node()
        node.tag, node.attributes, node.text, node.kept = tag, attributes, None, None
        node.start = parser.CurrentByteIndex
        here.append(node)
        here = node.children = []

    def end(_tag: str) -> None:
        nonlocal here
        leaf = not here
        here = pop()
        if pieces and leaf:
            here[-1].text = pieces[0] if len(pieces) == 1 else "".join(pieces)

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = pieces.append
    _run(parser, data)
    return document[0]


def _run(parser: pyexpat.XMLParserType, data: bytes) -> None:
    def doctype(name: str, system: str | None, public: str | None, subset: bool) -> None:
        if system or public or subset:
            raise _refusal(
                "a document type declaration with contents (entities, external parts) is "
                "refused; remove it",
                parser.CurrentLineNumber,
            )

    def skipped(name: str, _parameter: bool) -> None:
        raise _refusal(
            f"the entity &{name}; is not defined; XML knows &amp; &lt; &gt; &apos; &quot;",
            parser.CurrentLineNumber,
        )

    parser.StartDoctypeDeclHandler = doctype
    parser.SkippedEntityHandler = skipped
    try:
        parser.Parse(data, True)
    except pyexpat.ExpatError as error:
        raise _explained(error, data) from None
    finally:
        # The handlers know the parser: without this, each tree waited for the cycle collector.
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.StartDoctypeDeclHandler = parser.SkippedEntityHandler = None


def _explained(error: pyexpat.ExpatError, data: bytes) -> XmlSyntaxError:
    fault = pyexpat.ErrorString(error.code)
    line = error.lineno
    if not data.strip():
        return _refusal("the document is empty", None)
    if fault.startswith("not well-formed"):
        nul = data.find(b"\0")
        if nul >= 0 and data.count(b"\n", 0, nul) + 1 == line:
            return _refusal("a NUL byte, which XML cannot hold", line)
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            if data.count(b"\n", 0, wrong.start) + 1 == line:
                return _refusal(f"byte 0x{data[wrong.start]:02x} is not valid UTF-8", line)
    return _refusal(f"{fault}, column {error.offset + 1}", line)


# --- writing ----------------------------------------------------------------------------------

_ILLEGAL = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
illegal = re.compile(f"[{_ILLEGAL}]").search
special_in_attribute = re.compile(f"[<>&'\"\t\n\r{_ILLEGAL}]").search
special_in_text = re.compile(f"[<>&'\"\r{_ILLEGAL}]").search
# As virBufferEscapeString does; tabs and line ends besides, since a reader would lose them.
_TEXT = {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;", ord("'"): "&apos;"} | {
    ord('"'): "&quot;",
    ord("\r"): "&#13;",
}
_ATTRIBUTE = _TEXT | {ord("\n"): "&#10;", ord("\t"): "&#9;"}


class Unwritable(ValueError):
    """A string holds a character that XML cannot."""


def escape_attribute(value: str) -> str:
    """Return a value ready to stand between single quotes in XML, escaped as libvirt does.

    Raises:
        ValueError: it holds a character that XML cannot.
    """
    if special_in_attribute(value) is None:
        return value
    _refuse_illegal(value)
    return value.translate(_ATTRIBUTE)


def escape_text(value: str) -> str:
    """Return a value ready to stand between two tags of XML, escaped as libvirt does.

    Raises:
        ValueError: it holds a character that XML cannot.
    """
    if special_in_text(value) is None:
        return value
    _refuse_illegal(value)
    return value.translate(_TEXT)


def _refuse_illegal(value: str) -> None:
    if found := illegal(value):
        raise Unwritable(f"holds the character U+{ord(found[0]):04X}, which XML cannot")


# --- subtrees carried unread ------------------------------------------------------------------


_layout = re.compile(r"(<!--.*?-->|<\?.*?\?>)|\n", re.DOTALL)


class RawXml(str):
    """An element with all below it, as text in one canonical layout.

    Two spaces of indentation, no blank text between elements, one kind of
    quotes: equal trees are equal strings.  Comments, CDATA's text and
    processing instructions are kept.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str | bytes) -> RawXml:
        """Return the canonical form of one element given as text.

        Raises:
            XmlSyntaxError: it is not one well-formed element.
        """
        data = read_source(text)
        return cls(_canonical(data))

    def indented(self, indent: str) -> str:
        """Return its lines, each behind ``indent`` and ended by a line end."""
        # A line end inside a comment is the comment's own; elsewhere it is layout.
        lines = _layout.sub(lambda found: found[1] or "\n" + indent, self)
        return f"{indent}{lines}\n"


def raw(data: bytes, node: Node, quote: str = "'") -> RawXml:
    """Return the source of a node in canonical form.

    Args:
        data: the document that the node is of; nothing where nodes are shared.
        node: the node.
        quote: what stands around attributes: libvirt's own elements have ``'``, metadata ``"``.
    """
    if isinstance(node, Shared):
        return RawXml(_canonical(node.source().encode(), quote, 0))
    return RawXml(_canonical(data, quote, node.start))


_RAW_TEXT = {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;", 13: "&#13;", 10: "&#10;"}


class _Complete(Exception):
    """The element that was asked for has ended."""


def _canonical(data: bytes, quote: str = '"', begin: int | None = None) -> str:
    """Render the document, or the one element of it that starts at ``begin``."""
    parser = pyexpat.ParserCreate("utf-8")
    root: list[Any] = []
    # libxml2 leaves the other kind of quotes as it is, libvirt escapes both.
    escapes = _RAW_TEXT | {9: "&#9;", ord('"'): "&quot;"}
    if quote == "'":
        escapes[ord("'")] = "&apos;"
    above = [root]

    def start(tag: str, attributes: list[str]) -> None:
        content: list[Any] = []
        opening = declarations = ""
        words = iter(attributes)
        for name in words:
            word = next(words)
            if special_in_attribute(word) is not None:
                word = word.translate(escapes)
            if name.startswith("xmlns"):
                declarations += f" {name}={quote}{word}{quote}"
            else:
                opening += f" {name}={quote}{word}{quote}"
        opening = f"{tag}{declarations}{opening}"
        above[-1].append((tag, opening, content))
        above.append(content)
        if len(above) > MAX_DEPTH:
            raise _refusal(f"elements are nested deeper than {MAX_DEPTH} levels", None)

    def end(_tag: str) -> None:
        above.pop()
        if begin is not None and len(above) == 1:
            raise _Complete

    def text(value: str) -> None:
        above[-1].append(value)

    def comment(value: str) -> None:
        if len(above) > 1:
            above[-1].append((None, f"<!--{value}-->", None))

    def instruction(target: str, value: str) -> None:
        if len(above) > 1:
            above[-1].append((None, f"<?{target} {value}?>".replace(" ?>", "?>"), None))

    parser.buffer_text = True
    parser.buffer_size = 65536
    parser.ordered_attributes = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.CommentHandler = comment
    parser.ProcessingInstructionHandler = instruction
    if begin is None:
        _run(parser, data)
    else:
        # Fed in growing pieces, since where it ends is not known and the rest may be long.
        step = 512
        try:
            while True:
                parser.Parse(data[begin : begin + step], False)
                begin += step
                step *= 2
        except _Complete:
            pass
    lines: list[str] = []
    _render(root[0], "", lines.append)
    return "\n".join(lines)


def _render(item: Any, indent: str, line: Callable[[str], None]) -> None:
    tag, opening, content = item
    if content is None:
        line(indent + opening)
        return
    if any(isinstance(part, str) and not part.isspace() for part in content):
        line(indent + _inline(item))
        return
    parts = [part for part in content if not isinstance(part, str)]
    if not parts:
        line(f"{indent}<{opening}/>")
        return
    line(f"{indent}<{opening}>")
    for part in parts:
        _render(part, indent + "  ", line)
    line(f"{indent}</{tag}>")


def _inline(item: Any) -> str:
    if isinstance(item, str):
        return item.translate(_RAW_TEXT)
    tag, opening, content = item
    if content is None:
        return str(opening)
    inner = "".join(map(_inline, content))
    return f"<{opening}>{inner}</{tag}>" if inner else f"<{opening}/>"
