"""Threads that are waited for when what they work for ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]


class Threads:
    """Threads that were started for one owner; one that has ended is not kept."""

    def __init__(self) -> None:
        self._running: set[threading.Thread] = set()
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, work: Callable[[], object]) -> None:
        """Have a thread do something.

        Args:
            name: the thread's.
            work: what it does; it ends with that.
        """

        def run() -> None:
            try:
                work()
            finally:
                with self._mutex:
                    self._running.discard(thread)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._mutex:
            self._running.add(thread)
        thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until they have ended, each but the caller's own.

        Args:
            timeout: seconds for each; ``None``: as long as it takes.
        """
        with self._mutex:
            running = tuple(self._running)
        for thread in running:
            if thread is not threading.current_thread():
                thread.join(timeout)
