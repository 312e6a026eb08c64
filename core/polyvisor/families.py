"""What the collections and handles of all families of host objects have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from polyvisor.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.connection import Connection
    from polyvisor.driver import DefinedObjects, Objects, StartedObjects
    from polyvisor.model.document import Document
    from polyvisor.objects import ObjectSummary

    #: A document, XML as text or bytes, or the path of a file.
    DocumentSource: TypeAlias = Document | str | bytes | os.PathLike[str]

__all__ = ["Collection", "Defined", "Handle", "Started", "as_document"]

_H = TypeVar("_H", bound="Handle")
_D = TypeVar("_D", bound="Document")


class Handle:
    """A handle of one host object: a connection and a key, hashable and cheap.

    What changes is asked for with each call. All methods may raise
    :class:`~polyvisor.errors.NotFound` once the object is gone, and those that change
    something :class:`~polyvisor.errors.Denied` on a read-only connection.

    Attributes:
        key: its UUID as text, or its name where its family has no UUIDs.
    """

    __slots__ = ("_connection", "_part", "key")

    def __init__(self, connection: Connection, part: Any, key: str) -> None:
        self._connection = connection
        self._part = part
        self.key: str = key

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.key == other.key and self._connection is other._connection

    def __hash__(self) -> int:
        return hash((type(self), self.key))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key} on {self._connection.uri}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.summary().name

    @property
    def uuid(self) -> UUID | None:
        """Its UUID, if its family has them."""
        return self.summary().uuid

    @property
    def active(self) -> bool:
        """Whether it is there now."""
        return self.summary().active

    def summary(self) -> ObjectSummary:
        """Return name, UUID and what it is doing."""
        part: Objects[Any] = self._part
        return part.get(self.key)

    def xml(self, *, inactive: bool = False) -> str:
        """Return its document.

        Args:
            inactive: of an active object, what it will be when it is next started.
        """
        part: Objects[Any] = self._part
        return part.xml(self.key, inactive=inactive)


class Defined(Handle):
    """A handle of an object that was made from a definition."""

    __slots__ = ()

    def undefine(self) -> None:
        """Forget its definition."""
        self._connection._check_writable("undefine")
        part: DefinedObjects[Any] = self._part
        part.undefine(self.key)


class Started(Defined):
    """A handle of an object that is started and stopped."""

    __slots__ = ()

    @property
    def autostart(self) -> bool:
        """Whether it starts with the host; can be set."""
        return self.summary().autostart

    @autostart.setter
    def autostart(self, value: bool) -> None:
        self._connection._check_writable("autostart")
        part: StartedObjects[Any] = self._part
        part.set_autostart(self.key, value)

    def start(self) -> None:
        """Start it.

        Raises:
            OperationInvalid: it is active already.
        """
        self._connection._check_writable("start")
        part: StartedObjects[Any] = self._part
        part.start(self.key)

    def destroy(self) -> None:
        """Stop it; what it holds is kept.

        Raises:
            OperationInvalid: it is not active.
        """
        self._connection._check_writable("destroy")
        part: StartedObjects[Any] = self._part
        part.destroy(self.key)


class Collection(Mapping[str, _H], Generic[_H]):
    """The objects of one family: iterable, indexable by name or UUID.

    Args:
        connection: where they are.
        feature: the family's name in the support table.
        part: gives the driver's part, or ``None`` if it has none.
        handle: class of the handles.
        document: gives the class of the definitions.
    """

    def __init__(
        self,
        connection: Connection,
        feature: str,
        part: Callable[[], Any],
        handle: type[_H],
        document: Callable[[], type[Document]],
    ) -> None:
        self._connection = connection
        self._feature = feature
        self._find_part = part
        self._handle = handle
        self._document = document

    @property
    def part(self) -> Any:
        """The driver's part.

        Raises:
            Unsupported: the driver has none; says why.
        """
        return self._connection._need(self._find_part(), self._feature)

    def __iter__(self) -> Iterator[_H]:  # type: ignore[override]
        part = self.part
        return (self._handle(self._connection, part, one.key) for one in part.summaries())

    def __len__(self) -> int:
        return len(self.part.summaries())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def __getitem__(self, key: str) -> _H:
        """Return the object with this name or UUID.

        Raises:
            NotFound: there is none (not a ``KeyError``: it says more).
            Unsupported: the driver has no such objects.
        """
        part = self.part
        try:
            found = part.by_name(key)
        except NotFound:
            try:
                found = part.get(key.lower())
            except NotFound:
                found = None
            if found is None:
                raise
        return self._handle(self._connection, part, found.key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the object with this name or UUID, or ``default``."""
        try:
            return self[key]
        except NotFound:
            return default

    def summaries(self) -> Sequence[ObjectSummary]:
        """Return one line of facts for each, ordered by name."""
        found: Sequence[ObjectSummary] = self.part.summaries()
        return found

    def define(self, source: DocumentSource) -> _H:
        """Keep a definition, or give an object a new one.

        Args:
            source: a value of the family's document class, XML as ``str`` or ``bytes``,
                or a path.

        Raises:
            SpecError: it is wrong, or cannot be had here.
            AlreadyExists: the name belongs to another object.
        """
        self._connection._check_writable("define")
        part = self.part
        key = part.define(as_document(source, self._document()))
        return self._handle(self._connection, part, key)

    def create(self, source: DocumentSource) -> _H:
        """Start a transient object, which is forgotten when it stops.

        Args:
            source: as for :meth:`define`.
        """
        self._connection._check_writable("create")
        part = self.part
        key = part.create(as_document(source, self._document()))
        return self._handle(self._connection, part, key)


def as_document(source: DocumentSource, cls: type[_D]) -> _D:
    """Return the value that a source gives.

    Raises:
        SpecError: it is wrong.
        InvalidArgument: it is a ``str`` that is not XML, or a document of another kind.
    """
    if isinstance(source, cls):
        return source
    if isinstance(source, str) and not source.lstrip().startswith("<"):
        raise InvalidArgument(
            f"this is not XML: {source[:60]!r}; give a file as pathlib.Path, not as str"
        )
    if isinstance(source, (str, bytes, os.PathLike)):
        return cls.from_xml(source)
    raise InvalidArgument(f"a {cls.XML_TITLE} is expected, not a {type(source).__name__}")
