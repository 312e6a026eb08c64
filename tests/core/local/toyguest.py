"""The guest of the toy hypervisor: a process that counts while it runs.

Run as ``python toyguest.py FOLDER [incoming]``. It is told what to do through a socket in
its folder, one line of JSON for each order, with a file descriptor beside it where the
order needs one.
"""

import _socket  # the whole of socket would double the time to start
import contextlib
import json
import os
import select
import sys

FILLING = bytes(range(256)) * 1024


class Guest:
    """A count that grows while it runs, and some memory that says whether it is whole."""

    def __init__(self, folder, incoming):
        self.folder = folder
        self.count = 0
        self.running = False
        self.state = "incoming" if incoming else "fresh"
        self.memory = FILLING

    def write(self, fd):
        data = json.dumps({"count": self.count}).encode() + b"\n" + self.memory
        while data:
            data = data[os.write(fd, data) :]

    def read(self, fd):
        data = b""
        while piece := os.read(fd, 1 << 16):
            data += piece
        head, _, self.memory = data.partition(b"\n")
        assert self.memory == FILLING, "the stream is damaged"
        self.count = json.loads(head)["count"]
        self.state = "whole"

    def obey(self, order, fd):
        match order["do"]:
            case "look":
                pass
            case "run":
                assert self.state != "incoming", "it is still being received"
                assert self.state != "sent", "it was sent away"
                self.running = True
                self.state = "whole"
            case "stop":
                self.running = False
            case "save":
                self.write(fd)
            case "restore":
                self.read(fd)
            case "receive":
                self.read(fd)
            case "send":
                self.running = False
                self.write(fd)
                self.state = "sent"
            case "take back":
                self.running = False
                self.state = "whole"
            case "end":
                with open(f"{self.folder}/ended", "w") as file:
                    file.write(order["how"])
                raise SystemExit
        return {"count": self.count, "running": self.running, "state": self.state}


def main(folder, incoming):
    """Count, and do as the orders say."""
    guest = Guest(folder, incoming)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    listener.bind(f"{folder}/orders.new")
    listener.listen(8)
    os.rename(f"{folder}/orders.new", f"{folder}/orders")
    while True:
        ready, _, _ = select.select([listener.fileno()], [], [], 0.002 if guest.running else None)
        if not ready:
            guest.count += 1
            continue
        number, _ = listener._accept()
        asker = _socket.socket(fileno=number)
        data, extra, _, _ = asker.recvmsg(65536, 64)
        fd = int.from_bytes(extra[0][2][:4], sys.byteorder) if extra else None
        if data:
            try:
                answer = guest.obey(json.loads(data), fd)
            except (OSError, AssertionError, ValueError) as error:
                answer = {"fault": str(error)}
            with contextlib.suppress(OSError):
                asker.send(json.dumps(answer).encode())
        if fd is not None:
            os.close(fd)
        asker.close()


if __name__ == "__main__":
    main(sys.argv[1], "incoming" in sys.argv[2:])
