"""virsh comes in over TLS with certificates, and with a name and a password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from served import need

from polyvisor.config import Config
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.scram import Credential, Users
from polyvisor_remote.server.server import Server
from polyvisor_remote.server.settings import Settings
from polyvisor_remote.server.tls import TlsListener, context

pytestmark = pytest.mark.real


@attrs.frozen
class Secure:
    """A server with TLS, and the folders of those who know it."""

    port: int
    friend: Path
    stranger: Path
    locked: str
    came: list[str | None]


def openssl(*words: str, cwd: Path) -> None:
    """Run openssl."""
    subprocess.run([need("openssl", "openssl"), *words], cwd=cwd, check=True, capture_output=True)


def authority(folder: Path) -> None:
    """Make an authority's key and certificate."""
    folder.mkdir()
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"),
        *("-keyout", "cakey.pem", "-out", "cacert.pem"),
        *("-addext", "keyUsage=critical,keyCertSign"),
        cwd=folder,
    )


def certificate(folder: Path, kind: str, subject: str, usage: str) -> None:
    """Make a key and a certificate by the authority in a folder."""
    (folder / "ext").write_text(
        f"extendedKeyUsage={usage}\nkeyUsage=digitalSignature,keyEncipherment\n"
        f"subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
    )
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject),
        *("-keyout", f"{kind}key.pem", "-out", "request"),
        cwd=folder,
    )
    openssl(
        *("x509", "-req", "-in", "request", "-CA", "cacert.pem", "-CAkey", "cakey.pem"),
        *("-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{kind}cert.pem"),
        cwd=folder,
    )


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Serve over TLS, and on a local socket where one must say who one is."""
    need("virsh", "libvirt-clients")
    folder = tmp_path_factory.mktemp("tls")
    friend, stranger = folder / "friend", folder / "stranger"
    for place in (friend, stranger):
        authority(place)
        certificate(place, "client", "/C=GB/O=Analytical/CN=ada", "clientAuth")
    certificate(friend, "server", "/CN=localhost", "serverAuth")
    # The stranger trusts the server, but nobody knows the stranger's authority.
    (stranger / "cacert.pem").write_bytes((friend / "cacert.pem").read_bytes())
    settings = Settings(
        tls_ca=str(friend / "cacert.pem"),
        tls_cert=str(friend / "servercert.pem"),
        tls_key=str(friend / "serverkey.pem"),
    )
    users = folder / "users"
    users.write_text(f"ada:{Credential.of('pencil')}\n")
    came: list[str | None] = []
    server = Server(
        opener(Config(root=str(folder / "root"))),
        users=Users(str(users)),
        access=lambda identity, *_: came.append(identity.name) is None,
    )
    server.start()
    listener = TlsListener.bind("127.0.0.1", 0, context(settings))
    server.listen(listener)
    locked = str(folder / "locked")
    server.listen(UnixListener.bind(locked, authenticate=True))
    yield Secure(listener.port, friend, stranger, locked, came)
    server.stop(1)


def virsh(uri: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run virsh."""
    return subprocess.run(
        ["virsh", "-c", uri, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C", **environment},
    )


def test_a_friend_comes_in_by_certificate(secure: Secure) -> None:
    """Encrypted, and under the name that its certificate has."""
    uri = f"test+tls://localhost:{secure.port}/default?pkipath={secure.friend}"
    done = virsh(uri, "list; capabilities; dumpxml test")
    assert done.returncode == 0, done.stderr
    assert "running" in done.stdout
    assert "</capabilities>" in done.stdout
    assert secure.came[-1] == "C=GB,O=Analytical,CN=ada"


def test_a_stranger_does_not(secure: Secure) -> None:
    """One whose certificate is of another authority, or who has none, is turned away."""
    before = len(secure.came)
    uri = f"test+tls://localhost:{secure.port}/default?pkipath={secure.stranger}&no_sanity=1"
    assert virsh(uri, "list").returncode != 0
    assert virsh(f"test+tcp://localhost:{secure.port}/default", "list").returncode != 0
    assert len(secure.came) == before
    uri = f"test+tls://localhost:{secure.port}/default?pkipath={secure.friend}"
    assert virsh(uri, "list").returncode == 0


@pytest.mark.parametrize(("password", "status"), [("pencil", 0), ("wrong", 1)])
def test_virsh_comes_in_with_a_password(
    secure: Secure, tmp_path: Path, password: str, status: int
) -> None:
    """With what its file of credentials has, by SCRAM or PLAIN as its library chooses."""
    file = tmp_path / "auth.conf"
    file.write_text(
        f"[credentials-mine]\nusername=ada\nauthname=ada\npassword={password}\n"
        f"[auth-libvirt-default]\ncredentials=mine\n"
    )
    uri = f"test+unix:///default?socket={secure.locked}"
    done = virsh(uri, "list", LIBVIRT_AUTH_FILE=str(file))
    assert done.returncode == status, done.stderr
    assert ("running" in done.stdout) is (status == 0)
    if status:
        assert "authentication failed" in done.stderr
