"""Where a destination listens, and how its addresses are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConfigError, HypervisorError, MigrationError

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions

__all__ = ["PORTS", "host_of", "kind_of", "listen_tcp"]

#: ``migration_port_min`` and ``_max`` of libvirt's qemu.conf.
PORTS = (49152, 49215)


def kind_of(uri: str) -> tuple[str, str]:
    """Take an address for a migration apart; ``tcp://HOST:PORT`` is as libvirt has it.

    Raises:
        HypervisorError: it is none.
    """
    kind, _, place = uri.partition(":")
    place = place.removeprefix("//")
    if kind not in ("unix", "tcp") or not place:
        raise HypervisorError(
            f"{uri!r} is no address for a migration; use unix:PATH or tcp:HOST:PORT"
        )
    return kind, place


def host_of(uri: str) -> str | None:
    """Return the host of an address, ``None`` for a local socket."""
    kind, place = kind_of(uri)
    return _split(place)[0] or None if kind == "tcp" else None


def listen_tcp(
    settings: dict[str, Any],
    options: MigrationOptions,
    place: str | None,
    listen: Callable[[str], None],
) -> str:
    """Have QEMU listen on a port and return the address that leads to it.

    Args:
        settings: the plugin's.
        options: the migration's.
        place: ``HOST:PORT`` that was asked for, or ``HOST``; ``None`` for the settings' own.
        listen: has QEMU listen at an address in its words; raises
            :class:`~polyvisor.errors.HypervisorError` if it cannot.

    Raises:
        MigrationError: all ports are taken.
    """
    host, port = "", None
    if place is not None:
        host, port = _split(place)
    own = settings.get("migration_host")
    address = options.listen_address or settings.get("migration_address")
    public = host or own or (address if address not in (None, "::", "0.0.0.0") else None)  # noqa: S104
    public = str(public or os.uname().nodename)
    # Who names a host means its address, unless the one to listen on is named as well.
    at = str(address or host or "::")
    if port is not None:
        listen(f"tcp:{_bracketed(at)}:{port}")
        return f"tcp:{_bracketed(public)}:{port}"
    first, last = _ports(settings)
    error: HypervisorError | None = None
    for number in range(first, last + 1):
        if at == "::" and _taken(number):
            continue
        try:
            listen(f"tcp:{_bracketed(at)}:{number}")
        except HypervisorError as refused:
            if refused.native_message is None:
                raise  # It says nothing of the port: it is gone.
            error = refused
            if "ddress already in use" not in str(refused.native_message):
                break
            continue
        return f"tcp:{_bracketed(public)}:{number}"
    why = error.native_message if error is not None else "others have them"
    raise MigrationError(
        f"no port from {first} to {last} of {at} can be listened on for a migration: {why}; "
        f"set migration_ports or migration_address in [plugins.qemu]",
        phase="prepare",
        side="destination",
        owner="source",
        operation="migrate",
    ) from error


def _taken(port: int) -> bool:
    """Say whether somebody has a port of IPv4.

    QEMU would listen at that of IPv6 alone then, without a word, and whoever connects by IPv4
    would reach a stranger.
    """
    import errno
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("0.0.0.0", port))  # noqa: S104 - nobody listens here
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _split(place: str) -> tuple[str, str | None]:
    """Return host and port of ``HOST:PORT``, ``HOST``, ``[ADDRESS]:PORT`` or ``[ADDRESS]``."""
    place = place.rstrip("/")
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.removeprefix(":") or None
    if place.count(":") > 1:
        return place, None
    host, _, port = place.partition(":")
    return host, port or None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _ports(settings: dict[str, Any]) -> tuple[int, int]:
    given = settings.get("migration_ports", PORTS)
    try:
        first, last = (int(port) for port in given)
        if not 0 < first <= last < 1 << 16:
            raise ValueError(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"migration_ports is the first and the last port, such as [49152, 49215], not "
            f"{given!r}",
            key="plugins.qemu.migration_ports",
        ) from error
    return first, last
