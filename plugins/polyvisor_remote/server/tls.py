"""TCP with TLS, as libvirt has it: certificates on both sides."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConfigError
from polyvisor_remote.server._transport import TlsTransport
from polyvisor_remote.server.client import Identity
from polyvisor_remote.server.crew import Crew
from polyvisor_remote.server.listening import Listener, bound_tcp, shown

if TYPE_CHECKING:
    from polyvisor_remote.server.settings import Settings

__all__ = ["TlsListener", "context"]

#: Seconds that a handshake may take, and how many there may be at the same time.
_PATIENCE, _AT_ONCE = 10.0, 20
#: What libvirt's server sends when it accepts a client's certificate (``virnetserverclient.c``).
_ACCEPTED = b"\1"

log = logging.getLogger("polyvisor.remote")


def context(settings: Settings) -> ssl.SSLContext:
    """Return how the daemon speaks TLS.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # libvirt's client takes what comes first for the answer to its certificate.
    made.num_tickets = 0
    try:
        made.load_cert_chain(settings.tls_cert, settings.tls_key)
        made.load_verify_locations(settings.tls_ca)
    except OSError as error:
        files = f"{settings.tls_cert}, {settings.tls_key}, {settings.tls_ca}"
        raise ConfigError(
            f"TLS needs the files tls_cert, tls_key and tls_ca ({files}): {error.strerror or error}"
        ) from error
    made.verify_mode = ssl.CERT_REQUIRED if settings.tls_verify else ssl.CERT_NONE
    return made


class TlsListener(Listener):
    """A TCP socket on which clients show a certificate.

    Args:
        bound: a socket that listens.
        how: see :func:`context`.
        readonly: see :class:`Listener`.
        authenticate: whether who comes in must say more than the certificate does.
    """

    def __init__(
        self,
        bound: socket.socket,
        how: ssl.SSLContext,
        *,
        readonly: bool = False,
        authenticate: bool = False,
    ) -> None:
        super().__init__(bound, readonly=readonly, authenticate=authenticate)
        self._context = how
        self._handshakes = Crew(_AT_ONCE)
        host, self.port = bound.getsockname()[:2]
        self.where = f"tls:[{host}]:{self.port}" if ":" in host else f"tls:{host}:{self.port}"

    @classmethod
    def bind(
        cls,
        host: str,
        port: int,
        how: ssl.SSLContext,
        *,
        readonly: bool = False,
        authenticate: bool = False,
    ) -> TlsListener:
        """Listen at an address.

        Raises:
            ConfigError: it cannot be.
        """
        try:
            made = bound_tcp(host, port)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on tls:{host}:{port}: {error.strerror or error}"
            ) from error
        return cls(made, how, readonly=readonly, authenticate=authenticate)

    def end(self) -> None:
        """Take nobody in any more."""
        super().end()
        self._handshakes.close(0)

    def take_in(self, connected: socket.socket, address: object) -> None:
        """Have a thread of its own shake hands, so that nobody waits for it."""
        self._handshakes.queue(lambda: self._shake_hands(connected, shown(address)))

    def _shake_hands(self, connected: socket.socket, address: str) -> None:
        try:
            connected.settimeout(_PATIENCE)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self._context.wrap_socket(connected, server_side=True)
            secured.sendall(_ACCEPTED)
            secured.setblocking(False)
        except (OSError, ValueError) as error:
            log.info("%s: no TLS with %s: %s", self.where, address, error)
            connected.close()
            return
        name = distinguished_name(secured.getpeercert())
        identity = Identity(name=name, address=address)
        loop = self._loop
        if loop is None:
            secured.close()
            return
        transport = TlsTransport(secured)
        loop.post(lambda: self.welcome(transport, identity))


#: Short names of what certificates say of their holder (RFC 4514).
_SHORT = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
}


def distinguished_name(certificate: Any) -> str | None:
    """Return the holder of a certificate, as ``C=…,O=…,CN=…``; ``None`` without one."""
    if not certificate:
        return None
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    return ",".join(f"{_SHORT.get(name, name)}={value}" for name, value in pairs) or None
