"""A guest's stream on its way inside the connection, from a source in this process.

The source writes to a socket as it would to a destination of its own kind; from there it goes
into the stream that follows ``domain_migrate_prepare_tunnel3_params``.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.errors import PolyvisorError
from polyvisor_remote.wire import STREAM_CHUNK

if TYPE_CHECKING:
    from polyvisor_remote.client.stream import Stream

__all__ = ["Tunnel"]


class Tunnel:
    """Hands on what is written to a socket, until it is closed.

    Args:
        stream: where to.

    Attributes:
        uri: where the source is to connect.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        # Ours alone, as whoever connects is taken for the source.
        self._folder = tempfile.mkdtemp(prefix="polyvisor-")
        path = os.path.join(self._folder, "stream")
        self.uri = f"unix:{path}"
        self._error: PolyvisorError | None = None
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(path)
            self._listener.listen(1)
        except BaseException:
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._thread = threading.Thread(target=self._run, name="polyvisor-tunnel", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._listener:
                try:
                    # A shutdown wakes who waits here.
                    source, _ = self._listener.accept()
                except OSError:
                    self._stream.abort()
                    return
            with source:
                while data := source.recv(STREAM_CHUNK):
                    self._stream.send(data)
            if self._closing:
                self._stream.abort()
            else:
                self._stream.finish()
        except OSError:
            self._stream.abort()
        except PolyvisorError as error:
            self._error = error

    def close(self, *, cancelled: bool) -> None:
        """Wait until everything has gone through, or give it up.

        Raises:
            PolyvisorError: it broke off on the way; not if it is given up.
        """
        self._closing = cancelled
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._error is not None and not cancelled:
            raise self._error
