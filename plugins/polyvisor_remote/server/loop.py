"""One thread at a time that waits for sockets, and others that take its place.

Whoever has the loop waits, reads, and answers by itself what is answered quickly: nothing
is handed from thread to thread, which costs more than most answers. If an answer takes
longer than :data:`PATIENCE`, the loop goes to another thread at once, so that everybody
else is served; the first one ends its answer and goes.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from polyvisor_remote.server.crew import Crew

__all__ = ["Loop", "Ready"]

#: Seconds that an answer may take before another thread takes the loop.
PATIENCE = 0.003
#: How often that is looked at while there is work, and how many idle looks end it.
_LOOK, _IDLE_LOOKS = 0.002, 50
#: Threads that may be stuck in answers before the loop waits for them after all.
_STUCK_MAX = 100
#: Seconds between two calls of the timer.
_TICK = 1.0

log = logging.getLogger("polyvisor.remote")


class Ready(Protocol):
    """What is registered for a descriptor."""

    def ready(self, mask: int) -> None:
        """Do what is to be done now that the descriptor is ready.

        It returns early once :meth:`Loop.mine` says that the loop went to another thread;
        then :meth:`go_on` is called in that.
        """

    def go_on(self) -> None:
        """Go on with what is left to do when the loop has come to another thread."""


class Loop:
    """Waits for descriptors.

    Args:
        crew: gives the threads.
        tick: called about once a second while :attr:`ticking`.

    Attributes:
        ticking: whether the timer runs.
    """

    def __init__(self, crew: Crew, tick: Callable[[], None]) -> None:
        self.ticking = False
        self._crew = crew
        self._tick = tick
        self._epoll = select.epoll()
        self._registered: dict[int, Ready] = {}
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._ringing = threading.Lock()
        self._posted: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        # Which thread has the loop: the one that began with this number.
        self._turn = 0
        self._mine = threading.local()
        self._busy_since: float | None = None
        self._current: Ready | None = None
        self._watched = threading.Event()
        self._looking = False
        self._next_tick = time.monotonic() + _TICK
        self._stop = False
        self._ended = threading.Event()

    # Descriptors; from any thread

    def register(self, fd: int, ready: Ready, mask: int = select.EPOLLIN) -> None:
        """Wait for a descriptor."""
        self._registered[fd] = ready
        self._epoll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Wait for something else on it."""
        self._epoll.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        """Do not wait for it any more."""
        if self._registered.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def post(self, task: Callable[[], None]) -> None:
        """Have the thread that has the loop run a task soon; after the end nobody does."""
        self._posted.append(task)
        self._ring()

    def _ring(self) -> None:
        """Wake the thread that has the loop."""
        # Once it is closed the number may be that of something else.
        with self._ringing:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    # Life

    def start(self) -> None:
        """Let a thread take the loop, and another one watch it."""
        self._crew.start(lambda: self._lead(0, None))
        threading.Thread(target=self._watch, name="polyvisord-watch", daemon=True).start()

    def stop(self) -> None:
        """End the loop and wait for that."""
        self._stop = True
        self._ring()
        self._watched.set()
        self._ended.wait(5)

    # What an answer tells the loop

    def busy(self, who: Ready) -> None:
        """Say that an answer begins which might take long."""
        self._current = who
        self._busy_since = time.monotonic()
        if not self._looking:
            self._watched.set()

    def done(self) -> bool:
        """Say that it is finished; return whether this thread still has the loop."""
        with self._lock:
            mine: bool = self._mine.turn == self._turn
            if mine:
                self._busy_since = None
        return mine

    def _lead(self, turn: int, left: Ready | None) -> None:
        self._mine.turn = turn
        try:
            if left is not None:
                self._safely(left.go_on)
            while self._turn == turn and not self._stop:
                self._round(turn)
        finally:
            if self._stop and self._turn == turn:
                self._close()

    def _round(self, turn: int) -> None:
        timeout = max(0.0, self._next_tick - time.monotonic()) if self.ticking else -1
        for fd, mask in self._epoll.poll(timeout):
            if fd == self._wake_fd:
                self._run_posted(turn)
            elif (ready := self._registered.get(fd)) is not None:
                self._safely(partial(ready.ready, mask))
            if self._turn != turn:
                return
        if self.ticking and time.monotonic() >= self._next_tick:
            self._next_tick = time.monotonic() + _TICK
            self._tick()

    @staticmethod
    def _safely(task: Callable[[], None]) -> None:
        """Run what must not take the loop with it if it fails."""
        try:
            task()
        except Exception:
            log.exception("something went wrong with one client; the others are served")

    def _run_posted(self, turn: int) -> None:
        os.eventfd_read(self._wake_fd)
        while self._posted and self._turn == turn:
            self._safely(self._posted.popleft())
        if self._posted:
            self._ring()

    def _close(self) -> None:
        for fd in list(self._registered):
            self.unregister(fd)
        self._epoll.close()
        with self._ringing:
            fd, self._wake_fd = self._wake_fd, -1
            os.close(fd)
        self._ended.set()

    def _watch(self) -> None:
        """Look whether an answer takes too long; rest while there is nothing to do."""
        idle = 0
        while not self._stop:
            if idle >= _IDLE_LOOKS:
                self._looking = False
                # Whoever begins now sets the event, or has begun before and is seen here.
                if self._busy_since is None:
                    self._watched.wait()
                self._watched.clear()
                idle = 0
            self._looking = True
            time.sleep(_LOOK)
            since = self._busy_since
            if since is None:
                idle += 1
            else:
                idle = 0
                if time.monotonic() - since > PATIENCE and self._crew.threads < _STUCK_MAX:
                    self._pass_on(since)

    def _pass_on(self, since: float) -> None:
        with self._lock:
            if self._busy_since != since:
                return
            self._turn += 1
            turn, left = self._turn, self._current
            self._busy_since = None
            if not self._crew.start(lambda: self._lead(turn, left), or_later=False):
                # No thread is to be had: the one that has the loop keeps it.
                self._turn -= 1
                self._busy_since = time.monotonic()
