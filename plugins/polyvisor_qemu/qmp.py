"""QMP, QEMU's control protocol: JSON objects, one a line, over a unix socket.

The protocol is described in QEMU's docs/interop/qmp-spec.txt. This client is synchronous
and small on purpose: a monitor is opened for a moment at a time under the domain's lock,
and opening it must cost less than the command it is opened for.

QEMU reads a monitor byte by byte, and takes seven system calls for each: two to five microseconds.
Hence commands are written without a blank, without a line's end, which it does not need, and
without a number: it answers in order.
"""

from __future__ import annotations

import array
import itertools
import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Self

from polyvisor.errors import HypervisorError, Timeout

__all__ = ["Gone", "Monitor", "QmpError", "ask_all", "json_object", "written"]

#: Longest line that is accepted; query-qmp-schema's answer is about 200 KiB.
MAX_LINE = 16 << 20

#: Seconds for which what was posted is waited for when its monitor is left.
POSTED = 1.0
#: A command's name and its arguments, as they are.
Command = tuple[str, dict[str, Any]]

_clients = itertools.count()


class QmpError(HypervisorError):
    """QEMU refused a command; its class and words are in ``native_code`` and ``native_message``."""


class Gone(HypervisorError):
    """QEMU closed the monitor or was not there to begin with."""


