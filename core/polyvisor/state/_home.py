"""One host's domains: everything that belongs together."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from polyvisor.state._roots import private_folder

if TYPE_CHECKING:
    from polyvisor.state._bells import Bells
    from polyvisor.state._jobs import JobBoard
    from polyvisor.state._locks import Locks
    from polyvisor.state._roots import Roots
    from polyvisor.state._store import Store

__all__ = ["Home", "boot_id"]


@cache
def boot_id() -> str:
    """Return what tells this boot of the host from any other."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Home:
    """Where the domains of one host live; made by :meth:`on_disk` or :meth:`in_memory`.

    Attributes:
        store: what is known of them.
        locks: one for each domain, by UUID.
        bells: rung when there are new events.
        jobs: what runs on them.
        roots: the folders, or ``None`` in memory.
    """

    def __init__(
        self, store: Store, locks: Locks, bells: Bells, jobs: JobBoard, roots: Roots | None
    ) -> None:
        self.store = store
        self.locks = locks
        self.bells = bells
        self.jobs = jobs
        self.roots = roots
        self._scratch: _Scratch | None = None
        self._asked = False

    @classmethod
    def on_disk(cls, roots: Roots) -> Home:
        """Return the home in ``roots``, shared with all processes that open the same.

        Raises:
            StorageError: the folders cannot be made.
        """
        from polyvisor.state._bells import SocketBells
        from polyvisor.state._filelocks import FileLocks
        from polyvisor.state._jobs import SocketJobBoard
        from polyvisor.state._sqlite import SqliteStore

        private_folder(roots.state)
        roots = roots.with_agreed_run()
        return cls(
            SqliteStore(f"{roots.state}/domains.sqlite"),
            FileLocks(f"{roots.state}/locks"),
            SocketBells(f"{roots.run}/listeners"),
            SocketJobBoard(f"{roots.run}/jobs"),
            roots,
        )

    @classmethod
    def in_memory(cls) -> Home:
        """Return a home of this process alone; drivers that are given it share it."""
        from polyvisor.state._bells import MemoryBells
        from polyvisor.state._jobs import MemoryJobBoard
        from polyvisor.state._memlocks import MemoryLocks
        from polyvisor.state._memory import MemoryStore

        return cls(MemoryStore(), MemoryLocks(), MemoryBells(), MemoryJobBoard(), None)

    def folder(self, name: str) -> str:
        """Return the folder ``name`` for files that last, such as ``"save"``; it exists.

        In memory it is a temporary one, gone with the process.
        """
        if self.roots is not None:
            return private_folder(f"{self.roots.state}/{name}")
        if self._scratch is None:
            self._scratch = _Scratch()
        return private_folder(f"{self._scratch.path}/{name}")

    def run_dir(self, number: int) -> str | None:
        """Return where the folder of the running guest ``number`` is; ``None`` in memory."""
        return f"{self.roots.run}/{number}" if self.roots is not None else None

    def make_run_dir(self, number: int) -> None:
        """Make that folder."""
        path = self.run_dir(number)
        if path is not None:
            private_folder(path)

    def first_of_boot(self) -> bool:
        """Say whether nobody has asked this since the host was booted; in memory, at all."""
        if self.roots is None:
            first, self._asked = not self._asked, True
            return first
        import fcntl

        booted = boot_id().encode()
        fd = os.open(f"{self.roots.state}/boot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.read(fd, 256) == booted:
                return False
            os.ftruncate(fd, 0)
            os.pwrite(fd, booted, 0)
            return True
        finally:
            os.close(fd)

    def log_dir(self) -> str | None:
        """Return the folder for logs, which exists."""
        return private_folder(self.roots.log) if self.roots is not None else None

    def close(self) -> None:
        """Release what is open; what is kept in memory stays for others who share it."""
        self.jobs.close()
        self.store.close()
        self.bells.close()


class _Scratch:
    """A temporary folder that goes with this object, at the latest with the process.

    One that a killed process left is removed when the next one is made: its lock is free.
    """

    def __init__(self) -> None:
        import fcntl
        import tempfile
        import weakref
        from contextlib import suppress

        from polyvisor.state._files import remove_tree

        above = private_folder(f"{tempfile.gettempdir()}/polyvisor-{os.getuid()}")
        self.path = tempfile.mkdtemp(prefix="memory-", dir=above)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        for name in os.listdir(above):
            path = f"{above}/{name}"
            if not name.startswith("memory-") or path == self.path:
                continue
            with suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_tree(path)
                finally:
                    os.close(fd)
        weakref.finalize(self, _remove_scratch, self.path, self._fd, os.getpid())


def _remove_scratch(path: str, fd: int, owner: int) -> None:
    if os.getpid() == owner:
        from polyvisor.state._files import remove_tree

        remove_tree(path)
        os.close(fd)
