"""A relay for connections, which can be cut."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

__all__ = ["HERE", "THERE", "Relay"]

#: Where a relay listens, and where it leads to, at the same port.
HERE, THERE = "127.0.0.2", "127.0.0.3"


class Relay:
    """Leads whoever connects to where somebody listens, until it is cut; for a ``with`` block.

    Attributes:
        port: where it listens and what it leads to.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((HERE, 0))
        self.port = int(self._listener.getsockname()[1])
        self._made: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cut()

    @property
    def words(self) -> tuple[str, ...]:
        """What has virsh send a guest through it."""
        uri = f"tcp://{HERE}:{self.port}"
        return "--migrateuri", uri, "--listen-address", THERE

    def cut(self) -> None:
        """Break all connections, as if the host in between had died and come back."""
        for one in (self._listener, *self._made):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection((THERE, self.port), timeout=30)
                far.settimeout(None)
                self._made += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
