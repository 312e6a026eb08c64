"""Clients say who they are: SCRAM and PLAIN, by the standard's own example and over sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_client import WireClient

from polyvisor.config import Config
from polyvisor.errors import AuthError, ConfigError
from polyvisor_remote.server.listening import TcpListener, UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.scram import Credential, Plain, Scram, Users
from polyvisor_remote.server.server import Server

TEST = "test:///default"
AUTH_FAILED = 45


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Return users of whom one is called ada."""
    path = tmp_path_factory.mktemp("users") / "users"
    path.write_text(f"# who may come in\nada:{Credential.of('pencil')}\n\n")
    return Users(str(path))


class ScramClient:
    """The other side of the exchange, written by RFC 5802."""

    def __init__(self, name: str, password: str) -> None:
        self._bare = f"n={name},r=fyko+d2lbbFgONRv9qkxdawL"
        self._password = password
        self.first = f"n,,{self._bare}".encode()
        self._signature = b""

    def final(self, server_first: bytes) -> bytes:
        """Return the proof."""
        text = server_first.decode()
        fields = dict(part.split("=", 1) for part in text.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", self._password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c=biws,r={fields['r']}"
        said = f"{self._bare},{text},{without}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), said, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        server = hmac.digest(salted, b"Server Key", "sha256")
        self._signature = hmac.digest(server, said, "sha256")
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def believes(self, server_final: bytes) -> bool:
        """Say whether the server knows the password too."""
        return server_final == b"v=" + base64.b64encode(self._signature)


def test_a_password_is_proved_without_being_said(users: Users) -> None:
    """Both sides know afterwards that the other one knows it."""
    client, server = ScramClient("ada", "pencil"), Scram(users)
    assert server.step(None) == b""
    answer = server.step(client.first)
    assert answer is not None
    assert server.user is None
    last = server.step(client.final(answer))
    assert last is not None
    assert client.believes(last)
    assert server.user == "ada"


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("bob", "pencil"), ("ada", "")])
def test_who_does_not_know_it_learns_nothing(users: Users, name: str, password: str) -> None:
    """A wrong password and a user that there is not look the same, each time."""
    answers = []
    for _ in range(2):
        client, server = ScramClient(name, password), Scram(users)
        answer = server.step(client.first)
        assert answer is not None
        answers.append(re.sub(rb"^r=[^,]*", b"", answer))
        with pytest.raises(AuthError, match="user or password is wrong"):
            server.step(client.final(answer))
        assert server.user is None
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=ada",
        b"n,,n=,r=x",
        b"n,,n=ada,r=",
        b"p=tls-unique,,n=ada,r=x",
        b"n,a=root,n=ada,r=x",
        b"n,,m=x,n=ada,r=x",
        b"\xff\xfe",
        b"n,,n=ada,r=" + b"x" * 5000,
    ],
)
def test_a_first_message_that_is_none_is_refused(users: Users, message: bytes) -> None:
    """Malformed, too long, with channel binding, or for somebody else."""
    with pytest.raises(AuthError):
        Scram(users).step(message)


def test_a_proof_belongs_to_one_exchange(users: Users) -> None:
    """One that was overheard is worth nothing, and neither is half of one."""
    client, server = ScramClient("ada", "pencil"), Scram(users)
    answer = server.step(client.first)
    assert answer is not None
    proof = client.final(answer)
    for wrong in (b"", b"c=biws", proof[:-4], proof.replace(b"biws", b"eSws"), proof + b"!"):
        again = Scram(users)
        again.step(client.first)
        with pytest.raises(AuthError):
            again.step(wrong)
    again = Scram(users)
    again.step(client.first)
    with pytest.raises(AuthError, match="another exchange"):
        again.step(proof)


def test_plain_takes_a_name_and_a_password(users: Users) -> None:
    """And nobody acts as somebody else."""
    plain = Plain(users)
    assert plain.step(b"\0ada\0pencil") is None
    assert plain.user == "ada"
    for wrong in (
        None,
        b"",
        b"ada\0pencil",
        b"\0ada\0wrong",
        b"\0bob\0pencil",
        b"root\0ada\0pencil",
    ):
        plain = Plain(users)
        with pytest.raises(AuthError):
            plain.step(wrong)
        assert plain.user is None


