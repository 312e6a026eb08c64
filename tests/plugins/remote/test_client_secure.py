"""Our client comes in over TLS with certificates, over ssh with keys, and by any program."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from served import Served, need, served
from test_virsh_secure import Secure, authority, certificate, secure

import polyvisor
from polyvisor.errors import AuthError, ConnectionClosed, PolyvisorError

pytestmark = pytest.mark.real

__all__ = ["secure"]

#: sshd must be started by its whole path, which is not on every user's.
SSHD = "/usr/sbin/sshd"
GUEST = """<domain type='sim'><name>g</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def goes_both_ways(uri: str, folder: Path) -> None:
    """Check that calls, events, many threads and long streams all come through."""
    content = os.urandom(1 << 20) * 3
    with polyvisor.open(uri) as host:
        domain = host.domains.define(GUEST)
        events = host.events(timeout=30)
        domain.start()
        assert str(next(events).kind) == "started"
        names: list[str] = []

        def ask() -> None:
            names.extend(host.domains["g"].name for _ in range(25))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        pool = host.storage_pools.create(
            f"<pool type='dir'><name>p</name><target><path>{folder}</path></target></pool>"
        )
        volume = pool.create_volume("<volume><name>v</name><capacity>3145728</capacity></volume>")
        with volume.open(write=True) as file:
            file.write(content)
        with volume.open() as file:
            assert file.read() == content
        for thread in threads:
            thread.join(60)
        assert names == ["g"] * 100
        pool.destroy()
        domain.destroy()


# --- TLS ---------------------------------------------------------------------------------------


def test_a_certificate_opens(secure: Secure, tmp_path: Path) -> None:
    """Whoever has one of the authority comes in, encrypted, under its name."""
    uri = f"sim+tls://localhost:{secure.port}/tls?pkipath={secure.friend}"
    goes_both_ways(uri, tmp_path)
    assert secure.came[-1] == "C=GB,O=Analytical,CN=ada"


def test_certificates_that_do_not_fit_are_refused(secure: Secure, tmp_path: Path) -> None:
    """Of either side: another authority, another name, none; what is wrong is said."""
    apart = tmp_path / "apart"
    authority(apart)
    certificate(apart, "client", "/CN=ada", "clientAuth")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "cacert.pem").write_bytes((secure.friend / "cacert.pem").read_bytes())
    before = len(secure.came)
    where = f"test+tls://localhost:{secure.port}/default"
    for query, words in {
        f"pkipath={apart}": "certificate verify failed",
        f"pkipath={secure.friend}&tls_hostname=elsewhere": "Hostname mismatch",
        f"pkipath={secure.stranger}": "does not accept our certificate",
        f"pkipath={apart}&no_verify=1": "does not accept our certificate",
        f"pkipath={empty}": "does not accept our certificate",
    }.items():
        with pytest.raises(AuthError, match=words):
            polyvisor.open(f"{where}?{query}")
    assert len(secure.came) == before
    with polyvisor.open(f"{where}?pkipath={secure.friend}") as host:
        assert [domain.name for domain in host.domains] == ["test"]


# --- ssh ---------------------------------------------------------------------------------------


@attrs.frozen
class Far:
    """A host that is reached over ssh: a private sshd on loopback, and polyvisord behind it."""

    folder: Path
    port: int
    daemon: Served

    def uri(self, *, key: str = "key", known: str = "known", netcat: str = "nc") -> str:
        """Return the URI that leads there, with so named files."""
        words = {
            "keyfile": self.folder / key,
            "known_hosts": self.folder / known,
            "netcat": netcat,
            "no_tty": 1,
            "socket": self.daemon.socket,
        }
        query = "&".join(f"{name}={quote(str(value))}" for name, value in words.items())
        return f"sim+ssh://{getpass.getuser()}@127.0.0.1:{self.port}/far?{query}"


def free_port() -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the port answers; a process that ended has not got it."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as one:
                one.settimeout(5)
                return one.recv(4) == b"SSH-" and process.poll() is None
        except OSError:
            time.sleep(0.05)
    return False


@pytest.fixture
def far(own_home: Path) -> Iterator[Far]:
    """Run sshd with keys and a configuration of its own."""
    if not os.path.exists(SSHD):
        need(SSHD, "openssh-server")
    keygen = need("ssh-keygen", "openssh-client")
    need("nc", "netcat-openbsd")
    folder = own_home / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "key", "other"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)],
            check=True,
            timeout=60,
        )
    (folder / "authorized").write_text((folder / "key.pub").read_text())
    # sshd of a distribution wants this, which its service makes when it starts.
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    process, port = None, 0
    with served(own_home / "daemon") as daemon, (folder / "log").open("wb") as log:
        for _ in range(5):
            port = free_port()
            (folder / "config").write_text(
                f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\n"
                f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
                f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                f"PermitRootLogin prohibit-password\nMaxStartups 100\n"
            )
            process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(folder / "config")],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
            if answers(port, process):
                break
            process.kill()
            process.wait()
        else:
            pytest.fail(f"sshd does not begin: {(folder / 'log').read_text()}")
        for name, key in (("known", "host"), ("wrong", "other")):
            public = (folder / f"{key}.pub").read_text()
            (folder / name).write_text(f"[127.0.0.1]:{port} {public}")
        try:
            yield Far(folder, port, daemon)
        finally:
            process.terminate()
            process.wait(30)


def test_a_key_opens(far: Far, tmp_path: Path) -> None:
    """The real ssh leads to the daemon's socket on its host, through netcat there."""
    goes_both_ways(far.uri(), tmp_path)


def test_what_ssh_does_not_like_is_said(far: Far) -> None:
    """An unknown host, a key that is not let in, no netcat there: each in ssh's own words."""
    for changed, words in (
        ({"known": "wrong"}, "[Hh]ost key verification failed"),
        ({"key": "other"}, "Permission denied"),
        ({"netcat": "nosuchnetcat"}, "nosuchnetcat"),
    ):
        with pytest.raises(ConnectionClosed, match=words):
            polyvisor.open(far.uri(**changed))


def test_the_command_line_goes_there(far: Far) -> None:
    """``polyvisor -c …+ssh://…`` lists what is there, with nothing of ours installed there."""
    command = [sys.executable, "-m", "polyvisor", "-c", far.uri()]
    with polyvisor.open(f"sim+unix:///far?socket={far.daemon.socket}") as host:
        host.domains.define(GUEST)
    done = subprocess.run(
        [*command, "list", "--all", "--name"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["g"]


# --- programs ----------------------------------------------------------------------------------


def test_any_program_leads_there(own_home: Path, tmp_path: Path) -> None:
    """Netcat is one; where it goes away in the middle, that is told."""
    netcat = need("nc", "netcat-openbsd")
    with served(own_home / "daemon") as daemon:
        way = tmp_path / "way"
        way.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec {netcat} -U {daemon.socket}\n")
        way.chmod(0o755)
        uri = f"sim+ext:///far?command={quote(str(way))}"
        goes_both_ways(uri, tmp_path)
        with polyvisor.open(uri) as host:
            os.kill(int((tmp_path / "pid").read_text()), 15)
            deadline = time.monotonic() + 30
            # What was under way may fail; what comes later goes over a new one.
            while True:
                try:
                    assert host.domains["g"].name == "g"
                    break
                except PolyvisorError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