class Monitor:
    """A connection to one monitor.

    Args:
        path: the monitor's socket.
        timeout: seconds to wait for the greeting and for each answer.
        wait: for the greeting; without, it is waited for together with the first answer, which
            spares a round trip.

    Attributes:
        timeout: as given.
        events: those that came and nobody has asked for.
        kept: a ``with`` block leaves it open unless it ends with an error.
        give: lets QEMU open a file by its path, if it runs as another user.

    Raises:
        Gone: nobody listens there.
        Timeout: somebody does, but does not speak: QEMU is stopped or hangs, or another
            client has the monitor. Without ``wait``, the first answer is what raises it.
    """

    def __init__(self, path: str, *, timeout: float = 30.0, wait: bool = True) -> None:
        self.events: deque[dict[str, Any]] = deque()
        self.timeout = timeout
        self.kept = False
        self.give: Callable[[str], None] | None = None
        self._buffer = bytearray()
        self._asked = 0
        self._answered = 0
        self._owed = 0
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connect(self._socket, path, timeout)
            # QEMU reads it after its greeting, which need not be waited for. Until it is answered,
            # all that comes was meant for the last client.
            self._mark = (os.getpid() + next(_clients)) % 1000
            self._unsent = written({"execute": "qmp_capabilities", "id": self._mark})
            self._greets = True
            if wait:
                self.wait()
        except BaseException:
            self._socket.close()
            raise

    def wait(self) -> None:
        """Wait until QEMU has greeted.

        Raises:
            Gone: it is gone.
            Timeout: it does not.
            HypervisorError: it is something else.
        """
        if self._greets:
            self._send(b"", ())
            self._greeted()

    def _greeted(self) -> None:
        deadline = time.monotonic() + self.timeout
        while (told := self._receive(deadline, "greeting")).get("id") != self._mark:
            if "event" in told:
                self.events.append(told)
            elif told.keys().isdisjoint(("QMP", "return", "error")):
                raise HypervisorError(f"{self._path} is no QMP monitor: it says {str(told)[:80]}")
        self._greets = False
        _result("qmp_capabilities", told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if not self.kept or kind is not None:
            self.close()

    def close(self) -> None:
        """Leave the monitor, once QEMU has seen to what was posted."""
        try:
            if self._owed and self._socket.fileno() >= 0:
                # It drops what it has not read yet when its client goes.
                with suppress(HypervisorError, Timeout):
                    self._answer("what it was told", self._owed, POSTED)
        finally:
            self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor on which answers and events come."""
        return self._socket.fileno()

    def execute(
        self,
        command: str,
        *,
        fds: tuple[int, ...] = (),
        timeout: float | None = None,
        **arguments: Any,
    ) -> Any:
        """Run a command and return what it returns.

        Args:
            command: its name.
            fds: descriptors to hand over with it.
            timeout: seconds to wait for the answer instead of the monitor's own.
            arguments: its arguments; an underscore stands for a dash, unless the command's
                own name has one.

        Raises:
            QmpError: QEMU refuses.
            Timeout: no answer came.
            Gone: QEMU is gone.
        """
        self._send(self._request(command, arguments), fds)
        return self._answer(command, self._asked, timeout)

    def execute_all(self, *commands: Command, fds: tuple[int, ...] = ()) -> None:
        """Run commands one after another, in one round trip; what they return is not told.

        QEMU runs the later ones even if an earlier one fails.

        Args:
            commands: names and arguments, the latter as they are.
            fds: descriptors to hand over with them.

        Raises:
            QmpError: QEMU refuses one.
            Timeout: no answer came.
            Gone: QEMU is gone.
        """
        with self.telling(*commands, fds=fds):
            pass

    @contextmanager
    def telling(self, *commands: Command, fds: tuple[int, ...] = ()) -> Iterator[None]:
        """Do :meth:`execute_all`; the answers are waited for at the end of a ``with`` block."""
        first = self._send_off(commands, fds)
        yield
        refused: QmpError | None = None
        for number, (name, _) in enumerate(commands, first):
            try:
                self._answer(name, number, None)
            except QmpError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def post(self, *commands: Command) -> None:
        """Send commands for whose answers nobody waits; QEMU runs them before any later one.

        Args:
            commands: names and arguments, the latter as they are.

        Raises:
            Timeout: QEMU does not read them.
            Gone: QEMU is gone.
        """
        self._send_off(commands)
        self._owed = self._asked

    def ask(self, *commands: Command, fds: tuple[int, ...] = ()) -> list[Any]:
        """Run commands in one round trip and return their answers, in order.

        In the place of one that QEMU refuses stands the :class:`QmpError`.

        Args:
            commands: names and arguments, the latter as they are.
            fds: descriptors to hand over with them.

        Raises:
            Timeout: no answer came.
            Gone: QEMU is gone.
        """
        return self._answers(self._send_off(commands, fds), commands)

    def _send_off(self, commands: Sequence[Command], fds: tuple[int, ...] = ()) -> int:
        """Send commands and return which one the first is of all."""
        first = self._asked + 1
        self._send(b"".join(self._request(name, given) for name, given in commands), fds)
        return first

    def _answers(self, first: int, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        for number, (name, _) in enumerate(commands, first):
            try:
                answers.append(self._answer(name, number, None))
            except QmpError as error:
                answers.append(error)
        return answers

    def _request(self, command: str, arguments: dict[str, Any]) -> bytes:
        self._asked += 1
        request: dict[str, Any] = {"execute": command}
        if arguments:
            # The oldest commands have underscores in their own names, and in their arguments'.
            old = "_" in command
            request["arguments"] = {
                name if old else name.replace("_", "-"): v for name, v in arguments.items()
            }
        return written(request)

    def _answer(self, command: str, number: int, timeout: float | None) -> Any:
        if self._greets:
            self._greeted()
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            answer = self._receive(deadline, command)
            if "event" in answer:
                self.events.append(answer)
            elif self._answered == number and _is_answer(answer):
                # Those before it are to commands for which nobody waited, or not long enough.
                return _result(command, answer)

    def next_event(self, timeout: float | None) -> dict[str, Any] | None:
        """Return the next event, ``None`` if none comes within ``timeout`` seconds."""
        self.wait()
        if self.events:
            return self.events.popleft()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while "event" not in (answer := self._receive(deadline, "event")):
                pass
        except Timeout:
            return None
        return answer

    # The wire

    def _send(self, data: bytes, fds: tuple[int, ...]) -> None:
        data, self._unsent = self._unsent + data, b""
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                sent = self._socket.sendmsg([data], rights)
                data = data[sent:]
            if data:
                self._socket.sendall(data)
        except BlockingIOError as error:
            raise Timeout("QEMU does not read what it is told; it is stopped or hangs") from error
        except OSError as error:
            raise Gone(f"QEMU has closed its monitor: {error.strerror}") from error

    def _receive(self, deadline: float | None, waiting_for: str) -> dict[str, Any]:
        while True:
            end = self._buffer.find(b"\n")
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                if not line.strip():
                    continue
                told = json_object(line, "QEMU's monitor")
                if not self._greets and _is_answer(told):
                    self._answered += 1
                    if self._answered == self._owed:
                        self._owed = 0
                return told
            if len(self._buffer) > MAX_LINE:
                raise HypervisorError(f"QEMU's monitor sent a line of over {MAX_LINE >> 20} MiB")
            self._fill(deadline, waiting_for)

    def _fill(self, deadline: float | None, waiting_for: str) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        if not poller.poll(None if left is None else left * 1000):
            raise Timeout(
                f"QEMU did not answer ({waiting_for}); it is stopped or hangs, or its monitor "
                f"is in use by somebody else"
            )
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise Gone(f"QEMU has closed its monitor: {error.strerror}") from error
        if not data:
            raise Gone("QEMU has closed its monitor")
        self._buffer += data


def written(request: dict[str, Any]) -> bytes:
    """Return a request as it is sent."""
    return json.dumps(request, separators=(",", ":")).encode()


def _is_answer(told: dict[str, Any]) -> bool:
    return "event" not in told and ("return" in told or "error" in told)


def _result(command: str, answer: dict[str, Any]) -> Any:
    """Return what a command returned.

    Raises:
        QmpError: QEMU refuses it.
    """
    if "return" in answer:
        return answer["return"]
    error = answer["error"] if isinstance(answer["error"], dict) else {}
    told = error.get("desc")
    raise QmpError(
        f"QEMU refuses {command}: {told or 'it does not say why'}",
        native_code=error.get("class"),
        native_message=told,
    )


def ask_all(
    questions: Sequence[tuple[str, Sequence[Command]]], *, timeout: float
) -> Generator[list[Any] | HypervisorError, None, None]:
    """Do :meth:`Monitor.ask` on many monitors; all work on it at the same time.

    What is done with one's answers is done while the others still work on theirs.

    Args:
        questions: the monitors' sockets, each with its commands.
        timeout: seconds that all of them together have.

    Yields:
        For each monitor its answers, or what went wrong.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        asked: list[tuple[Monitor, int, Sequence[Command]] | HypervisorError] = []
        for path, commands in questions:
            try:
                monitor = stack.enter_context(Monitor(path, timeout=timeout, wait=False))
                asked.append((monitor, monitor._send_off(commands), commands))
            except HypervisorError as error:
                asked.append(error)
        for one in asked:
            if isinstance(one, HypervisorError):
                yield one
                continue
            monitor, first, commands = one
            monitor.timeout = max(0.0, deadline - time.monotonic())
            told: list[Any] | HypervisorError
            try:
                told = monitor._answers(first, commands)
            except HypervisorError as error:
                told = error
            monitor.close()
            yield told


def json_object(line: bytes, sender: str) -> dict[str, Any]:
    """Return the JSON object in a line that ``sender``, as in an error's words, has sent.

    Raises:
        HypervisorError: it is something else.
    """
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HypervisorError(f"{sender} sent what is not JSON: {line[:80]!r}") from error
    if not isinstance(answer, dict):
        raise HypervisorError(f"{sender} sent {line[:80]!r}, not an object")
    return answer


def connect(sock: socket.socket, path: str, timeout: float) -> None:
    """Connect to a unix socket whose path may be longer than the kernel's 107 bytes.

    Raises:
        Gone: nobody listens there.
        Timeout: as many wait there already as may, and nobody is let in.
    """
    folder, name = os.path.split(path)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Gone(f"QEMU is not there: {folder}: {error.strerror}") from error
    try:
        # A socket with a Python timeout does not wait at all where the queue is full.
        limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6) or 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        sock.connect(f"/proc/self/fd/{handle}/{name}")
    except BlockingIOError as error:
        raise Timeout(
            f"QEMU does not answer at {path}: it is stopped or hangs, and others wait for it"
        ) from error
    except OSError as error:
        raise Gone(f"QEMU is not there: {path}: {error.strerror}") from error
    finally:
        os.close(handle)


def listen(path: str) -> socket.socket:
    """Make a listening socket at ``path``; what was there is replaced."""
    folder, name = os.path.split(path)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        made.bind(f"/proc/self/fd/{handle}/{name}")
        os.chmod(path, 0o600)
        made.listen(8)
    except BaseException:
        made.close()
        raise
    finally:
        os.close(handle)
    return made
