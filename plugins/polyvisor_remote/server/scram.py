"""Passwords that the daemon need not know: SCRAM-SHA-256 (RFC 5802, RFC 7677), and PLAIN.

What is kept of a password is a salt, a count and two keys, from which neither the password
nor what a client would have to send can be made.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import unicodedata
from typing import Protocol

import attrs

from polyvisor.errors import AuthError, ConfigError

__all__ = ["MECHANISMS", "Credential", "Exchange", "Plain", "Scram", "Users"]

#: Mechanisms, best first.
MECHANISMS = ("SCRAM-SHA-256", "PLAIN")
_ITERATIONS = 15_000
_NAME_MAX, _MESSAGE_MAX = 255, 4096


@attrs.frozen
class Credential:
    """What is kept of a password.

    Attributes:
        iterations: how often the hash is applied.
        salt: random bytes.
        stored_key: by which a client's proof is checked.
        server_key: with which the daemon proves that it knows the user.
    """

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, password: str, salt: bytes | None = None) -> Credential:
        """Make one of a password."""
        chosen = secrets.token_bytes(16) if salt is None else salt
        salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), chosen, _ITERATIONS)
        client_key = _mac(salted, b"Client Key")
        return cls(
            _ITERATIONS,
            chosen,
            hashlib.sha256(client_key).digest(),
            _mac(salted, b"Server Key"),
        )

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Read ``SCRAM-SHA-256$COUNT:SALT$STORED:SERVER``; ``ValueError`` if it is not that."""
        mechanism, parameters, keys = text.split("$")
        count, _, salt = parameters.partition(":")
        stored, _, server = keys.partition(":")
        made = cls(int(count), *(base64.b64decode(part, validate=True) for part in
                                 (salt, stored, server)))  # fmt: skip
        if mechanism != MECHANISMS[0] or not made.salt or made.iterations < 1:
            raise ValueError(text)
        if len(made.stored_key) != 32 or len(made.server_key) != 32:
            raise ValueError(text)
        return made

    def __str__(self) -> str:
        salt, stored, server = (
            base64.b64encode(part).decode()
            for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"{MECHANISMS[0]}${self.iterations}:{salt}${stored}:{server}"

    def matches(self, password: str) -> bool:
        """Say whether it was made of this password."""
        salted = hashlib.pbkdf2_hmac(
            "sha256", _prepared(password).encode(), self.salt, self.iterations
        )
        return hmac.compare_digest(
            hashlib.sha256(_mac(salted, b"Client Key")).digest(), self.stored_key
        )


class Users:
    """A file with a line ``NAME:CREDENTIAL`` for each user; read anew when it has changed.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, Credential] = {}
        self._secret = secrets.token_bytes(32)

    def find(self, name: str) -> tuple[Credential, bool]:
        """Return a user's credential, and whether there is such a user.

        A user that does not exist has one that fits no password, the same each time, so
        that nobody learns who exists.

        Raises:
            ConfigError: the file cannot be read or is wrong.
        """
        self._read()
        found = self._users.get(name)
        if found is not None:
            return found, True
        salt = hmac.digest(self._secret, name.encode(), "sha256")[:16]
        return Credential(_ITERATIONS, salt, bytes(32), bytes(32)), False

    def _read(self) -> None:
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            with open(self._path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except OSError as error:
            raise ConfigError(
                f"cannot read the users {self._path}: {error.strerror}", file=self._path
            ) from error
        users = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, text = line.partition(":")
            try:
                users[name] = Credential.parse(text.strip())
            except ValueError as error:
                raise ConfigError(
                    f"{self._path}:{number}: not NAME:CREDENTIAL; polyvisord --add-user "
                    f"{name or 'NAME'} prints such a line",
                    file=self._path,
                    line=number,
                ) from error
        self._users, self._seen = users, seen


class Exchange(Protocol):
    """An exchange of messages after which it is known who a client is.

    Attributes:
        user: who it is, once it is known.
    """

    user: str | None

    def step(self, data: bytes | None) -> bytes | None:
        """Take a message and return the next one.

        Raises:
            AuthError: the client is not who it says.
        """


class Plain:
    """PLAIN (RFC 4616): name and password, for connections that nobody listens in to."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.user: str | None = None

    def step(self, data: bytes | None) -> bytes | None:
        """Check the one message that there is."""
        parts = (data or b"").split(b"\0")
        if len(parts) != 3:
            raise _failed("the message of PLAIN is malformed")
        acting, name, password = (_text(part) for part in parts)
        credential, known = self._users.find(name)
        if not credential.matches(password) or not known or acting not in ("", name):
            raise _failed("user or password is wrong")
        self.user = name
        return None


class Scram:
    """SCRAM-SHA-256: the client proves that it knows the password, and we that we know it."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._name = ""
        self._nonce = ""
        self._header = ""
        self._so_far = ""
        self._credential: Credential | None = None
        self._known = False
        self.user: str | None = None

    def step(self, data: bytes | None) -> bytes | None:
        """Take the client's first message or its proof."""
        if data is None:
            return b""  # The client has yet to begin.
        if len(data) > _MESSAGE_MAX:
            raise _failed("a message of SCRAM is too long")
        text = _text(data)
        return self._proof(text) if self._credential is not None else self._first(text)

    def _first(self, text: str) -> bytes:
        pieces = text.split(",", 2)
        if len(pieces) != 3 or pieces[0] not in ("n", "y"):
            raise _failed("channel binding is not offered")
        self._header = f"{pieces[0]},{pieces[1]},"
        bare = pieces[2]
        fields = bare.split(",")
        if len(fields) < 2 or not fields[0].startswith("n=") or not fields[1].startswith("r="):
            raise _failed("the first message of SCRAM is malformed")
        self._name = fields[0][2:].replace("=2C", ",").replace("=3D", "=")
        nonce = fields[1][2:]
        if not nonce or not self._name or len(self._name) > _NAME_MAX:
            raise _failed("the first message of SCRAM is malformed")
        if pieces[1] not in ("", f"a={fields[0][2:]}"):
            raise _failed("nobody may act as somebody else")
        self._credential, self._known = self._users.find(self._name)
        self._nonce = nonce + secrets.token_urlsafe(18)
        salt = base64.b64encode(self._credential.salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._credential.iterations}"
        self._so_far = f"{bare},{answer}"
        return answer.encode()

    def _proof(self, text: str) -> bytes:
        without, _, proof = text.rpartition(",p=")
        fields = dict(field.split("=", 1) for field in without.split(",") if "=" in field)
        bound = base64.b64encode(self._header.encode()).decode()
        if fields.get("c") != bound or fields.get("r") != self._nonce:
            raise _failed("the proof belongs to another exchange")
        try:
            given = base64.b64decode(proof, validate=True)
        except binascii.Error as error:
            raise _failed("the proof is malformed") from error
        credential = self._credential
        assert credential is not None
        said = f"{self._so_far},{without}".encode()
        signature = _mac(credential.stored_key, said)
        if len(given) != len(signature):
            raise _failed("the proof is malformed")
        key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        right = hmac.compare_digest(hashlib.sha256(key).digest(), credential.stored_key)
        if not right or not self._known:
            raise _failed("user or password is wrong")
        self.user = self._name
        return b"v=" + base64.b64encode(_mac(credential.server_key, said))


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _prepared(password: str) -> str:
    """Bring a password into the form in which it is compared (as SASLprep does for most)."""
    return unicodedata.normalize("NFKC", password)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _failed("a message is not UTF-8") from error


def _failed(why: str) -> AuthError:
    return AuthError(f"authentication failed: {why}")
