"""Where clients come in: local sockets and TCP."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import struct
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import ConfigError
from polyvisor_remote.server._transport import PlainTransport, UnixTransport
from polyvisor_remote.server.client import Identity

if TYPE_CHECKING:
    from polyvisor_remote.server._transport import Transport
    from polyvisor_remote.server.loop import Loop
    from polyvisor_remote.server.server import Server

__all__ = ["Listener", "TcpListener", "UnixListener"]

#: Connections that are taken in at once before others have their turn.
_AT_ONCE = 32
_BACKLOG = 512

log = logging.getLogger("polyvisor.remote")


class Listener:
    """A socket on which clients come in.

    Args:
        bound: a socket that listens.
        readonly: whether who comes in here may only look.
        authenticate: whether who comes in here must say who they are.

    Attributes:
        where: its address, as ``--listen`` takes it.
    """

    where = ""
    #: Whether it is polkit that says of whoever must authenticate here that they may come in.
    polkit = False

    def __init__(
        self, bound: socket.socket, *, readonly: bool = False, authenticate: bool = False
    ) -> None:
        bound.setblocking(False)
        self.socket = bound
        self.readonly = readonly
        self.authenticate = authenticate
        self._server: Server | None = None
        self._loop: Loop | None = None

    def begin(self, server: Server, loop: Loop) -> None:
        """Take clients in for a server."""
        self._server, self._loop = server, loop
        loop.register(self.socket.fileno(), self, select.EPOLLIN)

    def end(self) -> None:
        """Take nobody in any more."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.unregister(self.socket.fileno())
        self.socket.close()

    def ready(self, mask: int) -> None:
        """Take in who is at the door."""
        for _ in range(_AT_ONCE):
            try:
                connected, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Whoever was at the door is gone, or there is no descriptor left for them.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.warning("%s: nobody can be taken in: %s", self.where, error.strerror)
                return
            try:
                self.take_in(connected, address)
            except OSError as error:
                log.debug("%s: %s", self.where, error)
                connected.close()

    def go_on(self) -> None:
        """Nothing is left over."""

    def take_in(self, connected: socket.socket, address: object) -> None:
        """Make a client of who has connected."""
        raise AssertionError

    def welcome(self, transport: Transport, identity: Identity) -> None:
        """Hand a client to the server."""
        assert self._server is not None
        self._server.welcome(
            transport,
            readonly=self.readonly,
            identity=identity,
            authenticated=not self.authenticate,
            polkit=self.polkit,
        )


class UnixListener(Listener):
    """A local socket; the kernel says who comes in."""

    def __init__(
        self,
        bound: socket.socket,
        *,
        readonly: bool = False,
        authenticate: bool = False,
        polkit: bool = False,
        unlink: bool = True,
    ) -> None:
        super().__init__(bound, readonly=readonly, authenticate=authenticate or polkit)
        self.polkit = polkit
        self._path = str(bound.getsockname())
        self._unlink = unlink
        self.where = f"unix:{self._path}"

    @classmethod
    def bind(
        cls,
        path: str,
        *,
        mode: int = 0o700,
        group: int | None = None,
        readonly: bool = False,
        authenticate: bool = False,
        polkit: bool = False,
    ) -> UnixListener:
        """Make a socket at a path; one that a dead process left there is replaced.

        Args:
            path: where.
            mode: who may connect.
            group: number of the group that the socket is given to.
            readonly: see :class:`Listener`.
            authenticate: see :class:`Listener`.
            polkit: whether polkit is asked who may come in.

        Raises:
            ConfigError: there is something else, somebody listens there, or it cannot be.
        """
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _clear(path)
            # Nobody may come in before the mode is right.
            old = os.umask(0o777 & ~0o600)
            try:
                made.bind(path)
                # Who finds it there must not be told that nobody listens.
                made.listen(_BACKLOG)
            finally:
                os.umask(old)
            if group is not None:
                os.chown(path, -1, group)
            os.chmod(path, mode)
        except OSError as error:
            made.close()
            raise ConfigError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
        except ConfigError:
            made.close()
            raise
        return cls(made, readonly=readonly, authenticate=authenticate, polkit=polkit)

    def end(self) -> None:
        """Take nobody in any more, and remove the socket's file."""
        super().end()
        if self._unlink:
            try:
                os.unlink(self._path)
            except OSError as error:
                log.debug("%s: %s", self.where, error)

    def take_in(self, connected: socket.socket, address: object) -> None:
        """Ask the kernel who it is."""
        credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("3i", credentials)
        identity = Identity(f"uid:{uid}", pid, uid, gid)
        if self.polkit:
            from polyvisor_remote.server.polkit import started

            # Now, so that it is still the process that has connected.
            identity = attrs.evolve(identity, started=started(pid))
        self.welcome(UnixTransport(connected), identity)


class TcpListener(Listener):
    """A TCP socket: whoever reaches it comes in, so it should only be where all are friends."""

    def __init__(
        self, bound: socket.socket, *, readonly: bool = False, authenticate: bool = False
    ) -> None:
        super().__init__(bound, readonly=readonly, authenticate=authenticate)
        host, port = bound.getsockname()[:2]
        self.port = port
        self.where = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    @classmethod
    def bind(
        cls, host: str, port: int, *, readonly: bool = False, authenticate: bool = False
    ) -> TcpListener:
        """Listen at an address.

        Raises:
            ConfigError: it cannot be.
        """
        try:
            made = bound_tcp(host, port)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on tcp:{host}:{port}: {error.strerror or error}"
            ) from error
        return cls(made, readonly=readonly, authenticate=authenticate)

    def take_in(self, connected: socket.socket, address: object) -> None:
        """Take it in under its address."""
        self.welcome(PlainTransport(connected), Identity(address=shown(address)))


def bound_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def shown(address: object) -> str:
    """Return a peer's address as text."""
    assert isinstance(address, tuple)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        ConfigError: it is not a socket, or somebody listens.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"cannot listen on unix:{path}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise ConfigError(f"cannot listen on unix:{path}: another daemon listens there")
