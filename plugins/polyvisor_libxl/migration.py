"""Sending guests to other hosts and receiving them, over TCP or a local socket."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import (
    ConfigError,
    HypervisorError,
    InvalidArgument,
    MigrationError,
    PolyvisorError,
    Timeout,
)
from polyvisor.jobs import Job
from polyvisor_libxl.saving import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.driver import MigrationOptions
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["Reception", "receive", "received", "send"]

#: ``LIBXL_MIGRATION_PORT_MIN`` and ``_MAX`` of libvirt's src/libxl/libxl_conf.h: of IANA's
#: dynamic ports, the first few.
PORTS = (49152, 49216)
#: Seconds to wait for a connection, on either side.
CONNECTING = 30.0
#: ``struct tcp_info`` of linux/tcp.h: bytes that the other side has acknowledged.
_BYTES_ACKED = 120


class Reception:
    """A guest on its way in: libxl builds it in a thread, from whoever connects first.

    Args:
        hypervisor: builds it.
        json: its configuration.
        name: its name.
        version: version of the stream.
        listener: where the source connects; closed once it has.
    """

    def __init__(
        self,
        hypervisor: LibxlHypervisor,
        json: str,
        name: str,
        version: int,
        listener: socket.socket,
    ) -> None:
        self._hypervisor = hypervisor
        self._name = name
        self._listener = listener
        self._job = Job("migration")
        self._lock = threading.Lock()
        self._domid: int | None = None
        self._error: BaseException | None = None
        self._connection: socket.socket | None = None
        self._given_up = False
        self._thread = threading.Thread(
            target=self._run, args=(json, version), name="polyvisor-receive", daemon=True
        )
        self._thread.start()

    def _run(self, json: str, version: int) -> None:
        from polyvisor_libxl.saving import restore

        try:
            with self._listener:
                # Closing would not wake who waits in accept; a shutdown does.
                connection, _ = self._listener.accept()
            self._connection = connection
            try:
                self._begun(connection)
                self._domid = restore(
                    self._hypervisor, json, self._name, connection, version, self._job
                )
            finally:
                with self._lock:
                    self._connection = None
                    connection.close()
        except BaseException as error:  # noqa: BLE001 - handed to who waits for us
            self._error = error

    def _begun(self, connection: socket.socket) -> None:
        """Wait for the stream's first byte: libxl 4.17 can crash on a stream that has none.

        Raises:
            HypervisorError: the source has gone without it.
        """
        first = b"" if self._given_up else connection.recv(1, socket.MSG_PEEK)
        if not first:
            raise HypervisorError(
                f"receive {self._name!r}: the source closed the connection before it sent anything",
                domain=self._name,
            )

    def wait(self, timeout: float) -> int:
        """Return the number of the guest once it is whole.

        Raises:
            Timeout: it is not after so many seconds.
            HypervisorError: libxl could not build it.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise Timeout(
                f"receive {self._name!r}: the stream has not ended after {timeout:g} s",
                domain=self._name,
            )
        self._job.close()
        if isinstance(self._error, PolyvisorError):
            raise self._error
        if self._error is not None or self._domid is None:
            raise HypervisorError(
                f"receive {self._name!r}: the connection failed: {self._error}", domain=self._name
            ) from self._error
        return self._domid

    def give_up(self) -> None:
        """Stop receiving; what was built so far goes.

        The connection ends, as if the source had: libxl 4.17 can crash when it is told to abort
        what it restores.
        """
        self._given_up = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._job.close()
        if self._domid is not None:
            with suppress(PolyvisorError):
                self._hypervisor.context.destroy(self._domid, self._name)


def receive(
    hypervisor: LibxlHypervisor, guest: Guest, spec: DomainSpec, version: int, listen: str | None
) -> tuple[dict[str, Any], str]:
    """Listen for the stream of a guest."""
    json = hypervisor.native(spec)
    hypervisor.make_room(json, spec.name)
    listener, uri = _listening(hypervisor, spec.name, listen)
    hypervisor.receptions[guest.uuid] = Reception(hypervisor, json, spec.name, version, listener)
    return {}, uri


def received(hypervisor: LibxlHypervisor, guest: Guest, timeout: float) -> None:
    """Wait until a guest is whole."""
    reception = hypervisor.receptions.get(guest.uuid)
    if reception is None:
        raise HypervisorError(f"receive {guest.name!r}: nothing listens for it", domain=guest.name)
    guest.id = reception.wait(timeout)
    guest.runtime["domid"] = guest.id
    del hypervisor.receptions[guest.uuid]