def test_the_file_of_users_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    """Whoever is added may come in at once; a wrong line is named."""
    path = tmp_path / "users"
    found = Users(str(path))
    with pytest.raises(ConfigError, match="cannot read the users"):
        found.find("ada")
    path.write_text(f"ada:{Credential.of('one')}\n")
    assert found.find("ada")[0].matches("one")
    path.write_text(f"ada:{Credential.of('two')}\n")
    os.utime(path, ns=(1, 1))
    assert found.find("ada")[0].matches("two")
    for line in ("ada", "ada:x", "ada:SCRAM-SHA-256$0:YQ==$YQ==:YQ==", "ada:a$b$c"):
        path.write_text(f"\n{line}\n")
        os.utime(path, ns=(len(line), 2))
        with pytest.raises(ConfigError, match=f"{path}:2: not NAME:CREDENTIAL"):
            found.find("ada")


@pytest.fixture
def places(tmp_path: Path, users: Users) -> Iterator[tuple[str, tuple[str, int], list[Any]]]:
    """Return a local socket and a TCP address where one must say who one is, and who came."""
    came: list[Any] = []

    def access(identity: Any, procedure: Any, arguments: Any) -> bool:
        came.append(identity.name)
        return True

    server = Server(opener(Config(root=str(tmp_path / "root"))), users=users, access=access)
    server.start()
    path = str(tmp_path / "s")
    server.listen(UnixListener.bind(path, authenticate=True))
    tcp = TcpListener.bind("127.0.0.1", 0, authenticate=True)
    server.listen(tcp)
    yield path, ("127.0.0.1", tcp.port), came
    server.stop(1)


def test_a_client_comes_in_with_scram(places: tuple[str, tuple[str, int], list[Any]]) -> None:
    """Over TCP, in two steps; what it does then is done in its name."""
    with WireClient(places[1]) as client:
        assert client.call("auth_list").types == [1]
        assert client.call("auth_sasl_init").mechlist == "SCRAM-SHA-256"
        other = ScramClient("ada", "pencil")
        begun = client.call("auth_sasl_start", "SCRAM-SHA-256", 0, other.first)
        assert (begun.complete, begun.nil) == (0, 0)
        done = client.call("auth_sasl_step", 0, other.final(begun.data))
        assert done.complete == 1
        assert other.believes(done.data)
        client.call("connect_open", TEST, 0)
        assert places[2][-1] == "ada"
        assert client.refused("auth_sasl_init").code == AUTH_FAILED


def test_a_password_is_taken_only_where_nobody_listens_in(
    places: tuple[str, tuple[str, int], list[Any]],
) -> None:
    """PLAIN on a local socket, not over bare TCP."""
    with WireClient(places[0]) as client:
        assert client.call("auth_sasl_init").mechlist == "SCRAM-SHA-256,PLAIN"
        assert client.call("auth_sasl_start", "PLAIN", 0, b"\0ada\0pencil").complete == 1
        client.call("connect_open", TEST, 0)
    with WireClient(places[1]) as client:
        error = client.refused("auth_sasl_start", "PLAIN", 0, b"\0ada\0pencil")
        assert error.code == AUTH_FAILED
        assert client.refused("connect_open", TEST, 0).message == "authentication required"


def ask_until_the_end(client: WireClient) -> None:
    """Guess once more and wait for what comes of it."""
    for _ in range(3):
        client.send("auth_sasl_start", "PLAIN", 0, b"\0ada\0wrong")
        client.receive()


def test_guessing_ends_soon(places: tuple[str, tuple[str, int], list[Any]]) -> None:
    """Three attempts, and the reason is not for the one who tried."""
    with WireClient(places[0]) as client:
        assert client.refused("auth_sasl_step", 0, b"x").code == AUTH_FAILED
        for _ in range(2):
            error = client.refused("auth_sasl_start", "PLAIN", 0, b"\0ada\0wrong")
            assert error.message == "authentication failed: authentication failed"
        with pytest.raises(ConnectionError):
            ask_until_the_end(client)
    assert places[2] == []
