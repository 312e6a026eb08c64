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

    def close(self) -> None:
        """Let go of what answers; all jobs have ended."""
        return

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
        self._mutex = threading.Lock()
        self._answering: _Answering | None = None

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
        with self._mutex:
            if self._answering is None or self._answering.pid != os.getpid():
                # A forked child has none of its parent's threads.
                self._answering = _Answering(self._folder)
                self._answering.start()
            return _SocketPosting(listener, path, job, self._answering)

    def close(self) -> None:
        with self._mutex:
            answering, self._answering = self._answering, None
        if answering is not None and answering.pid == os.getpid():
            answering.stop()

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


class _SocketPosting(Posting):
    """Has its process answer for one job."""

    def __init__(self, listener: socket.socket, path: str, job: Job, answering: _Answering) -> None:
        self._listener = listener
        self._path = path
        self._job = job
        self._answering = answering
        answering.add(listener, self)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return how far the job is; it may be asked for something too."""
        if question["ask"] == "cancel":
            self._job.cancel(question["reason"])
        elif question["ask"] == "wish":
            self._job.wish(**question["wishes"])
        return attrs.asdict(self._job.latest)

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            with suppress(OSError):
                os.unlink(self._path)
            self._answering.remove(self)
            self._listener.close()


class _Answering(threading.Thread):
    """Answers for all jobs that one host has in this process; it waits for none who ask.

    A thread for each job would have to be started and waited for with each, which takes longer
    than much of what jobs do.
    """

    def __init__(self, folder: str) -> None:
        import select

        super().__init__(name=f"polyvisor-jobs {folder}", daemon=True)
        self.pid = os.getpid()
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._stop_fd, select.EPOLLIN)
        self._mutex = threading.Lock()
        # Where jobs are asked for, and who has come, by descriptor.
        self._listeners: dict[int, tuple[socket.socket, _SocketPosting]] = {}
        self._askers: dict[int, tuple[socket.socket, _SocketPosting]] = {}

    def add(self, listener: socket.socket, posting: _SocketPosting) -> None:
        """Answer on a socket from now on."""
        with self._mutex:
            self._wait_on(self._listeners, listener, posting)

    def remove(self, posting: _SocketPosting) -> None:
        """Do so no more; when this returns, no answer is being given."""
        with self._mutex:
            for waiting in (self._listeners, self._askers):
                for fd, (one, theirs) in list(waiting.items()):
                    if theirs is posting:
                        del waiting[fd]
                        if not self._epoll.closed:
                            self._epoll.unregister(fd)
                        if waiting is self._askers:
                            one.close()

    def stop(self) -> None:
        """End."""
        os.eventfd_write(self._stop_fd, 1)
        self.join()
        with self._mutex:
            self._epoll.close()
        os.close(self._stop_fd)

    def _wait_on(
        self,
        waiting: dict[int, tuple[socket.socket, _SocketPosting]],
        one: socket.socket,
        posting: _SocketPosting,
    ) -> None:
        import select

        waiting[one.fileno()] = one, posting
        self._epoll.register(one, select.EPOLLIN)

    def run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._stop_fd:
                    return
                with self._mutex, suppress(OSError):
                    if fd in self._listeners:
                        listener, posting = self._listeners[fd]
                        asker, _ = listener.accept()
                        asker.setblocking(False)
                        self._wait_on(self._askers, asker, posting)
                    elif fd in self._askers:
                        self._epoll.unregister(fd)
                        asker, posting = self._askers.pop(fd)
                        with asker:
                            _tell(asker, posting)


def _tell(asker: socket.socket, posting: _SocketPosting) -> None:
    """Answer one who has asked, unless that was nonsense."""
    import json

    with suppress(ValueError, KeyError, TypeError):
        asker.send(json.dumps(posting.answer(json.loads(asker.recv(65536)))).encode())
