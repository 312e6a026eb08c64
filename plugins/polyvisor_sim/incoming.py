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
                    os.unlink(self.uri.removeprefix("unix:"))

    def _accept(self) -> socket.socket | None:
        """Return the first connection, ``None`` if :meth:`stop` comes before it."""
        poll = select.poll()
        poll.register(self._stop_fd, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        stopped = any(fd == self._stop_fd for fd, _ in poll.poll())
        return None if stopped else self._server.accept()[0]

    def _take_in(self, connection: socket.socket) -> None:
        """Read the stream, note what became of it, then tell the source."""
        source = SocketSource(connection, self._stop_fd)
        try:
            self._note(attrs.evolve(self._received(source), incoming="complete"))
        except (OSError, PolyvisorError) as error:
            words = error.message if isinstance(error, PolyvisorError) else str(error)
            words = " ".join(words.split())[:1000]
            with contextlib.suppress(OSError, PolyvisorError):
                self._note(attrs.evolve(self._machine, incoming=f"failed: {words}"))
            source.refuse(words)
        else:
            with contextlib.suppress(OSError):  # the source then asks the destination
                connection.sendall(b"complete\n")

    def _received(self, source: SocketSource) -> Machine:
        guest, machine = self._guest, self._machine
        with self._rack.memory(guest, machine.memory) as memory:
            reader = StreamReader(source, memory, f"the stream of {guest.name!r}")
            if not reader.header(version=self._version, uuid=guest.uuid):
                raise HypervisorError("the source closed the connection at once")
            return take_state(machine, memory, reader.records())

    def _note(self, machine: Machine) -> None:
        """Keep the machine as it is now, unless it was destroyed meanwhile."""
        if self._rack.find(self._guest) is None:
            raise HypervisorError("the destination gave it up")
        self._rack.put(self._guest, machine)


def wait_complete(rack: Rack, guest: Guest, timeout: float) -> None:
    """Wait until a machine has been received, and make it one that may run.

    Raises:
        HypervisorError: the stream was damaged or broke off; says where.
        Timeout: it is not complete yet.
    """
    deadline = time.monotonic() + timeout
    poll = select.poll()
    with contextlib.closing(rack.bells.hang()) as bell:
        poll.register(bell.fileno(), select.POLLIN)
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
            poll.poll(left * 1000 + 1)
            bell.silence()
