"""Wake-ups: whoever waits for events is told at once that there are some.

A bell carries no events; those are in the store, in their order, and the one who is
woken reads them there. So a bell that is full, or rung twice, loses nothing.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.state._roots import private_folder
from polyvisor.state._sockets import address_in

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Bell", "Bells"]


class Bell(ABC):
    """A descriptor that becomes readable when somebody rings."""

    @abstractmethod
    def fileno(self) -> int:
        """Return the descriptor to wait on."""

    @abstractmethod
    def silence(self) -> None:
        """Make it unreadable until the next ring; to be done before the store is read."""

    @abstractmethod
    def close(self) -> None:
        """Take the bell down. A second call does nothing."""


class Bells(ABC):
    """The bells of one host."""

    @abstractmethod
    def hang(self) -> Bell:
        """Put up a new bell."""

    @abstractmethod
    def ring(self) -> None:
        """Ring all bells."""

    @abstractmethod
    def close(self) -> None:
        """Release what ringing needs; bells that hang stay. A second call does nothing."""


class SocketBells(Bells):
    """Bells between processes: one datagram socket each, in a common folder.

    Args:
        folder: the folder; made with the first bell.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._count = 0

    def hang(self) -> Bell:
        import socket

        private_folder(self._folder)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        while True:
            with self._mutex:
                self._count += 1
                name = f"{os.getpid()}-{id(self):x}-{self._count}"
            try:
                with address_in(self._folder, name) as address:
                    receiver.bind(address)
            except FileExistsError:
                continue
            except BaseException:
                receiver.close()
                raise
            return _SocketBell(receiver, f"{self._folder}/{name}")

    def ring(self) -> None:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return
        if not names:
            return
        import socket

        # One of its own each time: whoever rings when all else is closed leaves nothing behind.
        speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with speaker, suppress(FileNotFoundError):
            for name in names:
                with address_in(self._folder, name) as address:
                    try:
                        speaker.sendto(b"!", address)
                    except BlockingIOError:
                        pass  # It is full, so whoever hears it has yet to look.
                    except ConnectionRefusedError:
                        with suppress(OSError):  # Its process was killed.
                            os.unlink(f"{self._folder}/{name}")
                    except OSError:
                        pass  # It was taken down just now.

    def close(self) -> None:
        """Do nothing: ringing keeps nothing open."""


class _SocketBell(Bell):
    def __init__(self, receiver: socket.socket, path: str) -> None:
        self._receiver = receiver
        self._path = path

    def fileno(self) -> int:
        return self._receiver.fileno()

    def silence(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._receiver.recv(1)

    def close(self) -> None:
        if self._receiver.fileno() >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            self._receiver.close()


class MemoryBells(Bells):
    """Bells within one process: one eventfd each."""

    def __init__(self) -> None:
        self._bells: frozenset[_MemoryBell] = frozenset()
        # Reentrant: a listener that is no longer used may be collected at any time.
        self._mutex = threading.RLock()

    def hang(self) -> Bell:
        bell = _MemoryBell(self._take_down)
        with self._mutex:
            self._bells |= {bell}
        return bell

    def ring(self) -> None:
        if self._bells:
            with self._mutex:
                for bell in self._bells:
                    bell.ring()

    def close(self) -> None:
        """Do nothing: other connections of the process may share the bells."""

    def _take_down(self, bell: _MemoryBell) -> None:
        with self._mutex:
            self._bells -= {bell}


class _MemoryBell(Bell):
    def __init__(self, take_down: Callable[[_MemoryBell], None]) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._take_down = take_down

    def fileno(self) -> int:
        return self._fd

    def ring(self) -> None:
        os.eventfd_write(self._fd, 1)

    def silence(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            self._take_down(self)
            os.close(self._fd)
            self._fd = -1
