"""Locks within one process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress

from polyvisor.state._locks import Claim, Lock, Locks, describe

__all__ = ["MemoryLocks"]


class MemoryLocks(Locks):
    """Locks as entries of a dictionary, granted in the order they were asked for."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, float]] = {}
        self._queues: dict[str, deque[tuple[Claim, str]]] = {}
        self._mutex = threading.Lock()

    def try_acquire(self, name: str, operation: str) -> Lock | None:
        with self._mutex:
            return self._take(name, operation) if name not in self._held else None

    def claim(self, name: str, operation: str) -> Claim:
        def withdraw(claim: Claim) -> None:
            with self._mutex:
                queue = self._queues.get(name)
                if queue is not None:
                    with suppress(ValueError):
                        queue.remove((claim, operation))

        claim = Claim(withdraw)
        with self._mutex:
            if name in self._held:
                self._queues.setdefault(name, deque()).append((claim, operation))
            else:
                claim.grant(self._take(name, operation))
        return claim

    def holder(self, name: str) -> str:
        with self._mutex:
            operation, since = self._held.get(name, ("another operation", time.time()))
        return describe(os.getpid(), operation, since)

    def _take(self, name: str, operation: str) -> Lock:
        self._held[name] = (operation, time.time())

        def release(discard: bool) -> None:
            with self._mutex:
                del self._held[name]
                queue = self._queues.get(name)
                if queue:
                    claim, wanted = queue.popleft()
                    claim.grant(self._take(name, wanted))
                else:
                    self._queues.pop(name, None)

        return Lock(release)
