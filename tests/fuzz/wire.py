"""The wire protocol: framing, and the payload of every procedure in either direction.

The first two bytes choose what the rest is taken for.
"""

from __future__ import annotations

import struct

from polyvisor_remote.wire import FrameReader, Kind, Status, WireError, frame, program
from polyvisor_remote.wire.declaration import PROGRAMS

CODECS = [
    structure.codec
    for name in PROGRAMS
    for procedure in program(name)
    for structure in (procedure.arguments, procedure.result)
]
_UUID = bytes(range(16))
_DOMAIN = b"\0\0\0\4test" + _UUID + b"\0\0\0\1"
_PARAM = b"\0\0\0\1a\0\0\0" + b"\0\0\0\4" + bytes(8)
EXAMPLES = (
    b"\xff\xff" + frame(0x20008086, 1, 1, Kind.CALL, 1, Status.OK, b"\0\0\0\0\0\0\0\0") * 3,
    b"\xff\xff" + frame(0x20008086, 1, 443, Kind.CALL_WITH_FDS, 1, Status.OK, _DOMAIN),
    *(
        struct.pack(">H", index) + content
        for index in range(len(CODECS))
        for content in (_DOMAIN, b"\0\0\0\1" + _DOMAIN + b"\0\0\0\1" + _PARAM)
    ),
)


def one(data: bytes) -> None:
    """Read it or refuse it; what was read is written and read as the same."""
    if len(data) < 2:
        return
    (index,) = struct.unpack_from(">H", data)
    if index >= len(CODECS):
        _frames(data[2:])
        return
    codec = CODECS[index]
    try:
        value = codec.decode(data[2:])
    except WireError:
        return
    again = codec.encode(value)
    assert codec.encode(codec.decode(again)) == again


def _frames(data: bytes) -> None:
    reader, whole = FrameReader(), FrameReader()
    try:
        expected = list(whole.feed(data))
    except WireError:
        return
    assert [one for at in range(len(data)) for one in reader.feed(data[at : at + 1])] == expected
