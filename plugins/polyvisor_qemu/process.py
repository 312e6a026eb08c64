"""QEMU processes: started so that they outlive us, known by more than a number."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EMFILE
from typing import NamedTuple

import attrs

__all__ = ["Process", "Watch", "spawn"]

#: Children of this process that have not been waited for.
_children: set[int] = set()


@attrs.frozen
class Process:
    """A process, named so that another one with its number is not taken for it.

    Attributes:
        pid: its number.
        started: when it started, in clock ticks since boot (proc(5), stat field 22).
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has the number now.

        Raises:
            ProcessLookupError: there is none.
        """
        found = _stat(pid)
        if found is None:
            raise ProcessLookupError(pid)
        return cls(pid, found.started)

    @property
    def alive(self) -> bool:
        """Whether it runs; one that ended and was not waited for does not.

        It runs until the last of its threads has ended: those have its files open.
        """
        found = _stat(self.pid)
        if found is None or found.started != self.started:
            return False
        ended = found.state in "ZX" and found.threads <= 1
        if ended:
            _reap((self.pid,))
        return not ended

    def fd(self) -> int | None:
        """Return a descriptor that is readable once it has ended; ``None`` if it has."""
        if not self.alive:
            return None
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if not self.alive:  # it ended in between, and the number may be another's
            os.close(fd)
            return None
        return fd

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended; return whether it has."""
        fd = self.fd()
        if fd is None:
            return True
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            ended = bool(poller.poll(None if timeout is None else timeout * 1000))
        finally:
            os.close(fd)
        _reap((self.pid,))
        return ended

    @contextmanager
    def _signalled(self, number: signal.Signals) -> Iterator[int | None]:
        """Send a signal; hold what :meth:`fd` gives."""
        fd = self.fd()
        if fd is None:
            yield None
            return
        try:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
            yield fd
        finally:
            os.close(fd)

    def doom(self) -> None:
        """Kill it without waiting for its end."""
        with self._signalled(signal.SIGKILL):
            pass

    def kill(self) -> None:
        """End it at once and wait for that."""
        with self._signalled(signal.SIGKILL) as fd:
            if fd is None:
                return
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll()
        _reap((self.pid,))

    def end(self, patience: float) -> None:
        """Ask it to end, which QEMU does once all is on the disk; at once if it does not."""
        with self._signalled(signal.SIGTERM):
            pass
        if not self.wait(patience):
            self.kill()

    def has_open(self, target: str) -> bool:
        """Say whether a descriptor of its leads somewhere; ``True`` if that cannot be seen.

        Args:
            target: where, as proc(5) has it: ``socket:[INODE]``.
        """
        folder = f"/proc/{self.pid}/fd"
        try:
            for fd in os.listdir(folder):
                with suppress(FileNotFoundError):
                    if os.readlink(f"{folder}/{fd}") == target:
                        return True
        except OSError:
            return True
        return False

    def cpu_time(self) -> float:
        """Return the seconds of CPU time it has used."""
        with suppress(OSError, IndexError):
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0


class Watch:
    """Says at once whether any of some processes has ended, as often as it is asked.

    It holds a descriptor for each as long as it is there.

    Args:
        processes: those to be watched.

    Raises:
        OSError: one of them has ended already, or there are too many for that.
    """

    #: Of the descriptors that this process may have, how many this may take.
    _SHARE = 4

    def __init__(self, processes: Sequence[Process]) -> None:
        from resource import RLIMIT_NOFILE, getrlimit

        self._fds: list[int] = []
        limit = getrlimit(RLIMIT_NOFILE)[0]
        if len(processes) > limit // self._SHARE:
            raise OSError(EMFILE, "too many processes to be watched")
        # Of a poll(2) object no two threads may ask at once.
        self._epoll = select.epoll(max(1, len(processes)))
        for process in processes:
            fd = process.fd()
            if fd is None:
                raise ProcessLookupError(process.pid)
            self._fds.append(fd)
            self._epoll.register(fd, select.EPOLLIN)

    def ended(self) -> bool:
        """Return whether any has ended."""
        return bool(self._epoll.poll(0, 1))

    def __del__(self) -> None:
        for fd in self._fds:
            os.close(fd)


def spawn(
    line: list[str], *, fds: dict[int, int], log: str, environment: dict[str, str] | None = None
) -> Process:
    """Start a program in a session of its own.

    Args:
        line: its command line.
        fds: descriptors to hand over, by the numbers under which the program has them.
        log: file that its output is appended to.
        environment: variables beside our own.
    """
    # Our own descriptors could have those very numbers: move them out of the way first.
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    free = max(fds, default=2) + 1
    high = {number: fcntl(fd, F_DUPFD_CLOEXEC, free) for number, fd in fds.items()}
    try:
        actions: list[tuple[int, ...] | tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()]
        variables = {**os.environ, **(environment or {})}
        pid = os.posix_spawn(line[0], line, variables, file_actions=actions, setsid=True)
    finally:
        for fd in high.values():
            os.close(fd)
    # Only then, lest another thread wait for it before it is known by more than its number.
    process = Process.of(pid)
    _reap(tuple(_children))
    _children.add(pid)
    return process


class _Stat(NamedTuple):
    """Fields 3, 20 and 22 of a process's stat (proc(5))."""

    state: str
    threads: int
    started: int


def _stat(pid: int) -> _Stat | None:
    """Return what there is to know of a process; ``None`` if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0], int(fields[17]), int(fields[19]))


def _reap(pids: Iterable[int]) -> None:
    """Wait for those of our children that have ended, so that none stays a zombie."""
    for pid in _children.intersection(pids):
        done = pid
        with suppress(ChildProcessError):
            done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            _children.discard(pid)
