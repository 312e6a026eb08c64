"""The threads in which a connection's operations run, and what cancelling does to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from polyvisor.errors import Timeout
from polyvisor.jobs import JobControl

if TYPE_CHECKING:
    from polyvisor.aio._stream import EventStream
    from polyvisor.jobs import JobProgress, ProgressCallback
    from polyvisor.states import DomainStatus

__all__ = ["Crew", "alone"]

_R = TypeVar("_R")

#: How many short operations run at once on a connection; the others wait for their turn.
SHORT = 32
#: How many long ones (saves, migrations), each on a thread of its own beside those.
LONG = 64
#: Seconds after which a thread that waits for a domain looks whether it still should.
PATIENCE = 0.5


class Crew:
    """Runs the operations of one connection in threads, made as they are needed.

    A task that is cancelled while it waits for an operation leaves none half done: what has
    not begun is taken back; what can be cancelled is, by its own job; and in any case the task
    ends only when the operation has. What the operation said then is the cause of the
    ``CancelledError``.
    """

    def __init__(self) -> None:
        self._short = ThreadPoolExecutor(SHORT, thread_name_prefix="polyvisor-aio")
        self._long = asyncio.Semaphore(LONG)
        self._streams: set[EventStream[Any]] = set()
        self._closed = False

    async def run(
        self,
        function: Callable[[], _R],
        *,
        discard: Callable[[_R], object] | None = None,
    ) -> _R:
        """Run a short operation and return what it returns.

        Args:
            function: the operation.
            discard: puts away what it returned, if nobody is there any more to take it.
        """
        await self._listening()
        # What is asked of a closed connection says so itself.
        closed = self._closed
        running = _start(function, "polyvisor-aio") if closed else self._short.submit(function)
        return await _outcome(running, running.cancel, discard)

    async def job(
        self,
        function: Callable[[JobControl], _R],
        progress: ProgressCallback | None,
        *,
        discard: Callable[[_R], object] | None = None,
    ) -> _R:
        """Run a long operation and return what it returns.

        Args:
            function: the operation; takes its ``progress``.
            progress: called with each report, in the event loop.
            discard: as for :meth:`run`.
        """
        await self._listening()
        async with self._long:
            reporter = _Reporter(asyncio.get_running_loop(), progress)
            running = _start(partial(function, reporter.control), "polyvisor-aio-job")
            try:
                result = await _outcome(
                    running, lambda: reporter.control.cancel("its task was cancelled"), discard
                )
            except Exception as error:
                if reporter.failure is not None:
                    raise reporter.failure from error
                raise
            if reporter.failure is not None:
                raise reporter.failure
            return result

    async def wait(
        self, function: Callable[[float], DomainStatus], timeout: float | None
    ) -> DomainStatus:
        """Wait for a domain.

        Args:
            function: waits for so many seconds at most.
            timeout: seconds; ``None``: for ever.
        """
        await self._listening()
        given_up = threading.Event()
        running = _start(partial(_wait, function, timeout, given_up), "polyvisor-aio-wait")
        return await _outcome(running, given_up.set, None)

    def add_stream(self, stream: EventStream[Any]) -> None:
        """Take a stream in: later operations begin when it listens, and it is closed with us."""
        self._streams = {one for one in self._streams if not one.ended}
        self._streams.add(stream)

    async def close(self, function: Callable[[], object]) -> None:
        """Run what closes the connection, then end all streams and threads."""
        try:
            await _outcome(_start(function, "polyvisor-aio-close"), _nothing, None)
        finally:
            self._closed = True
            for stream in self._streams:
                await stream.ends(within=1.0)
            await _outcome(_start(self._short.shutdown, "polyvisor-aio-close"), _nothing, None)

    async def _listening(self) -> None:
        for stream in self._streams:
            if not stream.listening.done():
                await asyncio.wait([stream.listening])


def _nothing() -> None:
    """What cannot be cancelled is not."""


def _start(function: Callable[[], _R], name: str) -> Future[_R]:
    """Run a function in a thread of its own."""
    future: Future[_R] = Future()
    future.set_running_or_notify_cancel()  # it has begun, so it cannot be taken back
    threading.Thread(target=_work, args=(function, future), name=name).start()
    return future


def _work(function: Callable[[], _R], future: Future[_R]) -> None:
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
        future.set_exception(error)
    else:
        future.set_result(result)


async def alone(function: Callable[[], _R]) -> _R:
    """Run what belongs to no connection, and return what it returns."""
    running = _start(function, "polyvisor-aio")
    return await _outcome(running, running.cancel, None)


async def _outcome(
    running: Future[_R],
    cancel: Callable[[], object],
    discard: Callable[[_R], object] | None,
) -> _R:
    """Return or raise what becomes of an operation, however often the task is cancelled."""
    future = asyncio.wrap_future(running)
    interrupted: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            interrupted = error
            cancel()
    if interrupted is None:
        return future.result()
    try:
        if future.cancelled():
            raise interrupted
        failure = future.exception()
        if failure is None and discard is not None:
            result = future.result()
            await _outcome(_start(partial(discard, result), "polyvisor-aio-end"), _nothing, None)
        raise interrupted from failure
    finally:
        interrupted = None  # it holds this frame, which would hold it


def _wait(
    function: Callable[[float], DomainStatus], timeout: float | None, given_up: threading.Event
) -> DomainStatus:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return function(PATIENCE if left is None else min(PATIENCE, left))
        except Timeout as error:
            if deadline is not None and time.monotonic() >= deadline:
                which = repr(error.domain) if error.domain else "for the domain"
                error.message = f"wait {which}: it is still active after {timeout:g} s"
                raise
            if given_up.is_set():
                raise


class _Reporter:
    """Carries reports from the operation's thread into the event loop.

    Attributes:
        control: the operation's ``progress``.
        failure: what the caller's callback raised, if it did.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, progress: ProgressCallback | None) -> None:
        self._loop = loop
        self._progress = progress
        self.control = JobControl(None if progress is None else self._post)
        self.failure: BaseException | None = None

    def _post(self, report: JobProgress) -> None:
        # A loop that was closed under the operation hears no more, and needs not.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, report)

    def _deliver(self, report: JobProgress) -> None:
        if self.failure is not None or self._progress is None:
            return
        try:
            self._progress(report)
        except BaseException as error:  # noqa: BLE001 - reaches the caller
            self.failure = error
            self.control.cancel("its progress callback failed")