def send(
    hypervisor: LibxlHypervisor, guest: Guest, uri: str, options: MigrationOptions, job: Job
) -> dict[str, Any]:
    """Write a guest into a connection to the destination."""
    started = time.monotonic()
    job.report("memory")
    job.check()
    with (
        _connected(uri) as wire,
        written(hypervisor, guest, wire.fileno(), job, live=options.live),
    ):
        figures: dict[str, Any] = {"total": time.monotonic() - started}
        try:
            if wire.family != socket.AF_UNIX:
                figures["transferred"] = _written(wire)
            wire.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise HypervisorError(
                f"send {guest.name!r} to {uri}: the connection broke at its end: {error.strerror}",
                domain=guest.name,
                operation="migrate",
            ) from error
        job.report("sent", done=True)
        job.check()
    return figures


def _written(wire: socket.socket) -> int:
    """Return how many bytes were written to a TCP connection."""
    import fcntl
    import termios

    info = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    # SIOCOUTQ of linux/sockios.h, the number of TIOCOUTQ.
    queued = fcntl.ioctl(wire, termios.TIOCOUTQ, b"\0\0\0\0")
    confirmed = struct.unpack_from("Q", info, _BYTES_ACKED)[0] if len(info) > _BYTES_ACKED else 0
    return int(confirmed) + int(struct.unpack("i", queued)[0])


# Addresses


def _listening(
    hypervisor: LibxlHypervisor, name: str, listen: str | None
) -> tuple[socket.socket, str]:
    """Listen; return the socket and the URI that leads to it.

    Raises:
        MigrationError: all ports are taken.
    """
    settings = hypervisor.settings
    if listen is not None:
        kind, rest = _split(listen)
        if kind == "unix":
            return _listen_unix(rest), listen
        host, number = _place(listen, rest)
        ports = range(number, number + 1) if number else _ports(settings)
        address, public = host or "::", host
    else:
        ports = _ports(settings)
        address = str(settings.get("migration_address", "::"))
        everywhere = address in ("::", "0.0.0.0")  # noqa: S104 - compared with, not bound to
        public = str(settings.get("migration_host", "" if everywhere else address))
    public = public or socket.gethostname()
    errors: list[OSError] = []
    for number in ports:
        try:
            listener = _listen_tcp(address, number)
        except OSError as error:
            errors.append(error)
            continue
        shown = f"[{public}]" if ":" in public else public
        return listener, f"tcp://{shown}:{number}"
    raise MigrationError(
        f"migrate {name!r}: no port from {ports.start} to {ports.stop - 1} of {address} is free "
        f"for the stream ({errors[-1].strerror if errors else 'the range is empty'}); widen "
        f"migration_ports in [plugins.libxl], or wait for other migrations to end",
        phase="prepare",
        side="destination",
        owner="source",
        domain=name,
        operation="migrate",
    )


def _ports(settings: dict[str, Any]) -> range:
    """Return the ports to try.

    Raises:
        ConfigError: the setting is not a range of ports.
    """
    given = settings.get("migration_ports")
    if given is None:
        return range(*PORTS)
    try:
        first, last = given
        if not 0 < int(first) <= int(last) < 1 << 16:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"migration_ports is the first and the last port, such as [49152, 49215], not "
            f"{given!r}",
            key="plugins.libxl.migration_ports",
        ) from error
    return range(int(first), int(last) + 1)


def _listen_tcp(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if address == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Ports of connections that ended just now can be used again; those in use cannot.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short(path) as name:
            listener.bind(name)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise HypervisorError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


@contextmanager
def _short(path: str) -> Iterator[str]:
    """Give a socket's path in a form that fits into ``sun_path``, however long it is."""
    folder, name = os.path.split(path)
    fd = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def _split(uri: str) -> tuple[str, str]:
    kind, _, rest = uri.partition(":")
    rest = rest.removeprefix("//")
    if kind not in ("tcp", "unix") or not rest:
        raise InvalidArgument(
            f"{uri}: a stream goes to tcp:HOST:PORT or unix:PATH", operation="migrate"
        )
    return kind, rest


def _place(uri: str, rest: str) -> tuple[str, int]:
    """Return the host and the port, 0 if it is not said, of ``HOST``, ``HOST:PORT``, ``:PORT``.

    Raises:
        InvalidArgument: that is no port.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(f"//{rest}")
        return parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise InvalidArgument(
            f"{uri}: a stream goes to tcp:HOST:PORT or unix:PATH ({error})", operation="migrate"
        ) from error


def _connected(uri: str) -> socket.socket:
    """Connect to where the destination listens.

    Raises:
        HypervisorError: nobody is there.
    """
    kind, rest = _split(uri)
    try:
        if kind == "unix":
            wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            with _short(rest) as name:
                wire.connect(name)
            return wire
        wire = socket.create_connection(_place(uri, rest), timeout=CONNECTING)
        wire.settimeout(None)
    except OSError as error:
        raise HypervisorError(
            f"cannot connect to {uri}, where the destination listens for the stream: {error}",
            operation="migrate",
        ) from error
    return wire
