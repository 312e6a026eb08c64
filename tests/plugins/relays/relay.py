"""A relay for connections, which can be cut."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from math import inf
from typing import Self

__all__ = ["HERE", "THERE", "Relay"]

#: Where a relay listens, and where it leads to, at the same port.
HERE, THERE = "127.0.0.2", "127.0.0.3"


class Relay:
    """Leads whoever connects to where somebody listens, until it is cut; for a ``with`` block.

    Attributes:
        port: where it listens and what it leads to.
        rate: bytes per second at most that it lets through to there.
        mute: whether it keeps back what comes from there.
    """

    def __init__(self) -> None:
        self.rate, self.mute = inf, False
        self._ended = threading.Event()
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
        self._ended.set()
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
                for way in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if back and self.mute:
                    self._ended.wait()
                elif not back and self.rate < inf:
                    time.sleep(len(data) / self.rate)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
