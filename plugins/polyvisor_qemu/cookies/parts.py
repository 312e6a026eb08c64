"""The parts of a cookie that are more than a word, and how XML is read and written for it."""

from __future__ import annotations

import attrs

from polyvisor.errors import MigrationError

__all__ = ["Element", "Graphics", "Nbd", "number", "read", "refused"]

#: How deep a cookie's XML may be nested; what is in it of a domain counts.
_DEPTH = 64


@attrs.frozen
class Graphics:
    """Where a screen is on the destination, for clients to move there.

    Attributes:
        kind: ``vnc``, ``spice`` and so on.
        port: its port there.
        listen: its address there.
        tls_port: the encrypted port, of ``spice`` only.
        subject: the subject of the certificate there, or ``None``.
    """

    kind: str
    port: int
    listen: str
    tls_port: int | None = None
    subject: str | None = None


@attrs.frozen
class Nbd:
    """Disks that are copied along.

    Attributes:
        port: where the destination listens for them, or ``None`` as long as it does not.
        disks: target and size in bytes of each.
    """

    port: int | None = None
    disks: tuple[tuple[str, int], ...] = ()


@attrs.define
class Element:
    """An element as it was read: name, attributes, text, children and where it stands."""

    name: str
    given: dict[str, str]
    start: int
    end: int = 0
    text: str = ""
    children: list[Element] = attrs.field(factory=list)

    def first(self, name: str) -> Element | None:
        """Return the first child of a name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> list[Element]:
        """Return the children of a name."""
        return [child for child in self.children if child.name == name]

    def need(self, attribute: str) -> str:
        """Return an attribute that must be there.

        Raises:
            MigrationError: it is not.
        """
        if attribute not in self.given:
            raise refused(f"<{self.name}> has no {attribute}")
        return self.given[attribute]


def read(text: bytes, root: str) -> Element:
    """Read an XML document whose root is known.

    Raises:
        MigrationError: it is damaged, or something else; says how.
    """
    from xml.parsers import expat

    path: list[Element] = []
    found: list[Element] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, given: dict[str, str]) -> None:
        if not path and name != root:
            raise refused(f"it is a <{name[:40]}>, not a <{root}>")
        if len(path) >= _DEPTH:
            raise refused("its XML is nested too deeply")
        element = Element(name, given, parser.CurrentByteIndex)
        (path[-1].children if path else found).append(element)
        path.append(element)

    def data(words: str) -> None:
        path[-1].text += words

    def end(name: str) -> None:
        element = path.pop()
        # What closes it begins here, but an element without content has ended already.
        at = parser.CurrentByteIndex
        element.end = text.find(b">", at) + 1 if text.startswith(b"</", at) else at

    def doctype(*_: object) -> None:
        raise refused("its XML has a document type")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise refused(f"its XML is damaged ({error})") from error
    return found[0]


def number(words: str, what: str, most: int = (1 << 64) - 1) -> int:
    """Return a number that is not negative.

    Raises:
        MigrationError: it is none.
    """
    words = words.strip()
    if not (words.isascii() and words.isdigit() and len(words) <= 20) or int(words) > most:
        raise refused(f"{words[:40]!r} is no {what}")
    return int(words)


def refused(why: str) -> MigrationError:
    """Return the error for a cookie that cannot be used."""
    return MigrationError(
        f"migrate: the other side's cookie cannot be used: {why}", operation="migrate"
    )
