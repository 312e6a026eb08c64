"""What polyvisord is told to do: the table ``[plugins.remote]`` of ``polyvisor.toml``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from polyvisor.errors import ConfigError

if TYPE_CHECKING:
    from polyvisor.config import Config

__all__ = ["Address", "Settings"]

_TRANSPORTS = ("unix", "tcp", "tls")
_AUTH = ("none", "sasl")
_AUTH_UNIX = (*_AUTH, "polkit")
# What the client reads of the same table.
_CLIENTS = ("user", "password", "open_timeout")


@attrs.frozen
class Address:
    """Where to listen.

    Attributes:
        transport: ``"unix"``, ``"tcp"`` or ``"tls"``.
        place: a path, or a host.
        port: for the latter two.
        readonly: whether who comes in here may only look.
    """

    transport: str
    place: str
    port: int = 0
    readonly: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``unix:PATH``, ``unix-ro:PATH``, ``tcp:HOST:PORT`` or ``tls:HOST:PORT``.

        Raises:
            ConfigError: it is none of these.
        """
        kind, _, rest = text.partition(":")
        transport = kind.removesuffix("-ro")
        readonly = kind != transport
        if transport == "unix" and rest:
            return cls(transport, os.path.abspath(rest), readonly=readonly)
        if transport in ("tcp", "tls"):
            host, _, port = rest.rpartition(":")
            if host and port.isascii() and port.isdigit() and int(port) < 65536:
                return cls(transport, host.strip("[]"), int(port), readonly)
        raise ConfigError(
            f"cannot listen on {text!r}; write unix:PATH, unix-ro:PATH, tcp:HOST:PORT or "
            f"tls:HOST:PORT"
        )

    def __str__(self) -> str:
        kind = f"{self.transport}-ro" if self.readonly else self.transport
        if self.transport == "unix":
            return f"{kind}:{self.place}"
        host = f"[{self.place}]" if ":" in self.place else self.place
        return f"{kind}:{host}:{self.port}"


@attrs.frozen
class Settings:
    """The settings, with what is in force where nothing is said.

    Attributes:
        listen: addresses.
        schemes: URI schemes that clients may open; empty: all that plugins have.
        autostart: connections of which what is marked starts with the host.
        unix_mode: permissions of local sockets; where polkit is asked, everybody may connect
            unless something else is said.
        unix_ro_mode: those of read-only ones.
        unix_group: group that local sockets are given to, or ``None``.
        auth_unix: how local clients authenticate, beside the kernel's word.
        auth_tcp: how those over TCP do.
        auth_tls: how those over TLS do, beside their certificate.
        users: file with the names and password hashes of SASL users.
        tls_ca: file with the certificates of the authorities that are trusted.
        tls_cert: file with the server's certificate.
        tls_key: file with its key.
        tls_verify: whether a client must have a certificate.
        max_clients: clients at the same time.
        workers: calls that may be under way at the same time, of those known to take long.
        keepalive_interval: seconds of silence after which a client is asked.
        keepalive_count: questions without an answer until it is taken for gone.
        login_timeout: seconds in which a client must have said who it is.
        grace: seconds that calls may take to end when the daemon stops.
    """

    listen: tuple[Address, ...] = ()
    schemes: tuple[str, ...] = ()
    autostart: tuple[str, ...] = ()
    unix_mode: int = 0o700
    unix_ro_mode: int = 0o777
    unix_group: str | None = None
    auth_unix: str = "none"
    auth_tcp: str = "sasl"
    auth_tls: str = "none"
    users: str = "/etc/polyvisor/users"
    tls_ca: str = "/etc/pki/CA/cacert.pem"
    tls_cert: str = "/etc/pki/libvirt/servercert.pem"
    tls_key: str = "/etc/pki/libvirt/private/serverkey.pem"
    tls_verify: bool = True
    max_clients: int = 5000
    workers: int = 20
    keepalive_interval: float = 5.0
    keepalive_count: int = 5
    login_timeout: float = 60.0
    grace: float = 10.0

    @classmethod
    def of(cls, config: Config, listen: tuple[str, ...] = ()) -> Settings:
        """Return the settings of a configuration.

        Args:
            config: the configuration.
            listen: addresses beyond those that it has.

        Raises:
            ConfigError: a key is not known, or a value cannot be used; names it.
        """
        table = dict(config.plugins.settings.get("remote", {}))
        reader = _Reader(config, table)
        known = {field.name: field for field in attrs.fields(cls)}
        for name in [*table]:
            if name in _CLIENTS:
                del table[name]
            elif name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                reader.fail(name, f"there is no such key{hint} (known: {', '.join(known)})")
        values: dict[str, Any] = {}
        for name in table:
            values[name] = reader.value(name, known[name].default)
        if values.get("auth_unix") == "polkit":
            values.setdefault("unix_mode", 0o777)
        values["listen"] = (
            *values.get("listen", ()),
            *(Address.parse(text) for text in listen),
        )
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """Return the settings as they stand in a file."""
        table = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        table["listen"] = [str(address) for address in self.listen]
        table["schemes"] = list(self.schemes)
        table["autostart"] = list(self.autostart)
        for name in ("unix_mode", "unix_ro_mode"):
            table[name] = f"{table[name]:04o}"
        return table


class _Reader:
    """Turns values of the file into settings, and says where a wrong one stands."""

    def __init__(self, config: Config, table: Mapping[str, Any]) -> None:
        self._config = config
        self._table = table

    def value(self, name: str, default: Any) -> Any:
        given = self._table[name]
        if name == "listen":
            return tuple(self._address(text) for text in self._texts(name, given))
        if name in ("schemes", "autostart"):
            return tuple(self._texts(name, given))
        if name in ("unix_mode", "unix_ro_mode"):
            return self._mode(name, given)
        if name.startswith("auth_"):
            known = _AUTH_UNIX if name == "auth_unix" else _AUTH
            if given not in known:
                self.fail(name, f"{given!r} is none of {', '.join(known)}")
            return given
        if isinstance(default, bool):
            wanted: tuple[type, ...] = (bool,)
        elif isinstance(default, int | float):
            wanted = (int,) if isinstance(default, int) else (int, float)
            if isinstance(given, bool) or not isinstance(given, wanted) or given < 0:
                self.fail(name, f"{given!r} is not a number that is not negative")
            return given
        else:
            wanted = (str,)
        if not isinstance(given, wanted) or given == "":
            self.fail(name, f"{given!r} is not {'true or false' if bool in wanted else 'text'}")
        return given

    def _texts(self, name: str, given: Any) -> list[str]:
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self.fail(name, f"{given!r} is not a list of texts")
        return list(given)

    def _address(self, text: str) -> Address:
        try:
            return Address.parse(text)
        except ConfigError as error:
            self.fail("listen", error.message)

    def _mode(self, name: str, given: Any) -> int:
        if not isinstance(given, str) or not given.isascii() or not given.isdigit():
            self.fail(name, f'{given!r} is no mode; write it like "0770"')
        try:
            mode = int(given, 8)
        except ValueError:
            self.fail(name, f'{given!r} is no mode; write it like "0770"')
        if mode > 0o777:
            self.fail(name, f'{given!r} is no mode; write it like "0770"')
        return mode

    def fail(self, name: str, fault: str) -> NoReturn:
        key = f"plugins.remote.{name}"
        place = self._config.origins.get(key) or self._config.file or "configuration"
        raise ConfigError(f"{place}: {key}: {fault}", file=self._config.file, key=key)
