"""Events as an async iterator: a thread listens, the event loop takes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

__all__ = ["EventStream"]

_E = TypeVar("_E")

#: How many events are fetched ahead of the one who takes them; the rest waits in the journal.
AHEAD = 64


class EventStream(Generic[_E]):
    """What happens on a host, in order; also a context manager that closes itself.

    It listens from when it is made, and is closed with its connection. A task that is
    cancelled while it waits for an event loses none.
    """

    def __init__(self, source: Callable[[], Iterator[_E]]) -> None:
        self._pump: _Pump[_E] = _Pump(asyncio.get_running_loop())
        self.listening: asyncio.Future[None] = self._pump.listening
        # The thread must not hold us, so that a stream that is dropped ends by itself.
        threading.Thread(
            target=self._pump.run, args=(source,), name="polyvisor-aio-events", daemon=True
        ).start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _E:
        return await self._pump.take()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is not None:
            pump.stop()

    @property
    def ended(self) -> bool:
        """Whether nobody listens any more."""
        return self._pump.gone.done()

    async def ends(self, within: float) -> None:
        """Wait so many seconds at most for its connection to have ended it, then end it."""
        await asyncio.wait([self._pump.gone], timeout=within)
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening. A second call does nothing."""
        self._pump.stop()
        await self._pump.left()


class _Pump(Generic[_E]):
    """The listening thread, and what it shares with the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.listening: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._ready: deque[_E] = deque()
        self._bell = asyncio.Event()
        self._room = threading.Semaphore(AHEAD)
        self._lock = threading.Lock()
        self._stopped = False
        self._stream: Iterator[_E] | None = None
        self._failure: BaseException | None = None

    # In the loop

    async def take(self) -> _E:
        while not self._ready:
            if self.gone.done() or self._stopped:
                failure, self._failure = self._failure, None
                if failure is not None:
                    raise failure
                raise StopAsyncIteration
            self._bell.clear()
            await self._bell.wait()
        self._room.release()
        return self._ready.popleft()

    def stop(self) -> None:
        """Make the thread end; from any thread."""
        with self._lock:
            self._stopped = True
            end: Callable[[], object] | None = getattr(self._stream, "end", None)
        self._room.release()
        if end is not None:
            end()
        self._post(self._bell.set)

    async def left(self) -> None:
        """Wait for the thread; one in a stream that cannot be ended is left to its connection."""
        await asyncio.wait([self.listening])
        if self._stream is None or hasattr(self._stream, "end"):
            await asyncio.wait([self.gone])

    def _add(self, event: _E) -> None:
        self._ready.append(event)
        self._bell.set()

    def _finish(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
        self._bell.set()

    # In the thread

    def run(self, source: Callable[[], Iterator[_E]]) -> None:
        try:
            stream = source()
            with self._lock:
                self._stream = stream
                stopped = self._stopped
            self._post(self._finish, self.listening)
            if stopped:
                return
            for event in stream:
                self._room.acquire()
                if self._stopped:
                    return
                self._post(self._add, event)
        except BaseException as error:  # noqa: BLE001 - it is raised where events are waited for
            if not self._stopped:
                self._failure = error
        finally:
            close: Callable[[], object] | None = getattr(self._stream, "close", None)
            if close is not None:
                close()
            self._post(self._finish, self.listening)
            self._post(self._finish, self.gone)

    def _post(self, function: Callable[..., Any], *arguments: Any) -> None:
        # A loop that was closed meanwhile hears no more, and needs not.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)
