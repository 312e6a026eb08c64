"""Telling a server who we are: nothing, by what the kernel knows, or with a password.

SCRAM-SHA-256 is RFC 5802 and RFC 7677; PLAIN, RFC 4616, only where nobody can listen in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import AuthError
from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from polyvisor_remote.client.channel import Channel

__all__ = ["PERSON", "Credentials", "log_in"]

#: Seconds that a person has who is asked for a password.
PERSON = 300.0

# remote_auth_type
_NONE, _SASL, _POLKIT = 0, 1, 2
_SCRAM, _PLAIN = "SCRAM-SHA-256", "PLAIN"
#: Rounds that we are ready to compute for a server.
_ITERATIONS_MAX = 1_000_000
_remote = program("remote")


@attrs.frozen
class Credentials:
    """A user and a password."""

    user: str
    password: str = attrs.field(repr=False)


def log_in(
    channel: Channel, credentials: Credentials | None, *, person: float | None = None
) -> None:
    """Do what the server asks for before anything else.

    Args:
        channel: the connection to it.
        credentials: who we are, if it asks.
        person: seconds in which the server must have asked a person on its host, if it does
            that; ``None``: as long as it has for every answer.

    Raises:
        AuthError: it does not let us in, or asks for what we cannot give.
    """
    ways = channel.call(_remote["auth_list"], ()).types
    if not ways or _NONE in ways:
        return
    if _POLKIT in ways:
        if person is not None:
            channel.limit(person)
        channel.call(_remote["auth_polkit"], ())
    elif _SASL in ways:
        _sasl(channel, credentials)
    else:
        raise AuthError(f"the server asks for authentication of an unknown kind: {ways}")


def _sasl(channel: Channel, credentials: Credentials | None) -> None:
    offered = channel.call(_remote["auth_sasl_init"], ()).mechlist.split(",")
    if credentials is None:
        raise AuthError(
            "the server asks for a user and a password; set user and password in the settings of "
            "the connection in polyvisor.toml"
        )
    if _SCRAM in offered:
        exchange: Any = _scram(credentials)
        mechanism = _SCRAM
    elif _PLAIN in offered and channel.pipe.secure:
        exchange = _plain(credentials)
        mechanism = _PLAIN
    else:
        raise AuthError(
            f"the server offers {', '.join(offered)}; known are {_SCRAM}, and {_PLAIN} where "
            f"nobody can listen in"
        )
    words = next(exchange)
    answer = channel.call(_remote["auth_sasl_start"], (mechanism, 0, words))
    while not (answer.complete and answer.nil):
        try:
            words = exchange.send(b"" if answer.nil else answer.data)
        except StopIteration:
            break
        if answer.complete:
            break
        answer = channel.call(_remote["auth_sasl_step"], (0, words))


def _plain(credentials: Credentials) -> Any:
    yield f"\0{credentials.user}\0{credentials.password}".encode()


def _scram(credentials: Credentials) -> Any:
    """Yield what to send; each is answered with what came."""
    import base64
    import hashlib
    import hmac
    import secrets

    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")

    def fields(data: bytes) -> dict[str, str]:
        return dict(part.split("=", 1) for part in data.decode().split(",") if "=" in part)

    nonce = base64.b64encode(secrets.token_bytes(18)).decode()
    user = credentials.user.replace("=", "=3D").replace(",", "=2C")
    first = f"n={user},r={nonce}"
    challenge = yield f"n,,{first}".encode()
    told = fields(challenge)
    rounds = int(told.get("i", "0"))
    if not told.get("r", "").startswith(nonce) or not 1 <= rounds <= _ITERATIONS_MAX:
        raise AuthError("the server's challenge does not belong to what was sent")
    salt = base64.b64decode(told["s"])
    salted = hashlib.pbkdf2_hmac("sha256", credentials.password.encode(), salt, rounds)
    client_key = mac(salted, b"Client Key")
    bare = f"c=biws,r={told['r']}"
    signed = f"{first},{challenge.decode()},{bare}".encode()
    signature = mac(hashlib.sha256(client_key).digest(), signed)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    final = yield f"{bare},p={base64.b64encode(proof).decode()}".encode()
    expected = base64.b64encode(mac(mac(salted, b"Server Key"), signed)).decode()
    if not hmac.compare_digest(fields(final).get("v", ""), expected):
        raise AuthError("the server does not prove that it knows the password")
    # What was answered last is acknowledged with nothing, where it was not the last word.
    yield b""
