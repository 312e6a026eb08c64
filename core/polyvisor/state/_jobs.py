"""Jobs that others can look at and cancel, from any process.

Whoever runs a job answers for it on a socket of its own; asking costs the job nothing
while nobody asks.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import StorageError
from polyvisor.state._roots import private_folder
from polyvisor.state._sockets import address_in

if TYPE_CHECKING:
    import socket

    from polyvisor.jobs import Job, JobProgress

__all__ = ["JobBoard", "MemoryJobBoard", "SocketJobBoard"]

#: Seconds that the one who runs a job has for its answer.
ANSWER_TIMEOUT = 5.0


class JobBoard(ABC):
    """The running jobs of one host, one for each domain at most."""

    @abstractmethod
    def show(self, name: str, job: Job) -> Posting:
        """Let others see and cancel ``job``, until the posting is closed."""

    @abstractmethod
    def progress(self, name: str) -> JobProgress | None:
        """Return how far the job is, ``None`` if there is none."""

    @abstractmethod
    def cancel(self, name: str, reason: str) -> bool:
        """Cancel the job; return whether there was one."""

    @abstractmethod
    def wish(self, name: str, wishes: dict[str, Any]) -> bool:
        """Ask the job for something, in plain JSON values; return whether there was one."""

    def forget(self, name: str) -> None:
        """Put away what a killed process left of a job; whoever asks for it holds the domain."""
        return

    @contextmanager
    def shown(self, name: str, job: Job) -> Iterator[None]:
        """Do :meth:`show` for the time of a ``with`` block."""
        posting = self.show(name, job)
        try:
            yield
        finally:
            posting.close()


class Posting(ABC):
    """A job on the board."""

    @abstractmethod
    def close(self) -> None:
        """Take the job off the board. A second call does nothing."""


class MemoryJobBoard(JobBoard):
    """Jobs of one process."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def show(self, name: str, job: Job) -> Posting:
        self._jobs[name] = job
        return _MemoryPosting(self._jobs, name, job)

    def progress(self, name: str) -> JobProgress | None:
        job = self._jobs.get(name)
        return None if job is None else job.latest

    def cancel(self, name: str, reason: str) -> bool:
        job = self._jobs.get(name)
        if job is not None:
            job.cancel(reason)
        return job is not None

    def wish(self, name: str, wishes: dict[str, Any]) -> bool:
        job = self._jobs.get(name)
        if job is not None:
            job.wish(**wishes)
        return job is not None


class _MemoryPosting(Posting):
    def __init__(self, jobs: dict[str, Job], name: str, job: Job) -> None:
        self._jobs = jobs
        self._name = name
        self._job = job

    def close(self) -> None:
        if self._jobs.get(self._name) is self._job:
            del self._jobs[self._name]


class SocketJobBoard(JobBoard):
    """Jobs of any process, each behind a socket in a common folder.

    Args:
        folder: the folder; made with the first job.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def show(self, name: str, job: Job) -> Posting:
        import socket

        private_folder(self._folder)
        path = f"{self._folder}/{name}"
        with suppress(FileNotFoundError):
            os.unlink(path)  # left by a process that was killed
        listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            with address_in(self._folder, name) as address:
                listener.bind(address)
            listener.listen(16)
        except OSError as error:
            listener.close()
            raise StorageError(
                f"cannot make the socket {path}: {error.strerror}", path=path
            ) from error
        posting = _SocketPosting(listener, path, job)
        posting.start()
        return posting

    def forget(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(f"{self._folder}/{name}")

    def progress(self, name: str) -> JobProgress | None:
        answer = self._ask(name, {"ask": "progress"})
        if answer is None:
            return None
        from polyvisor.jobs import JobProgress

        known = {field.name for field in attrs.fields(JobProgress)}
        return JobProgress(**{key: value for key, value in answer.items() if key in known})

    def cancel(self, name: str, reason: str) -> bool:
        return self._ask(name, {"ask": "cancel", "reason": reason}) is not None

    def wish(self, name: str, wishes: dict[str, Any]) -> bool:
        return self._ask(name, {"ask": "wish", "wishes": wishes}) is not None

    def _ask(self, name: str, question: dict[str, Any]) -> dict[str, Any] | None:
        if not os.path.exists(f"{self._folder}/{name}"):
            return None
        import json
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            asker.settimeout(ANSWER_TIMEOUT)
            try:
                with address_in(self._folder, name) as address:
                    asker.connect(address)
                asker.send(json.dumps(question).encode())
                answer = json.loads(asker.recv(65536))
            except (OSError, ValueError):
                return None  # It ended just now, or its process was killed.
        return answer if isinstance(answer, dict) else None


class _SocketPosting(threading.Thread, Posting):
    """Answers for one job."""

    def __init__(self, listener: socket.socket, path: str, job: Job) -> None:
        super().__init__(name=f"polyvisor-job {path}", daemon=True)
        self._listener = listener
        self._path = path
        self._job = job
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)

    def run(self) -> None:
        import json
        import select

        poller = select.poll()
        poller.register(self._stop_fd, select.POLLIN)
        poller.register(self._listener, select.POLLIN)
        while not any(fd == self._stop_fd for fd, _ in poller.poll()):
            with suppress(OSError, ValueError):
                asker, _ = self._listener.accept()
                with asker:
                    asker.settimeout(ANSWER_TIMEOUT)
                    answer = self._answer(json.loads(asker.recv(65536)))
                    asker.send(json.dumps(answer).encode())

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["ask"] == "cancel":
            self._job.cancel(question["reason"])
        elif question["ask"] == "wish":
            self._job.wish(**question["wishes"])
        return attrs.asdict(self._job.latest)

    def close(self) -> None:
        if self._stop_fd >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            os.eventfd_write(self._stop_fd, 1)
            self.join()
            self._listener.close()
            os.close(self._stop_fd)
            self._stop_fd = -1
