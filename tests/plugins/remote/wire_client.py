"""The least that speaks the protocol: one socket, one call at a time unless told otherwise."""

from __future__ import annotations

import socket
from collections import deque
from typing import Any, Self

from polyvisor_remote.wire import (
    FrameReader,
    Kind,
    Message,
    Status,
    error_codec,
    frame,
    program,
)

__all__ = ["REMOTE", "Refused", "WireClient"]

REMOTE = program("remote")


class Refused(Exception):
    """An error reply.

    Attributes:
        error: the structure that came.
    """

    def __init__(self, error: Any) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error


class WireClient:
    """A client for tests.

    Args:
        address: path of a local socket, or host and port.
        open_: a URI to open at once, or ``None``.
        flags: how to open it.
    """

    def __init__(
        self, address: str | tuple[str, int], open_: str | None = None, flags: int = 0
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.connect(address)
        self.socket.settimeout(20)
        self._reader = FrameReader()
        self._serial = 0
        self._arrived: deque[Message] = deque()
        self.events: deque[Message] = deque()
        if open_ is not None:
            self.call("auth_list")
            self.call("connect_open", open_, flags)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, procedure: str, *arguments: Any, of: str = "remote") -> int:
        """Send a call and return its serial."""
        home = program(of)
        called = home[procedure]
        payload = called.arguments.codec.encode(arguments)
        return self.send_raw(home.number, home.version, called.number, payload=payload)

    def send_raw(
        self,
        program_: int,
        version: int,
        procedure: int,
        *,
        kind: int = Kind.CALL,
        status: int = Status.OK,
        payload: bytes = b"",
    ) -> int:
        """Send any message and return its serial."""
        self._serial += 1
        self.socket.sendall(
            frame(program_, version, procedure, kind, self._serial, status, payload)
        )
        return self._serial

    def receive(self) -> Message:
        """Wait for the next message that is no event.

        Raises:
            ConnectionResetError: the server hung up.
        """
        while True:
            while self._arrived:
                message = self._arrived.popleft()
                if message.kind != Kind.MESSAGE:
                    return message
                self.events.append(message)
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("the server hung up")
            self._arrived.extend(self._reader.feed(data))

    def event(self) -> Message:
        """Wait for the next event."""
        while not self.events:
            while self._arrived:
                message = self._arrived.popleft()
                assert message.kind == Kind.MESSAGE, message
                self.events.append(message)
            if not self.events:
                data = self.socket.recv(1 << 20)
                if not data:
                    raise ConnectionResetError("the server hung up")
                self._arrived.extend(self._reader.feed(data))
        return self.events.popleft()

    def answer(self, procedure: str, message: Message, of: str = "remote") -> Any:
        """Return what a reply holds.

        Raises:
            Refused: it is an error.
        """
        assert message.kind == Kind.REPLY
        if message.status == Status.ERROR:
            raise Refused(error_codec().decode(message.payload))
        return program(of)[procedure].result.codec.decode(message.payload)

    def call(self, procedure: str, *arguments: Any, of: str = "remote") -> Any:
        """Call and return the result."""
        serial = self.send(procedure, *arguments, of=of)
        message = self.receive()
        assert message.serial == serial
        return self.answer(procedure, message, of)

    def refused(self, procedure: str, *arguments: Any, of: str = "remote") -> Any:
        """Call and return the error, which there must be."""
        try:
            result = self.call(procedure, *arguments, of=of)
        except Refused as refused:
            return refused.error
        raise AssertionError(f"{procedure} was answered: {result}")
