"""The daemon as a process: its sockets, its signals, and what systemd is told."""

from __future__ import annotations

import grp
import logging
import os
import signal
import socket
import time
from threading import Thread
from typing import TYPE_CHECKING

import polyvisor
from polyvisor.errors import ConfigError, PolyvisorError
from polyvisor_remote.server.listening import Listener, TcpListener, UnixListener
from polyvisor_remote.server.opening import guard, opener
from polyvisor_remote.server.scram import Users
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.config import Config
    from polyvisor_remote.server.settings import Address, Settings

__all__ = ["Daemon", "notify"]

#: The first descriptor that systemd hands over (``sd_listen_fds(3)``).
_FIRST_FD = 3

log = logging.getLogger("polyvisor.remote")


class Daemon:
    """polyvisord.

    Args:
        read: reads the configuration and its settings, now and when told to anew.
    """

    def __init__(self, read: Callable[[], tuple[Config, Settings]]) -> None:
        self._read = read
        config, settings = read()
        self._settings = settings
        self._config = config
        self._open = opener(config, settings.schemes)
        self.server = Server(
            lambda target, readonly: self._open(target, readonly),
            users=Users(settings.users),
            access=guard(config),
            workers=settings.workers,
            keepalive=settings.keepalive_interval,
            keepalive_count=settings.keepalive_count,
            login_time=settings.login_timeout,
            most=settings.max_clients,
        )

    def begin(self) -> list[str]:
        """Listen and serve; return the addresses.

        Raises:
            ConfigError: there is nowhere to listen, or one address cannot be had; then
                none is listened on.
        """
        listeners: list[Listener] = []
        try:
            listeners += handed_over(self._settings)
            for address in self._settings.listen:
                listeners.append(self._bind(address))
        except BaseException:
            for listener in listeners:
                listener.end()
            raise
        if not listeners:
            raise ConfigError(
                "polyvisord has nowhere to listen; give --listen unix:PATH, or listen = […] in "
                "[plugins.remote] of polyvisor.toml"
            )
        self.server.start()
        for listener in listeners:
            self.server.listen(listener)
        if self._settings.autostart:
            # Clients need not wait for that.
            Thread(target=self._start_marked, name="polyvisord-autostart", daemon=True).start()
        return [listener.where for listener in listeners]

    def _start_marked(self) -> None:
        """Start what is marked to start with the host, unless that was done since it was booted."""
        from polyvisor_remote.server.autostart import start_marked

        for target in self._settings.autostart:
            try:
                with polyvisor.open(target, config=self._config) as connection:
                    if connection.driver.first_of_boot():
                        start_marked(connection)
            except PolyvisorError as error:
                log.error("nothing of %s starts with the host: %s", target, error.message)

    def run(self) -> None:
        """Serve until a signal ends it: SIGTERM and SIGINT stop, SIGHUP reads anew."""
        # A signal may be taken by any thread. Whichever it is writes the signal's number here,
        # which wakes this one; a lock that it waited for would not be let go.
        heard, tell = socket.socketpair()
        tell.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        before = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        try:
            notify("READY=1")
            while not {signal.SIGTERM, signal.SIGINT} & set(numbers := heard.recv(64)):
                if signal.SIGHUP in numbers:
                    self.reload()
        finally:
            signal.set_wakeup_fd(before)
            heard.close()
            tell.close()
        notify("STOPPING=1")
        self.server.stop(self._settings.grace)

    def reload(self) -> None:
        """Read the configuration anew; connections that are open stay as they are.

        What is wrong is logged and the old one stays in force. Where to listen does not
        change.
        """
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config, settings = self._read()
        except ConfigError as error:
            log.error("the configuration is not read anew: %s", error.message)
        else:
            self._open = opener(config, settings.schemes)
            self.server.renew()
            log.info("the configuration was read anew")
        notify("READY=1")

    def _bind(self, address: Address) -> Listener:
        settings = self._settings
        if address.transport == "unix":
            return UnixListener.bind(
                address.place,
                mode=settings.unix_ro_mode if address.readonly else settings.unix_mode,
                group=_group(settings.unix_group),
                readonly=address.readonly,
                authenticate=settings.auth_unix == "sasl",
                polkit=settings.auth_unix == "polkit",
            )
        if address.transport == "tls":
            from polyvisor_remote.server.tls import TlsListener, context

            return TlsListener.bind(
                address.place,
                address.port,
                context(settings),
                readonly=address.readonly,
                authenticate=settings.auth_tls == "sasl",
            )
        return TcpListener.bind(
            address.place,
            address.port,
            readonly=address.readonly,
            authenticate=settings.auth_tcp == "sasl",
        )


def _group(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigError(
            f"plugins.remote.unix_group: there is no group {name!r} on this machine"
        ) from error


def handed_over(settings: Settings, environ: dict[str, str] | None = None) -> list[Listener]:
    """Return listeners for the sockets that systemd has opened for us.

    A local one whose unit names it ``…-ro`` (``FileDescriptorName=``) is read-only.
    """
    environment = dict(os.environ) if environ is None else environ
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    listeners: list[Listener] = []
    for index in range(int(environment.get("LISTEN_FDS", "0"))):
        made = socket.socket(fileno=_FIRST_FD + index)
        os.set_inheritable(made.fileno(), False)
        readonly = index < len(names) and names[index].endswith("-ro")
        if made.family == socket.AF_UNIX:
            listeners.append(
                UnixListener(
                    made,
                    readonly=readonly,
                    authenticate=settings.auth_unix == "sasl",
                    polkit=settings.auth_unix == "polkit",
                    unlink=False,
                )
            )
        else:
            authenticate = settings.auth_tcp == "sasl"
            listeners.append(TcpListener(made, readonly=readonly, authenticate=authenticate))
    return listeners


def notify(state: str) -> None:
    """Tell systemd how we are, if it listens (``sd_notify(3)``)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        try:
            told.sendto(state.encode(), address)
        except OSError as error:
            log.warning("systemd is not told %s: %s", state, error)
