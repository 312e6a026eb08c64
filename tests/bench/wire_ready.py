"""Answers as a daemon does, ready made: ``wire_ready.py LISTEN SOCKET``, until it is ended.

Stands before a daemon. Lists and figures that were asked for before are answered with the bytes
of the first answer, as long as nothing else was asked for since: what is left is what the client
takes, and one turn of the kernel.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading

from polyvisor_remote.wire import HEADER_SIZE, Kind, program

REMOTE = program("remote")
READY = {
    REMOTE[name].number for name in ("connect_list_all_domains", "connect_get_all_domain_stats")
}
#: Where a message has its procedure, its kind and its serial.
_PROCEDURE, _KIND, _SERIAL = 12, 16, 20
_word = struct.Struct(">I").unpack_from


class Reader:
    """Reads whole messages."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected
        self._data = b""

    def message(self) -> bytes:
        """Return the next one."""
        while len(self._data) < 4 or len(self._data) < _word(self._data)[0]:
            more = self._connected.recv(1 << 20)
            if not more:
                raise EOFError
            self._data += more
        length = _word(self._data)[0]
        found, self._data = self._data[:length], self._data[length:]
        return found


def serve(client: socket.socket, daemon: str) -> None:
    """Serve one client until it goes."""
    behind = socket.socket(socket.AF_UNIX)
    behind.connect(daemon)
    calls, answers = Reader(client), Reader(behind)
    known: dict[bytes, bytes] = {}
    with client, behind:
        while True:
            try:
                call = calls.message()
            except EOFError:
                return
            if _word(call, _PROCEDURE)[0] not in READY:
                known.clear()
            asked = call[_PROCEDURE:_SERIAL] + call[HEADER_SIZE:]
            answer = known.get(asked)
            if answer is None:
                behind.sendall(call)
                while _word(answer := answers.message(), _KIND)[0] != Kind.REPLY:
                    client.sendall(answer)
                known[asked] = answer
            client.sendall(answer[:_SERIAL] + call[_SERIAL : _SERIAL + 4] + answer[_SERIAL + 4 :])


def main() -> None:
    """Take clients in."""
    path, daemon = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, daemon), daemon=True).start()


main()
