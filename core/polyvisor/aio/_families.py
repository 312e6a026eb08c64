"""What all families of host objects have in common, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from polyvisor.aio._base import Face, Items

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from uuid import UUID

    from polyvisor.families import Collection as SyncCollection
    from polyvisor.families import Defined as SyncDefined
    from polyvisor.families import DocumentSource
    from polyvisor.families import Handle as SyncHandle
    from polyvisor.families import Started as SyncStarted
    from polyvisor.objects import ObjectSummary

__all__ = ["Collection", "Defined", "Handle", "Started"]

_H = TypeVar("_H", bound="Handle")


class Handle(Face):
    """A handle of one host object: a connection and a key, hashable and cheap."""

    __slots__ = ()

    sync: SyncHandle

    @property
    def key(self) -> str:
        """Its UUID as text, or its name where its family has no UUIDs."""
        return self.sync.key

    @property
    def name(self) -> Awaitable[str]:
        """Its name; to be awaited."""
        return self._get("name")

    @property
    def uuid(self) -> Awaitable[UUID | None]:
        """Its UUID, if its family has them; to be awaited."""
        return self._get("uuid")

    @property
    def active(self) -> Awaitable[bool]:
        """Whether it is there now; to be awaited."""
        return self._get("active")

    async def summary(self) -> ObjectSummary:
        """Return name, UUID and what it is doing."""
        return await self._run(self.sync.summary)

    async def xml(self, *, inactive: bool = False) -> str:
        """Return its document."""
        return await self._run(self.sync.xml, inactive=inactive)


class Defined(Handle):
    """A handle of an object that was made from a definition."""

    __slots__ = ()

    sync: SyncDefined

    async def undefine(self) -> None:
        """Forget its definition."""
        await self._run(self.sync.undefine)


class Started(Defined):
    """A handle of an object that is started and stopped."""

    __slots__ = ()

    sync: SyncStarted

    @property
    def autostart(self) -> Awaitable[bool]:
        """Whether it starts with the host; to be awaited."""
        return self._get("autostart")

    async def set_autostart(self, value: bool) -> None:
        """Set :attr:`autostart`."""
        await self._run(setattr, self.sync, "autostart", value)

    async def start(self) -> None:
        """Start it."""
        await self._run(self.sync.start)

    async def destroy(self) -> None:
        """Stop it; what it holds is kept."""
        await self._run(self.sync.destroy)


class Collection(Items[str, _H], Generic[_H]):
    """The objects of one family: iterable, indexable by name or UUID."""

    __slots__ = ()

    sync: SyncCollection[Any]

    @property
    def part(self) -> Any:
        """The driver's part."""
        return self.sync.part

    async def summaries(self) -> Sequence[ObjectSummary]:
        """Return one line of facts for each, ordered by name."""
        return await self._run(self.sync.summaries)

    async def define(self, source: DocumentSource) -> _H:
        """Keep a definition, or give an object a new one."""
        return self._wrap(await self._run(self.sync.define, source))

    async def create(self, source: DocumentSource) -> _H:
        """Start a transient object, which is forgotten when it stops."""
        return self._wrap(await self._run(self.sync.create, source))
