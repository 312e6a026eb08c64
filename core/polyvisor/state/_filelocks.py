"""Locks between processes: ``flock`` on one file each."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from contextlib import suppress

from polyvisor.errors import StorageError
from polyvisor.state._locks import Claim, Lock, Locks, describe
from polyvisor.state._roots import private_folder

__all__ = ["FileLocks"]

# A forked child shares the open files of its parent, and with them the locks, which would
# then outlive the parent: the child lets go of its share at once.
_open_files: set[int] = set()


def _drop_shares() -> None:
    for fd in _open_files:
        with suppress(OSError):
            os.close(fd)
    _open_files.clear()


os.register_at_fork(after_in_child=_drop_shares)


class FileLocks(Locks):
    """Locks as files in a folder.

    Args:
        folder: the folder; made when it is first needed.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._queues: dict[str, _Queue] = {}
        self._mutex = threading.Lock()

    def try_acquire(self, name: str, operation: str) -> Lock | None:
        path = self._path(name)
        while True:
            fd = self._open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _close(fd)
                return None
            except BaseException:
                _close(fd)
                raise
            if _is_at(fd, path):
                return _held(fd, path, operation)
            _close(fd)  # The holder before us took the file away.

    def claim(self, name: str, operation: str) -> Claim:
        path = self._path(name)
        with self._mutex:
            queue = self._queues.get(path)
            if queue is None:
                queue = self._queues[path] = _Queue(self, path)
                queue.start()
            claims = queue.claims

            def withdraw(claim: Claim) -> None:
                with self._mutex, suppress(ValueError):
                    claims.remove((claim, operation))

            claim = Claim(withdraw)
            claims.append((claim, operation))
        return claim

    def holder(self, name: str) -> str:
        import json

        try:
            with open(self._path(name), encoding="utf-8") as file:
                facts = json.loads(file.readline())
            return describe(facts["pid"], facts["operation"], facts["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _open(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            private_folder(self._folder)
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot open the lock {path}: {error.strerror}", path=path
            ) from error
        _open_files.add(fd)
        return fd


class _Queue(threading.Thread):
    """Waits in the kernel on behalf of all who stand in line in this process.

    One thread for each lock that is waited for: a wait that was given up leaves no
    second one behind, however often it is tried anew.
    """

    def __init__(self, locks: FileLocks, path: str) -> None:
        super().__init__(name=f"polyvisor-lock {path}", daemon=True)
        self.claims: deque[tuple[Claim, str]] = deque()
        self._locks = locks
        self._path = path

    def run(self) -> None:
        mutex, queues = self._locks._mutex, self._locks._queues
        while True:
            try:
                fd = self._wait()
            except (OSError, StorageError):
                # The folder is gone. Those in line are told that the lock is busy.
                with mutex:
                    del queues[self._path]
                return
            with mutex:
                if self.claims:
                    claim, operation = self.claims.popleft()
                    claim.grant(_held(fd, self._path, operation))
                else:
                    _close(fd)
                if not self.claims:
                    del queues[self._path]
                    return

    def _wait(self) -> int:
        while True:
            fd = self._locks._open(self._path)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, self._path):
                return fd
            _close(fd)


def _held(fd: int, path: str, operation: str) -> Lock:
    """Write down who holds the lock, and return it."""
    import json

    facts = {"pid": os.getpid(), "operation": operation, "since": time.time()}
    with suppress(OSError):  # A full disk must not keep anybody from stopping a domain.
        # The line stands for itself, whatever longer one it is written over: to cut the file
        # would cost more than all the rest.
        os.pwrite(fd, json.dumps(facts).encode() + b"\n", 0)
    owner = os.getpid()

    def release(discard: bool) -> None:
        if os.getpid() != owner:
            return  # The child's share was dropped when it was forked.
        if discard:
            # Only the holder removes the file, and whoever then gets the lock of a file
            # that is no longer at its place opens it anew.
            with suppress(OSError):
                os.unlink(path)
        _close(fd)

    return Lock(release)


def _is_at(fd: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _close(fd: int) -> None:
    _open_files.discard(fd)
    os.close(fd)
