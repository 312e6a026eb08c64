"""Runs in the control domain: calls of libvirt's migration phases that its bindings do not offer.

Numbers and forms are those of libvirt's src/remote/remote_protocol.x and
src/rpc/virnetprotocol.x.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Self

__all__ = ["Refused", "Wire"]

PROGRAM, VERSION = 0x20008086, 1
OPEN, LOOKUP_BY_NAME, AUTH_LIST = 1, 23, 66
BEGIN, PREPARE, FINISH, CONFIRM = 302, 303, 306, 307
#: ``VIR_MIGRATE_LIVE``
LIVE = 1
STRING_PARAMETER = 7


class Refused(Exception):
    """The daemon answered with an error."""


class Wire:
    """A connection to libvirt's daemon on this host."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect("/run/libvirt/libvirt-sock")
        self._serial = 0
        self._call(AUTH_LIST, b"")
        self._call(OPEN, _number(1) + _text(b"xen:///system") + _number(0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def _call(self, procedure: int, body: bytes) -> bytes:
        self._serial += 1
        head = struct.pack(">IIiiIi", PROGRAM, VERSION, procedure, 0, self._serial, 0)
        self._socket.sendall(_number(4 + len(head) + len(body)) + head + body)
        while True:
            (size,) = struct.unpack(">I", self._read(4))
            answer = self._read(size - 4)
            _, _, _, kind, _, status = struct.unpack_from(">IIiiIi", answer)
            if kind == 1:
                break
        if status:
            # code, domain, then the message, if there is one
            words = _Reader(answer[24:])
            words.number(), words.number()
            raise Refused(words.text().decode() if words.number() else "no words")
        return answer[24:]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionError("libvirt's daemon hung up")
            data += more
        return data

    def begin(self, name: str) -> tuple[bytes, str]:
        """Begin a migration of a domain, and give it up; return its cookie and definition."""
        domain = self._call(LOOKUP_BY_NAME, _text(name.encode()))
        answer = _Reader(self._call(BEGIN, domain + _number(0) + _number(LIVE)))
        cookie, xml = answer.text(), answer.text().decode()
        with suppress(Refused):  # It has not prepared anything to give up.
            self._call(CONFIRM, domain + _number(0) + _number(0) + _number(LIVE) + _number(1))
        return cookie, xml

    def prepare(self, name: str, xml: str, cookie: bytes) -> str:
        """Have the daemon prepare for a domain, and give it up; return where it would listen.

        Raises:
            Refused: it does not want to; its words.
        """
        parameters = _number(1) + _text(b"destination_xml") + _number(STRING_PARAMETER)
        parameters += _text(xml.encode())
        answer = _Reader(self._call(PREPARE, parameters + _text(cookie) + _number(LIVE)))
        answer.text()
        uri = answer.text().decode() if answer.number() else ""
        named = _number(1) + _text(b"destination_name") + _number(STRING_PARAMETER)
        named += _text(name.encode())
        with suppress(Refused):  # It has no domain to give back, which was the wish.
            self._call(FINISH, named + _number(0) + _number(LIVE) + _number(1))
        return uri


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        (value,) = struct.unpack_from(">I", self._data, self._at)
        self._at += 4
        return int(value)

    def text(self) -> bytes:
        size = self.number()
        value = self._data[self._at : self._at + size]
        self._at += (size + 3) & ~3
        return value


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def _text(data: bytes) -> bytes:
    return _number(len(data)) + data.ljust((len(data) + 3) & ~3, b"\0")
