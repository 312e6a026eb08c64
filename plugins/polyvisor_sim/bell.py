"""Hearing, without polling, that something about a guest has changed.

Whoever changes a machine rings the bell of its host; whoever waits for one listens.
Nothing is sent along: a listener looks for itself. It must look after it began to
listen and after each :meth:`Listener.rearm`, so that no change goes unseen.
"""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Bell", "FifoBell", "Listener", "ProcessBell"]


class Listener(ABC):
    """One who listens; a context manager."""

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor on which ``poll`` reports something once the bell has rung."""

    @abstractmethod
    def rearm(self) -> None:
        """Be ready for the next ring."""

    @abstractmethod
    def close(self) -> None:
        """Stop listening."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Bell(ABC):
    """A bell that any number may ring and hear."""

    @abstractmethod
    def ring(self) -> None:
        """Wake everybody who listens."""

    @abstractmethod
    def listen(self) -> Listener:
        """Return a new listener."""


class FifoBell(Bell):
    """A bell between processes, made of a FIFO through which no byte ever goes.

    Opening it for writing and closing it again hangs up on everybody who has it open
    for reading, which ``poll`` shows as ``POLLHUP`` (pipe(7)). Nobody can miss it by
    being slow, nothing is left behind by those who die, and ringing where nobody
    listens costs one failed ``open``.

    Args:
        path: where the FIFO is; made when the first listener comes.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def ring(self) -> None:
        """Wake everybody who listens, in any process."""
        with contextlib.suppress(OSError):  # ENXIO: nobody listens; ENOENT: nobody ever did
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def listen(self) -> Listener:
        """Return a new listener."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.path, 0o600)
        return _FifoListener(self.path)


class _FifoListener(Listener):
    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def rearm(self) -> None:
        # A descriptor that was hung up on stays so; the new one is there before it goes.
        old, self._fd = self._fd, self._open()
        os.close(old)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ProcessBell(Bell):
    """A bell between the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[_EventListener] = set()

    def ring(self) -> None:
        """Wake everybody who listens."""
        if self._listeners:
            with self._lock:
                for listener in self._listeners:
                    os.eventfd_write(listener.fileno(), 1)

    def listen(self) -> Listener:
        """Return a new listener."""
        listener = _EventListener(self)
        with self._lock:
            self._listeners.add(listener)
        return listener

    def forget(self, listener: _EventListener) -> None:
        """Take a listener off; its descriptor may be closed then."""
        with self._lock:
            self._listeners.discard(listener)


class _EventListener(Listener):
    def __init__(self, bell: ProcessBell) -> None:
        self._bell = bell
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._fd

    def rearm(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            self._bell.forget(self)
            os.close(self._fd)
            self._fd = -1
