"""Procedures of the protocol as methods: what stands in its declarations need not be written.

What a local URI names is served in this process by what polyvisord is made of, over a pair
of sockets, so that flags, answers and errors are those that libvirt's clients get from it. A
URI with a transport leads to another host's daemon.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from libvirt import _error
from polyvisor.connection import registry
from polyvisor.errors import PolyvisorError
from polyvisor.uri import ConnectionUri
from polyvisor_remote.client.link import Link
from polyvisor_remote.client.pipe import SocketPipe
from polyvisor_remote.client.reaching import asked_for, reach
from polyvisor_remote.wire import Status, TypedParam, params, program

__all__ = ["Handle", "Served", "ask", "opened", "text_of", "uses"]

#: Arguments that the binding does not show its users, with what they are.
_FILLED = {
    "need_results": 1,
    "nparams": 16,
    "maxnames": 16384,
    "maxids": 16384,
    "maxuuids": 16384,
    "flags": 0,
}
_remote = program("remote")
_lock = threading.Lock()
_servers: list[Any] = []
#: Classes of handles by the structure that names such an object.
_classes: dict[str, type[Handle]] = {}


def _server() -> Any:
    """Return what serves local connections; it begins with the first of them."""
    with _lock:
        if not _servers:
            from polyvisor.config import load
            from polyvisor_remote.server.opening import opener
            from polyvisor_remote.server.server import Server

            server = Server(opener(load()))
            server.start()
            _servers.append(server)
        return _servers[0]


def _joined() -> SocketPipe:
    """Return a way to the server in this process."""
    from polyvisor_remote.server._transport import UnixTransport
    from polyvisor_remote.server.client import Identity

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    uid = os.getuid()
    identity = Identity(f"uid:{uid}", os.getpid(), uid, os.getgid())
    _server().welcome(UnixTransport(theirs), readonly=False, identity=identity, authenticated=True)
    return SocketPipe(ours, secure=True)


def opened(name: str | None, *, readonly: bool = False) -> tuple[Link, str]:
    """Open a URI; return the way to it, and its scheme.

    Raises:
        libvirtError: it cannot be opened.
    """
    name = name or os.environ.get("LIBVIRT_DEFAULT_URI") or None
    scheme = ""
    try:
        if name is None:
            return Link(_joined, None, readonly=readonly), scheme
        uri = ConnectionUri.parse(name)
        scheme = uri.scheme
        if uri.transport is None and uri.host is None and scheme in registry().schemes:
            return Link(_joined, name, readonly=readonly), scheme
        if uri.transport is None:
            import attrs

            uri = attrs.evolve(uri, transport="unix" if uri.host is None else "tls")
        scheme = f"{scheme}+{uri.transport}"
        return Link(reach(uri, readonly=readonly), asked_for(uri), readonly=readonly), scheme
    except PolyvisorError as error:
        raise _error.of(error, scheme) from None


def ask(link: Link, name: str, *arguments: Any) -> Any:
    """Call a procedure and return its answer as it came.

    Raises:
        libvirtError: the answer is an error.
    """
    home, _, rest = name.rpartition(":")
    procedure = program(home)[rest] if home else _remote[name]
    try:
        message = link.exchange(procedure, arguments)
        if message.status == Status.ERROR:
            raise _error.told(message.payload)
        return procedure.result.codec.decode(message.payload)
    except PolyvisorError as error:
        raise _error.of(error) from None


class Served:
    """What calls procedures: a connection, or something that belongs to one."""

    _link: Link
    _conn: Any

    def _ask(self, name: str, *arguments: Any) -> Any:
        return ask(self._link, name, *arguments)

    def _ask_with(self, files: list[int], name: str, *arguments: Any) -> Any:
        """Call a procedure that descriptors go along with."""
        try:
            return self._link.call_with(name, *arguments, files=files)
        except PolyvisorError as error:
            raise _error.of(error) from None

    def _made(self, name: str, value: Any) -> Any:
        """Return a value of an answer as the binding has it."""
        kind = name.rstrip("[]")
        if kind in _classes:
            return None if value is None else _classes[kind](self._conn, value)
        return value


class Handle(Served):
    """An object of a connection.

    Args:
        conn: the connection.
        reference: how the protocol names it.
    """

    #: The structure that names such objects; its first field is theirs.
    structure = ""

    def __init__(self, conn: Any, reference: Any) -> None:
        self._conn = conn
        self._link = conn._link
        self._ref = tuple(reference)
        self._named = reference

    def __init_subclass__(cls) -> None:
        if cls.structure:
            _classes[cls.structure] = cls

    def connect(self) -> Any:
        """Return the connection."""
        return self._conn

    def name(self) -> str:
        """Return its name."""
        return str(self._named.name)

    def UUID(self) -> bytes:
        """Return its UUID."""
        return bytes(self._named.uuid)

    def UUIDString(self) -> str:
        """Return its UUID as text."""
        import uuid

        return str(uuid.UUID(bytes=self._named.uuid))


def text_of(told: Any) -> str:
    """Return characters of the protocol as text."""
    data = told if isinstance(told, (bytes, bytearray)) else bytes(one & 0xFF for one in told)
    return bytes(data).partition(b"\0")[0].decode(errors="replace")


def uses(name: str, *, first: bool = True, **filled: Any) -> Any:
    """Return a method that calls a procedure with its own arguments, as they are declared.

    Args:
        name: the procedure, with its program before it where that is not the main one.
        first: whether its first argument is the object whose method it is.
        filled: arguments that have a value unless one is given.
    """
    home, _, rest = name.rpartition(":")
    home = home or "remote"
    defaults = {**_FILLED, **filled}

    def method(self: Any, *given: Any, **named: Any) -> Any:
        procedure = program(home)[rest]
        fields = procedure.arguments.fields
        values: list[Any] = [self._ref] if first else []
        waiting = list(given)
        for field in fields[1:] if first else fields:
            shown = field.name not in _FILLED or field.name == "flags"
            if field.name in named:
                value = named.pop(field.name)
            elif shown and waiting:
                value = waiting.pop(0)
            elif field.name in defaults:
                value = defaults[field.name]
            elif field.type.optional:
                value = None
            else:
                raise TypeError(f"{rest}: {field.name} is missing")
            values.append(_sent(field, value))
        if waiting or named:
            raise TypeError(f"{rest}: too many arguments: {waiting or named}")
        return _received(self, procedure, self._ask(name, *values))

    method.__name__ = rest
    method.__doc__ = f"Call ``{rest}`` of the protocol."
    return method


def _sent(field: Any, value: Any) -> Any:
    """Return an argument as the protocol has it."""
    if isinstance(value, Handle):
        return value._ref
    if isinstance(value, dict) and field.type.name == "typed_param":
        return params(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return [one._ref if isinstance(one, Handle) else one for one in value]
    return value


def _received(self: Served, procedure: Any, answer: Any) -> Any:
    """Return an answer as the binding does: 0 for none, one value, or a list of several."""
    fields = procedure.result.fields
    values = []
    for field, value in zip(fields, answer, strict=True):
        kind = field.type
        if kind.name == "typed_param":
            values.append({one.field: one.value for one in value if isinstance(one, TypedParam)})
        elif kind.cap is not None and kind.name in _classes:
            values.append([self._made(kind.name, one) for one in value])
        else:
            values.append(self._made(kind.name, value))
    if not values:
        return 0
    # How many there are of what is listed, the list says itself.
    if len(values) == 1 or fields[1].name in ("ret", "nparams"):
        return values[0]
    return values
