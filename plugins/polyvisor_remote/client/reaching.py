"""From a URI to a way to its server (https://libvirt.org/uri.html, remote drivers).

``unix`` is a local socket, ``tcp`` and ``tls`` are what they say, ``ssh`` has the server's
socket joined to the standard input and output of a command on its host, and ``ext`` is any
program that does the like.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import AuthError, ConnectError, UriError
from polyvisor.uri import ConnectionUri
from polyvisor_remote.client.pipe import Pipe, ProgramPipe, SocketPipe, TlsPipe

if TYPE_CHECKING:
    import ssl

__all__ = ["asked_for", "reach", "ssh_command"]

#: Parameters that are the transport's and not the driver's.
_OURS = frozenset(
    {
        "auth", "authfile", "command", "keyfile", "known_hosts", "known_hosts_verify", "mode",
        "name", "netcat", "no_sanity", "no_tty", "no_verify", "pkipath", "proxy", "socket",
        "sshauth", "tls_hostname", "tls_priority",
    }
)  # fmt: skip
TCP_PORT, TLS_PORT = 16509, 16514
#: Seconds that a connection may take to be made.
_PATIENCE = 30.0
#: Milliseconds that sent data may stay unacknowledged.
_SILENCE = 60_000
#: Sockets of libvirt's daemons of one driver each, by scheme; the one of all is tried after it.
_DAEMONS = {
    "qemu": "virtqemud", "xen": "virtxend", "lxc": "virtlxcd", "vbox": "virtvboxd",
    "bhyve": "virtbhyved", "ch": "virtchd", "vz": "virtvzd", "network": "virtnetworkd",
    "storage": "virtstoraged", "nodedev": "virtnodedevd", "secret": "virtsecretd",
    "nwfilter": "virtnwfilterd", "interface": "virtinterfaced",
}  # fmt: skip
#: Where certificates are (libvirt's documentation, "PKI"): of the host, of a user.
_PKI = ("/etc/pki/CA/cacert.pem", "/etc/pki/libvirt", "/etc/pki/libvirt/private")
_ACCEPTED = b"\1"


def asked_for(uri: ConnectionUri) -> str:
    """Return the URI that the server is to open: what is left without the transport."""
    if "name" in uri.query:
        return uri.query["name"]
    rest = {name: value for name, value in uri.query.items() if name not in _OURS}
    return str(ConnectionUri(scheme=uri.scheme, path=uri.path, query=rest))


def reach(uri: ConnectionUri, *, readonly: bool = False) -> Callable[[], Pipe]:
    """Return what makes a way to a URI's server, each time anew.

    Raises:
        UriError: the URI does not say enough.
    """
    transport = uri.transport
    if transport in ("tcp", "tls", "ssh") and uri.host is None:
        raise UriError(f"{uri}: +{transport} needs a host, as in {uri.scheme}+{transport}://host/")
    if transport == "unix":
        if uri.host is not None:
            raise UriError(f"{uri}: +unix is a socket on this host; leave out {uri.host!r}")
        return lambda: _unix(_sockets(uri, readonly))
    if transport == "tcp":
        return lambda: SocketPipe(_tcp(uri, TCP_PORT))
    if transport == "tls":
        return lambda: _tls(uri)
    if transport == "ssh":
        return lambda: _program(ssh_command(uri, readonly=readonly), secure=True)
    if transport == "ext":
        command = uri.query.get("command")
        if not command:
            raise UriError(f"{uri}: +ext needs ?command=PROGRAM")
        return lambda: _program([command])
    raise UriError(f"{uri}: there is no transport {transport!r}")


def _query_flag(uri: ConnectionUri, name: str) -> bool:
    return uri.query.get(name, "0") not in ("", "0")


# --- sockets -----------------------------------------------------------------------------------


def _sockets(uri: ConnectionUri, readonly: bool) -> list[str]:
    """Return where a server's local socket may be, likeliest first."""
    if "socket" in uri.query:
        return [uri.query["socket"]]
    end = "-sock-ro" if readonly else "-sock"
    if uri.path == "/session":
        base = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache")
        folder, end = f"{base}/libvirt", "-sock"
    else:
        folder = "/run/libvirt"
    names = ["libvirt"]
    if uri.scheme in _DAEMONS:
        names.insert(0, _DAEMONS[uri.scheme])
    return [f"{folder}/{name}{end}" for name in names]


def _unix(paths: Sequence[str]) -> Pipe:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # One that takes no connections any more holds those who connect when its queue is full.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(_PATIENCE), 0))
    why: dict[str, str] = {}
    for path in paths:
        try:
            made.connect(path)
        except OSError as error:
            why[path] = error.strerror or str(error)
            if isinstance(error, BlockingIOError):
                why[path] = f"nobody has taken the connection for {_PATIENCE:g} s"
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
            return SocketPipe(made, secure=True, files=True)
    made.close()
    tried = "; ".join(f"{path}: {words}" for path, words in why.items())
    denied = len(why) == 1 and "denied" in tried
    raise (AuthError if denied else ConnectError)(
        f"cannot connect to a daemon ({tried}); is it running, and may you use its socket? "
        f"?socket=PATH names another"
    )


def _tcp(uri: ConnectionUri, port: int) -> socket.socket:
    assert uri.host is not None
    where = (uri.host, uri.port or port)
    try:
        made = socket.create_connection(where, timeout=_PATIENCE)
    except OSError as error:
        raise ConnectError(
            f"cannot connect to {where[0]}:{where[1]}: {error.strerror or error}; is a daemon "
            f"listening there?"
        ) from error
    made.settimeout(None)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE)
    return made


