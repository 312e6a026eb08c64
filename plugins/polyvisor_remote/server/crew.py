"""Threads that do what may take long, started when they are needed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Crew"]

Task = Callable[[], None]

#: Seconds after which a thread that has nothing to do ends.
IDLE = 30.0

log = logging.getLogger("polyvisor.remote")


class Crew:
    """Runs tasks in threads, each in one of its own.

    Args:
        most: threads that there may be at most for :meth:`queue`; the tasks beyond wait.
            What :meth:`start` is given never waits.
    """

    def __init__(self, most: int = 20) -> None:
        self._most = most
        self._condition = threading.Condition()
        self._ready: deque[Task] = deque()
        self._waiting: deque[Task] = deque()
        self._idle = 0
        self._running = 0
        self._closed = False
        # Whether the last thread that was wanted could not be had.
        self._short = False
        self._threads: set[threading.Thread] = set()

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    def start(self, task: Task, *, or_later: bool = True) -> bool:
        """Run a task at once.

        Args:
            task: the task.
            or_later: if the machine has no thread for it, run it when one of ours is free.

        Returns:
            Whether it runs at once.
        """
        with self._condition:
            if self._closed:
                return False
            self._ready.append(task)
            if self._idle >= len(self._ready):
                self._condition.notify()
                return True
            thread = threading.Thread(target=self._work, name="polyvisord", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not self._short:
                    log.warning("%d threads, and no more: %s", len(self._threads), error)
                self._short = True
                if not or_later:
                    self._ready.pop()
                return False
            self._short = False
            self._threads.add(thread)
            return True

    def queue(self, task: Task) -> None:
        """Run a task as soon as there is a thread for it; first come, first served."""
        with self._condition:
            if self._running >= self._most:
                self._waiting.append(task)
                return
            self._running += 1
        self.start(lambda: self._counted(task))

    def close(self, timeout: float) -> None:
        """Start nothing any more, and wait so many seconds for what runs."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._condition.notify_all()
            threads = [each for each in self._threads if each is not threading.current_thread()]
        for thread in threads:
            thread.join(timeout)

    def _counted(self, task: Task) -> None:
        more: Task | None = task
        while more is not None:
            self._run(more)
            with self._condition:
                more = self._waiting.popleft() if self._waiting else None
                if more is None:
                    self._running -= 1

    def _work(self) -> None:
        try:
            while True:
                with self._condition:
                    if not self._ready and not self._closed:
                        self._idle += 1
                        self._condition.wait(IDLE)
                        self._idle -= 1
                    if not self._ready:
                        return
                    task = self._ready.popleft()
                self._run(task)
        finally:
            with self._condition:
                self._threads.discard(threading.current_thread())

    def _run(self, task: Task) -> None:
        try:
            task()
        except Exception:
            log.exception("a task of the daemon failed; it goes on without")
