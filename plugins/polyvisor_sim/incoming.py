"""Live migration, the receiving side: a thread that fills a machine's memory.

The machine's ``incoming`` says how far it is, for whichever process finishes the
migration; the machine does not run before the whole stream is there.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import HypervisorError, PolyvisorError, Timeout
from polyvisor_sim.channel import SocketSource, listen
from polyvisor_sim.stream import StreamReader
from polyvisor_sim.transfer import take_state

if TYPE_CHECKING:
    import socket

    from polyvisor.local import Guest
    from polyvisor_sim.machine import Machine
    from polyvisor_sim.rack import Rack

__all__ = ["Receiver", "wait_complete"]

# Seconds that the source may take to accept a short answer.
_ANSWER = 10.0


class Receiver:
    """Listens for one stream and takes it in.

    Args:
        rack: where the machine is kept.
        guest: whose it is.
        machine: the machine as its definition describes it.
        version: of the stream.
        listen_uri: where to listen; ``None``: a socket in the guest's run folder, or on
            the loopback interface if it has none.

    Attributes:
        uri: where the source connects to.
    """

    def __init__(
        self, rack: Rack, guest: Guest, machine: Machine, version: int, listen_uri: str | None
    ) -> None:
        if listen_uri is None:
            folder = guest.run_dir
            listen_uri = f"unix:{folder}/migration.sock" if folder else "tcp:127.0.0.1:0"
        self._rack = rack
        self._guest = guest
        self._machine = machine
        self._version = version
        self._server, self.uri = listen(listen_uri)
        self._lock = threading.Lock()
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"receive {guest.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up, if it is not over already, and wait until the thread has ended."""
        with self._lock:
            if self._stop_fd >= 0:
                os.eventfd_write(self._stop_fd, 1)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._server:
                connection = self._accept()
            if connection is not None:
                with connection:
                    self._take_in(connection)
        finally:
            with self._lock:
                os.close(self._stop_fd)
                self._stop_fd = -1
            if self.uri.startswith("unix:"):
                with contextlib.suppress(OSError):
                    os.unlink(self.uri.removeprefix("unix:"))  # noqa: PTH108

    def _accept(self) -> socket.socket | None:
        """Return the first connection, ``None`` if :meth:`stop` comes before it."""
        poll = select.poll()
        poll.register(self._stop_fd, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        stopped = any(fd == self._stop_fd for fd, _ in poll.poll())
        return None if stopped else self._server.accept()[0]

    def _take_in(self, connection: socket.socket) -> None:
        guest, machine = self._guest, self._machine
        try:
            source = SocketSource(connection, self._stop_fd)
            with self._rack.memory(guest, machine.memory) as memory:
                reader = StreamReader(source, memory, f"the stream of {guest.name!r}")
                if not reader.header(version=self._version, uuid=guest.uuid):
                    raise HypervisorError("the source closed the connection at once")
                machine = take_state(machine, memory, reader.records())
            answer = "complete"
        except (OSError, PolyvisorError) as error:
            answer = error.message if isinstance(error, PolyvisorError) else str(error)
            machine = attrs.evolve(machine, incoming=f"failed: {answer}")
        else:
            machine = attrs.evolve(machine, incoming="complete")
        # What the destination keeps comes first: the source believes it once it is told.
        with contextlib.suppress(PolyvisorError, OSError):
            if self._rack.find(guest) is not None:
                self._rack.put(guest, machine)
                connection.settimeout(_ANSWER)
                connection.sendall(" ".join(answer.split())[:1000].encode() + b"\n")


def wait_complete(rack: Rack, guest: Guest, timeout: float) -> None:
    """Wait until a machine has been received, and make it one that may run.

    Raises:
        HypervisorError: the stream was damaged or broke off; says where.
        Timeout: it is not complete yet.
    """
    deadline = time.monotonic() + timeout
    poll = select.poll()
    with rack.bell.listen() as listener:
        while True:
            machine = rack.get(guest)
            if machine.incoming == "complete":
                rack.put(guest, attrs.evolve(machine, incoming=None))
                return
            if machine.incoming is None:
                return
            if machine.incoming != "waiting":
                raise HypervisorError(
                    f"{guest.name!r} could not be received: "
                    f"{machine.incoming.removeprefix('failed: ')}",
                    domain=guest.name,
                    native_message=machine.incoming,
                )
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(
                    f"{guest.name!r}: its memory had not arrived after {timeout:g} s",
                    domain=guest.name,
                )
            poll.register(listener.fileno(), select.POLLIN)
            poll.poll(left * 1000 + 1)
            poll.unregister(listener.fileno())
            listener.rearm()
