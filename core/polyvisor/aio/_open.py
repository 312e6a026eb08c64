"""Opening connections."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any

from polyvisor.aio._connection import Connection
from polyvisor.aio._crew import Crew
from polyvisor.connection import open as open_blocking

if TYPE_CHECKING:
    import os

    from polyvisor.config import Config

__all__ = ["Opening", "open"]


def open(  # noqa: A001 - the verb that the field uses
    target: str | None = None,
    *,
    readonly: bool = False,
    config: Config | str | os.PathLike[str] | None = None,
) -> Opening:
    """Open a connection; see :func:`polyvisor.open`.

    Await what this returns, or enter it::

        async with polyvisor.aio.open() as host:
            async for domain in host.domains:
                print(await domain.name, await domain.state)

    Args:
        target: a URI, or the name of a connection in the configuration; ``None`` means
            the configured default.
        readonly: refuse everything that changes something.
        config: a configuration, the path of one, or ``None`` for the one in force.
    """
    return Opening(partial(open_blocking, target, readonly=readonly, config=config))


class Opening:
    """A connection that is still to be opened: awaited once, or entered."""

    def __init__(self, function: partial[Any]) -> None:
        self._function = function
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._open()
        return self._connection

    async def __aexit__(self, *exc_info: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> Connection:
        crew = Crew()
        try:
            sync = await crew.run(self._function, discard=lambda made: made.close())
        except BaseException:
            await crew.close(lambda: None)
            raise
        return Connection(sync, crew)
