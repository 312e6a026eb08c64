"""A monitor beside the others that answers while QEMU stands still.

A QEMU whose guest needs a page that is not there may stand still as a whole, and then answers at
none of its monitors; but some commands it takes out of band (QEMU's docs/interop/qmp-spec.txt).
That must have been agreed on before, at the monitor that is used, so it is not one of those that
are opened for a moment, but a pair of FIFOs, which stay open on QEMU's side: whichever process
works on the guest writes into the one and reads the other. What QEMU tells of by itself lies
there until somebody reads it, so whoever is started anew finds it; a watch is told that there is
something, and leaves it to the one who looks.
"""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from polyvisor.errors import Timeout
from polyvisor_qemu.cmdline import RUN_FD
from polyvisor_qemu.qmp import Gone, QmpError, json_object

if TYPE_CHECKING:
    from polyvisor.local import Guest

__all__ = ["Aside", "Murmur"]

#: Seconds that QEMU has for an answer.
ANSWER = 10.0
#: In the run folder, ``.in`` and ``.out`` after it.
_NAME = "aside"


class Aside:
    """The monitor of a guest that may arrive by post-copy; a context manager.

    Args:
        guest: the guest; its runtime facts keep what was last heard of its migration.

    Raises:
        Gone: it has none.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._buffer = b""
        self._fds: list[int] = []
        try:
            for end in ("in", "out"):
                path = f"{guest.run_dir}/{_NAME}.{end}"
                self._fds.append(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            raise Gone(f"QEMU has no monitor beside the others: {error.strerror}") from error

    @staticmethod
    def words(guest: Guest) -> list[str]:
        """Make the FIFOs, and return what a command line needs of them."""
        for end in ("in", "out"):
            os.mkfifo(f"{guest.run_dir}/{_NAME}.{end}", 0o600)
        return [
            "-chardev", f"pipe,id={_NAME},path=/proc/self/fd/{RUN_FD}/{_NAME}",
            "-mon", f"chardev={_NAME},mode=control",
        ]  # fmt: skip

    @staticmethod
    def end(guest: Guest) -> None:
        """Nobody is to use it any more: the guest is whole."""
        with suppress(OSError):
            os.unlink(f"{guest.run_dir}/{_NAME}.in")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it."""
        while self._fds:
            os.close(self._fds.pop())

    def agree(self) -> None:
        """Agree on commands out of band, once, before anything else."""
        self._ask({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})

    def execute(self, command: str, **arguments: str) -> None:
        """Run a command out of band.

        Raises:
            QmpError: QEMU refuses.
            Timeout: no answer came.
        """
        self._ask({"exec-oob": command, "arguments": arguments})

    def status(self) -> str | None:
        """Return what QEMU last told of its migration's status (``MigrationStatus``)."""
        while (told := self._line(time.monotonic())) is not None:
            self._hear(told)
        found = self._guest.runtime.get("heard")
        return found if isinstance(found, str) else None

    def wait_for(self, status: str, timeout: float) -> bool:
        """Wait until the migration has a status; return whether it has in time."""
        deadline = time.monotonic() + timeout
        while self.status() != status:
            told = self._line(deadline)
            if told is None:
                return False
            self._hear(told)
        return True

    def _ask(self, request: dict[str, Any]) -> None:
        number = f"{os.getpid()}-{time.monotonic_ns()}"
        os.write(self._fds[0], json.dumps({**request, "id": number}).encode() + b"\n")
        deadline = time.monotonic() + ANSWER
        while (told := self._line(deadline)) is not None:
            if told.get("id") != number:
                self._hear(told)
            elif "error" in told:
                words = told["error"].get("desc")
                raise QmpError(f"QEMU refuses it: {words}", native_message=words)
            else:
                return
        raise Timeout(f"QEMU did not answer for {ANSWER:g} s; it is stopped or hangs")

    def _hear(self, told: dict[str, Any]) -> None:
        # That it listens anew it tells as "setup", which is no state of what has begun.
        if told.get("event") == "MIGRATION" and told["data"]["status"] != "setup":
            self._guest.runtime["heard"] = told["data"]["status"]

    def _line(self, deadline: float) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._fds[1]], [], [], left)[0]:
                return None
            self._buffer += os.read(self._fds[1], 1 << 16)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json_object(line, "QEMU's monitor")


class Murmur:
    """What QEMU says beside its other monitors, for a poll object: readable with each new word.

    Args:
        guest: the guest.

    Raises:
        OSError: it has no such monitor.
    """

    def __init__(self, guest: Guest) -> None:
        self._path = f"{guest.run_dir}/{_NAME}"
        self._fd = os.open(f"{self._path}.out", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # It stays readable as long as nobody reads it: that something new came is told once.
        self._new = select.epoll()
        self._new.register(self._fd, select.EPOLLIN | select.EPOLLET)

    def fileno(self) -> int:
        """Return what is readable."""
        return self._new.fileno()

    def heard(self) -> bool:
        """Take note of it; say whether it is of a guest that is still to be whole."""
        self._new.poll(0)
        if os.path.exists(f"{self._path}.in"):
            return True
        with suppress(OSError):  # Lest it fill up, for nobody else reads it.
            while os.read(self._fd, 1 << 16):
                pass
        return False

    def close(self) -> None:
        """Leave it."""
        self._new.close()
        os.close(self._fd)
