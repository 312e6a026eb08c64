"""Connection URIs: ``driver[+transport]://[user@][host][:port]/path[?name=value…]``.

The form is libvirt's (https://libvirt.org/uri.html).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from polyvisor._values import frozen_mapping
from polyvisor.errors import UriError

__all__ = ["ConnectionUri"]


@attrs.frozen
class ConnectionUri:
    """A parsed connection URI.

    Attributes:
        scheme: the driver's scheme, such as ``"qemu"``.
        transport: ``"unix"``, ``"ssh"``, ``"tls"``, ``"tcp"``, ``"ext"``, or ``None``
            for a driver in this process.
        user: user name, or ``None``.
        host: host name or address without brackets, or ``None``.
        port: port, or ``None``.
        path: decoded path with its leading slash; ``""`` if there is none.
        query: decoded parameters; a name that occurs twice keeps its last value.
    """

    scheme: str
    transport: str | None = None
    user: str | None = None
    host: str | None = None
    port: int | None = None
    path: str = ""
    query: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping, hash=False)

    @classmethod
    def parse(cls, text: str) -> ConnectionUri:
        """Parse ``text``.

        Raises:
            UriError: it is not a URI with a scheme, or its port is not a number.
        """
        if any(ord(character) < 0x20 for character in text):
            raise UriError(f"connection URI {text!r}: control characters are not allowed in a URI")
        # Most URIs are of this machine, and urllib costs more than all else here.
        scheme, _, path = text.partition("://")
        if path.startswith("/") and _is_plain(path) and scheme.isascii() and scheme.isalpha():
            return cls(scheme=scheme.lower(), path=path)
        from urllib.parse import parse_qsl, unquote, urlsplit

        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise UriError(f"connection URI {text!r}: {error}") from error
        if not parts.scheme or ":" not in text:
            raise UriError(
                f"connection URI {text!r} has no scheme; write it like qemu:///session, "
                f"or use the name of a connection in polyvisor.toml"
            )
        scheme, plus, transport = parts.scheme.partition("+")
        if plus and not transport:
            raise UriError(f"connection URI {text!r} has no transport after '+'")
        return cls(
            scheme=scheme,
            transport=transport or None,
            user=unquote(parts.username) if parts.username else None,
            host=parts.hostname or None,
            port=port,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        )

    def __str__(self) -> str:
        scheme = f"{self.scheme}+{self.transport}" if self.transport else self.scheme
        host = self.host or ""
        if ":" in host:
            host = f"[{host}]"
        user = f"{quoted(self.user, safe='')}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        query = f"?{_encoded(self.query)}" if self.query else ""
        return f"{scheme}://{user}{host}{port}{quoted(self.path)}{query}"


def quoted(text: str, *, safe: str = "/") -> str:
    """Return ``text`` as it stands in a URI."""
    if (text.isascii() and text.isalnum()) or (safe == "/" and _is_plain(text)):
        return text
    from urllib.parse import quote

    return quote(text, safe=safe)


def _encoded(query: Mapping[str, str]) -> str:
    from urllib.parse import urlencode

    return urlencode(query)


def _is_plain(path: str) -> bool:
    """Say whether a path is of letters, digits and slashes, which mean nothing else in a URI."""
    words = path.replace("/", "").replace("-", "").replace("_", "").replace(".", "")
    return words.isascii() and (words.isalnum() or not words)
