"""What all asynchronous handles have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from polyvisor.aio._connection import Connection
    from polyvisor.aio._crew import Crew

__all__ = ["Face", "Items", "inner"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_K = TypeVar("_K")
_F = TypeVar("_F", bound="Face")


class Face:
    """An asynchronous handle around a blocking one.

    Attributes:
        sync: the blocking handle, for what is done in threads.
    """

    __slots__ = ("_host", "sync")

    sync: Any

    def __init__(self, host: Connection, sync: Any) -> None:
        self._host = host
        self.sync = sync

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self.sync == other.sync)

    def __hash__(self) -> int:
        return hash(self.sync)

    def __repr__(self) -> str:
        return f"<aio {repr(self.sync).removeprefix('<')}"

    @property
    def _crew(self) -> Crew:
        return self._host._own_crew

    def _run(
        self, method: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Awaitable[_R]:
        return self._crew.run(partial(method, *args, **kwargs))

    def _get(self, name: str) -> Awaitable[Any]:
        """Return a property that has to ask the hypervisor."""
        return self._crew.run(partial(getattr, self.sync, name))


class Items(Face, ABC, Generic[_K, _F]):
    """A collection: ``async for`` gives handles, an index one of them, to be awaited.

    What ``len`` and ``in`` tell of a blocking collection, :meth:`count` and :meth:`contains`
    tell here.
    """

    __slots__ = ()

    @abstractmethod
    def _wrap(self, sync: Any) -> _F:
        """Return the handle around a blocking one."""

    def __getitem__(self, key: _K) -> Awaitable[_F]:
        """Return the object that ``key`` names, once awaited.

        Raises:
            NotFound: there is none.
        """
        return self._find(key)

    async def _find(self, key: _K) -> _F:
        return self._wrap(await self._run(self.sync.__getitem__, key))

    async def __aiter__(self) -> AsyncIterator[_F]:
        for one in await self._run(list, self.sync):
            yield self._wrap(one)

    async def get(self, key: _K, default: Any = None) -> Any:
        """Return the object that ``key`` names, or ``default``."""
        missing = object()
        found = await self._run(self.sync.get, key, missing)
        return default if found is missing else self._wrap(found)

    async def contains(self, key: _K) -> bool:
        """Say whether there is an object that ``key`` names."""
        found: bool = await self._run(self.sync.__contains__, key)
        return found

    async def count(self) -> int:
        """Return how many there are."""
        return await self._run(len, self.sync)


def inner(value: Any) -> Any:
    """Return the blocking handle in an asynchronous one; anything else as it is."""
    return value.sync if isinstance(value, Face) else value
