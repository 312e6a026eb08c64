"""Times and weighs a daemon with many clients: ``wire_memory.py SOCKET PID``; prints JSON."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path
from time import perf_counter, sleep

from polyvisor_remote.wire import FrameReader, Kind, Status, frame, program

IDLE, BUSY, SECONDS = 1000, 100, 60.0
REMOTE = program("remote")
path, pid = sys.argv[1], sys.argv[2]


def resident() -> int:
    """Return the daemon's resident memory in bytes."""
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


def call(connected: socket.socket, name: str, *arguments: object) -> None:
    """Call and wait for the answer."""
    procedure = REMOTE[name]
    payload = procedure.arguments.codec.encode(arguments)
    connected.sendall(frame(REMOTE.number, 1, procedure.number, Kind.CALL, 1, Status.OK, payload))
    reader = FrameReader()
    while not (messages := reader.feed(connected.recv(65536))):
        pass
    assert messages[0].status == Status.OK


def client() -> socket.socket:
    """Return a client that has opened the test driver."""
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(path)
    call(connected, "connect_open", "test:///default", 0)
    return connected


idle = [client() for _ in range(IDLE)]
sleep(0.5)
figures: dict[str, float] = {"idle_memory": resident()}
times: list[float] = []


def busy(connected: socket.socket, end: float) -> None:
    """Ask for a host's name until the end, and note how long each answer took."""
    while (begun := perf_counter()) < end:
        call(connected, "connect_get_hostname")
        times.append(perf_counter() - begun)
        sleep(0.02)


end = perf_counter() + SECONDS
threads = [threading.Thread(target=busy, args=(idle[number], end)) for number in range(BUSY)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
times.sort()
figures["p99"] = times[len(times) * 99 // 100]
print(json.dumps(figures))