# --- TLS ---------------------------------------------------------------------------------------


def _tls(uri: ConnectionUri) -> Pipe:
    import ssl

    context = _context(uri)
    plain = _tcp(uri, TLS_PORT)
    try:
        plain.settimeout(_PATIENCE)
        wrapped = context.wrap_socket(
            plain, server_hostname=uri.query.get("tls_hostname", uri.host)
        )
    except (OSError, ValueError) as error:
        plain.close()
        kind = AuthError if isinstance(error, ssl.SSLError) else ConnectError
        raise kind(f"TLS with {uri.host}: {error}") from error
    try:
        if wrapped.recv(1) != _ACCEPTED:
            raise AuthError(f"TLS with {uri.host}: the server does not accept our certificate")
    except OSError as error:
        wrapped.close()
        raise AuthError(
            f"TLS with {uri.host}: the server does not accept our certificate: {error}"
        ) from error
    except AuthError:
        wrapped.close()
        raise
    return TlsPipe(wrapped)


def _context(uri: ConnectionUri) -> ssl.SSLContext:
    """Return how to speak TLS: with which certificates."""
    import ssl

    folders = [uri.query["pkipath"]] if "pkipath" in uri.query else []
    places = [
        (f"{folder}/cacert.pem", f"{folder}/clientcert.pem", f"{folder}/clientkey.pem")
        for folder in folders or [os.path.expanduser("~/.pki/libvirt")]
    ]
    if not folders:
        authority, certificates, keys = _PKI
        places.append((authority, f"{certificates}/clientcert.pem", f"{keys}/clientkey.pem"))
    trusted, certificate, key = next(
        (place for place in places if os.path.exists(place[1])), places[-1]
    )
    if not os.path.exists(trusted):
        trusted = _PKI[0]
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if os.path.exists(certificate):
            context.load_cert_chain(certificate, key)
        if _query_flag(uri, "no_verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_verify_locations(trusted)
    except OSError as error:
        raise ConnectError(
            f"TLS needs {trusted}, {certificate} and {key}: {error.strerror or error}; "
            f"?pkipath=FOLDER names another place"
        ) from error
    return context


# --- programs ----------------------------------------------------------------------------------


@attrs.frozen
class _Shell:
    """What is run on the other host: libvirt's own helper if it is there, else netcat."""

    uri: str
    sockets: Sequence[str]
    netcat: str
    mode: str
    readonly: bool

    def text(self) -> str:
        from shlex import quote

        netcat = quote(self.netcat)
        # Some netcats end when their input does unless they are told -q.
        tries = " || ".join(
            f"{{ test -S {path} && exec {netcat} $q -U {path}; }}"
            for path in (_in_shell(path) for path in self.sockets)
        )
        plain = (
            f"q=; {netcat} -q </dev/null 2>&1 | grep -q 'requires an argument' && q=-q0; {tries}; "
            f"echo 'no daemon has a socket at {' or '.join(self.sockets)}' >&2; exit 1"
        )
        if self.mode == "legacy":
            return plain
        helper = f"virt-ssh-helper {'-r ' if self.readonly else ''}{quote(self.uri)}"
        return f"if command -v virt-ssh-helper >/dev/null 2>&1; then exec {helper}; fi; {plain}"


def _in_shell(path: str) -> str:
    """Return a path as the other host's shell reads it; a user's folder is known there."""
    from shlex import quote

    if path.startswith("$"):
        name, _, rest = path.partition("/")
        return f'"{name}"/{quote(rest)}'
    return quote(path)


def ssh_command(uri: ConnectionUri, *, readonly: bool = False) -> list[str]:
    """Return how ssh is run for a URI."""
    from shlex import quote

    query: Mapping[str, Any] = uri.query
    given = "socket" in query
    sockets = [query["socket"]] if given else _remote_sockets(uri, readonly)
    netcat = str(query.get("netcat", "nc"))
    mode = "legacy" if given or "netcat" in query else str(query.get("mode", "auto"))
    shell = _Shell(asked_for(uri), sockets, netcat, mode, readonly)
    command = [str(query.get("command", "ssh")), "-T", "-e", "none"]
    if uri.port is not None:
        command += ["-p", str(uri.port)]
    if uri.user is not None:
        command += ["-l", uri.user]
    if "keyfile" in query:
        command += ["-i", str(query["keyfile"])]
    if _query_flag(uri, "no_tty"):
        command += ["-o", "BatchMode=yes"]
    if _query_flag(uri, "no_verify"):
        command += ["-o", "StrictHostKeyChecking=no"]
    if "known_hosts" in query:
        command += ["-o", f"UserKnownHostsFile={query['known_hosts']}"]
    return [*command, "--", str(uri.host), f"sh -c {quote(shell.text())}"]


def _remote_sockets(uri: ConnectionUri, readonly: bool) -> list[str]:
    if uri.path != "/session":
        return _sockets(uri, readonly)
    names = [_DAEMONS[uri.scheme]] if uri.scheme in _DAEMONS else []
    return [f"$XDG_RUNTIME_DIR/libvirt/{name}-sock" for name in (*names, "libvirt")]


def _program(command: Sequence[str], *, secure: bool = False) -> Pipe:
    """Run a program that has one end of a socket for its standard input and output."""
    import subprocess

    ours, its = socket.socketpair()
    try:
        with its:
            process = subprocess.Popen(
                command, stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.PIPE
            )
    except OSError as error:
        ours.close()
        raise ConnectError(
            f"cannot run {command[0]}: {error.strerror or error}; is it installed?"
        ) from error
    return ProgramPipe(ours, process, secure=secure)
