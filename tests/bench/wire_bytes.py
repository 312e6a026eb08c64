"""Times a daemon alone: ``wire_bytes.py URI``; prints JSON, seconds a call.

The client of this script sends the same bytes again and reads as many as come, without looking
at them, so that hardly anything but the daemon's own work is measured.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from functools import partial
from urllib.parse import parse_qs, urlsplit

import documents
from timing import least_seconds

from polyvisor_remote.wire import FrameReader, Kind, Status, frame, program

DOMAINS = 100
STATE = 1  # VIR_DOMAIN_STATS_STATE
REMOTE = program("remote")


class Client:
    """One connection, on which calls follow each other."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def message(self, name: str, *arguments: object) -> bytes:
        """Return the bytes of a call."""
        procedure = REMOTE[name]
        payload = procedure.arguments.codec.encode(arguments)
        return frame(REMOTE.number, 1, procedure.number, Kind.CALL, 1, Status.OK, payload)

    def call(self, name: str, *arguments: object) -> None:
        """Call and wait for an answer that is none of failure."""
        self._socket.sendall(self.message(name, *arguments))
        reader = FrameReader()
        while not (messages := reader.feed(self._socket.recv(1 << 16))):
            pass
        assert messages[0].status == Status.OK, messages[0]

    def again(self, message: bytes) -> None:
        """Send the bytes of a call and read the answer's."""
        self._socket.sendall(message)
        data = self._socket.recv(1 << 20)
        missing = struct.unpack_from(">I", data)[0] - len(data)
        while missing > 0:
            missing -= len(self._socket.recv(1 << 20))


def main() -> None:
    """Print the figures of one daemon."""
    client = Client(parse_qs(urlsplit(sys.argv[1]).query)["socket"][0])
    client.call("connect_open", "test:///default", 0)
    for number in range(DOMAINS - 1):
        client.call("domain_create_xml", documents.small(number), 0)
    calls = {
        "list_100": client.message("connect_list_all_domains", 1, 0),
        "states_100": client.message("connect_get_all_domain_stats", [], STATE, 0),
        "stats_100": client.message("connect_get_all_domain_stats", [], 0, 0),
    }
    figures = {name: least_seconds(partial(client.again, one)) for name, one in calls.items()}
    print(json.dumps(figures))


main()
