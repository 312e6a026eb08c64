"""What ``[plugins.remote]`` can say: the client reads some of it, polyvisord the rest."""

from __future__ import annotations

from polyvisor.driver import Setting

__all__ = ["SETTINGS"]

_KEY = "polyvisord: file with "
_AUTH = "authenticate: `none` or `sasl`"

SETTINGS = (
    Setting("user", str, None, "name for a daemon that asks for one (SASL); else the URI's user"),
    Setting("password", str, None, "the password of that user"),
    Setting(
        "keepalive_interval", float, 5.0, "seconds of silence after which the other side is asked"
    ),
    Setting("keepalive_count", int, 5, "questions without an answer until it is taken for gone"),
    Setting(
        "open_timeout",
        float,
        None,
        "seconds that a daemon has for each answer until a connection is open, 0: no limit; "
        "unless set, 30, and 300 where a person may be asked for a password meanwhile "
        "(ssh, polkit)",
    ),
    Setting(
        "listen",
        list,
        [],
        "polyvisord: addresses, each `unix:PATH`, `unix-ro:PATH`, `tcp:HOST:PORT` or "
        "`tls:HOST:PORT`",
    ),
    Setting(
        "schemes", list, [], "polyvisord: URI schemes that clients may open; empty: all there are"
    ),
    Setting(
        "autostart",
        list,
        [],
        "polyvisord: connections, by name or URI, of which what is marked to start with the host "
        "is started, once for each boot",
    ),
    Setting(
        "unix_mode",
        str,
        "0700",
        "polyvisord: permissions of local sockets; `0777` unless set where polkit is asked",
    ),
    Setting("unix_ro_mode", str, "0777", "polyvisord: permissions of read-only ones"),
    Setting("unix_group", str, None, "polyvisord: group that local sockets are given to"),
    Setting(
        "auth_unix",
        str,
        "none",
        f"polyvisord: how local clients {_AUTH}, or `polkit`, which is asked of them",
    ),
    Setting("auth_tcp", str, "sasl", f"polyvisord: how clients over TCP {_AUTH}"),
    Setting("auth_tls", str, "none", f"polyvisord: how clients over TLS {_AUTH}"),
    Setting("users", str, "/etc/polyvisor/users", f"{_KEY}names and password hashes of SASL users"),
    Setting(
        "tls_ca",
        str,
        "/etc/pki/CA/cacert.pem",
        f"{_KEY}the certificates of the authorities that are trusted",
    ),
    Setting("tls_cert", str, "/etc/pki/libvirt/servercert.pem", f"{_KEY}the server's certificate"),
    Setting("tls_key", str, "/etc/pki/libvirt/private/serverkey.pem", f"{_KEY}its key"),
    Setting("tls_verify", bool, True, "polyvisord: whether clients over TLS need a certificate"),
    Setting("max_clients", int, 5000, "polyvisord: clients at the same time"),
    Setting(
        "workers",
        int,
        20,
        "polyvisord: calls that may be under way at the same time, of those known to take long",
    ),
    Setting(
        "login_timeout", float, 60.0, "polyvisord: seconds in which a client must say who it is"
    ),
    Setting("grace", float, 10.0, "polyvisord: seconds that calls may take to end when it stops"),
)
