"""Locks that die with their holder.

A lock belongs to an object, not to a thread: the phases of a migration may come from
different threads. On disk it is a ``flock`` on a file of its own, which the kernel drops
when the holder's process ends, however that happens.
"""

from __future__ import annotations

import os
import select
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from polyvisor.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Claim", "Lock", "Locks"]


class Lock:
    """A lock that is held; a context manager that releases it.

    Args:
        release: lets go; called with whether the lock's subject is gone for good.
    """

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[bool], None]) -> None:
        self._release: Callable[[bool], None] | None = release

    def release(self, *, discard: bool = False) -> None:
        """Let go. A second call does nothing.

        Args:
            discard: there will be nothing left to lock under this name, so that no
                file need stay behind.
        """
        release, self._release = self._release, None
        if release is not None:
            release(discard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class Claim:
    """A place in the queue for a lock; readable, as a descriptor, once it is granted."""

    __slots__ = ("_event_fd", "_withdraw", "granted")

    def __init__(self, withdraw: Callable[[Claim], None]) -> None:
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._withdraw = withdraw
        self.granted: Lock | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._event_fd

    def grant(self, lock: Lock) -> None:
        """Hand the lock over; called by those who keep the queue."""
        self.granted = lock
        os.eventfd_write(self._event_fd, 1)

    def close(self) -> None:
        """Leave the queue; a lock that was granted stays with the one who waited."""
        if self._event_fd >= 0:
            self._withdraw(self)
            os.close(self._event_fd)
            self._event_fd = -1


class Locks(ABC):
    """The locks of one host, each under a name."""

    @abstractmethod
    def try_acquire(self, name: str, operation: str) -> Lock | None:
        """Return the lock if nobody holds it, else ``None``."""

    @abstractmethod
    def claim(self, name: str, operation: str) -> Claim:
        """Stand in the queue for the lock."""

    @abstractmethod
    def holder(self, name: str) -> str:
        """Say who holds the lock, as far as can be told: ``"process 7 (save) since …"``."""

    def acquire(self, name: str, operation: str, timeout: float, *, subject: str = "") -> Lock:
        """Wait for the lock and return it.

        Args:
            name: the lock's name.
            operation: what it is wanted for; others are told so.
            timeout: seconds to wait at most.
            subject: the domain's name, for the error.

        Raises:
            Busy: it was held all the time; says by whom, for what and since when.
        """
        lock = self.try_acquire(name, operation)
        if lock is None and timeout > 0:
            claim = self.claim(name, operation)
            try:
                poller = select.poll()
                poller.register(claim, select.POLLIN)
                poller.poll(timeout * 1000)
            finally:
                claim.close()
                lock = claim.granted
        if lock is None:
            raise Busy(
                f"{operation} {subject!r}: it is held by {self.holder(name)}, waited "
                f"{timeout:g} s; wait until that is done, or abort its job",
                domain=subject or None,
                operation=operation,
            )
        return lock


def describe(pid: int, operation: str, since: float) -> str:
    """Return the words of :meth:`Locks.holder`."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    who = "this process" if pid == os.getpid() else f"process {pid}"
    return f"{who} ({operation}) since {when}"
