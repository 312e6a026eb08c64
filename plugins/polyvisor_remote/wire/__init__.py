"""libvirt's wire protocol, without sockets: for servers and clients alike.

A procedure is looked up in its program and has a codec for each direction::

    from polyvisor_remote.wire import Kind, Status, frame, program

    remote = program("remote")
    opening = remote["connect_open"]
    payload = opening.arguments.codec.encode(("test:///default", 0))
    data = frame(remote.number, remote.version, opening.number, Kind.CALL, 1, Status.OK, payload)

What arrives goes through a :class:`FrameReader`, which gives whole messages; the payload
of one that answers the call above is ``opening.result.codec.decode(message.payload)``,
or, if its status is ``ERROR``, ``error_codec().decode(message.payload)``.

``declaration``  the tables (``remote.txt`` …) read into procedures and structures
``compiler``     encoders and decoders, made once for each structure
``frame``        messages, file descriptors, holes in streams
``params``       typed parameters as mappings; ``packed``: many with the same names
"""

from __future__ import annotations

from polyvisor_remote.wire.compiler import Codec, PackedParams, TypedParam
from polyvisor_remote.wire.declaration import Procedure, Program, Structure, program
from polyvisor_remote.wire.errors import WireError
from polyvisor_remote.wire.frame import (
    FDS_MAX,
    HEADER_SIZE,
    MESSAGE_MAX,
    STREAM_CHUNK,
    FrameReader,
    Hole,
    Kind,
    Message,
    Status,
    frame,
    hole,
)
from polyvisor_remote.wire.packed import Packer
from polyvisor_remote.wire.params import mapping, params

__all__ = [
    "FDS_MAX",
    "HEADER_SIZE",
    "MESSAGE_MAX",
    "STREAM_CHUNK",
    "Codec",
    "FrameReader",
    "Hole",
    "Kind",
    "Message",
    "PackedParams",
    "Packer",
    "Procedure",
    "Program",
    "Status",
    "Structure",
    "TypedParam",
    "WireError",
    "error_codec",
    "frame",
    "hole",
    "mapping",
    "params",
    "program",
]


def error_codec() -> Codec:
    """Return the codec of what a reply with the status ``ERROR`` carries."""
    return program("remote").structure("error").codec
