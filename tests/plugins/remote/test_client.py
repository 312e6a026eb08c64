"""The client driver reaches daemons in every way, and comes back when they do."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from served import served

import polyvisor
from polyvisor.config import Config
from polyvisor.errors import (
    AuthError,
    ConnectError,
    ConnectionClosed,
    NotFound,
    OperationInvalid,
    UriError,
)
from polyvisor.events import Event, EventKind, ObjectEvent, ObjectEventKind
from polyvisor_remote.client.reaching import asked_for, ssh_command
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.scram import Credential, Users
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from conftest import Daemon

GUEST = """<domain type='sim'><name>g</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
#: Joins standard input and output to a socket, as netcat does.
JOIN = """\
#!{python}
import os, select, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect({path!r})
ways = {{0: there.fileno(), there.fileno(): 1}}
while True:
    for one in select.select(list(ways), [], [])[0]:
        data = os.read(one, 65536)
        if not data:
            sys.exit()
        os.write(ways[one], data)
"""


def script(path: Path, text: str) -> str:
    """Write a program and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def at(path: str, scheme: str = "sim", where: str = "/a") -> str:
    """Return a URI for a local socket."""
    return f"{scheme}+unix://{where}?socket={quote(path)}"


def test_descriptors_stay_on_this_host(daemon: Daemon) -> None:
    """Over TCP none goes, which is said before anything is tried."""
    with polyvisor.open(f"sim+tcp://127.0.0.1:{daemon.tcp[1]}/a") as host:
        answer = host.support["console.graphics"]
        assert not answer.usable
        assert "on this host" in answer.reason
    with polyvisor.open(at(daemon.path)) as host:
        # Here they could, but nobody draws.
        assert "connects nobody" in host.support["console.graphics"].reason


def test_tcp_and_local_sockets_lead_to_the_same_host(daemon: Daemon) -> None:
    """What one client defines the other sees, whatever way it came."""
    with polyvisor.open(f"sim+tcp://127.0.0.1:{daemon.tcp[1]}/a") as one:
        one.domains.define(GUEST)
        assert one.uri == f"sim+tcp://127.0.0.1:{daemon.tcp[1]}/a"
        with polyvisor.open(at(daemon.path)) as other:
            assert [found.name for found in other.domains] == ["g"]
            assert other.plugin == "remote"
            assert other.host == one.host


def test_a_program_leads_there(daemon: Daemon, tmp_path: Path) -> None:
    """Any program that speaks for a daemon does."""
    program = script(tmp_path / "way", JOIN.format(python=sys.executable, path=daemon.path))
    with polyvisor.open(f"sim+ext:///a?command={quote(program)}") as host:
        host.domains.define(GUEST).start()
        assert host.domains["g"].active
        host.domains["g"].destroy()


def test_ssh_runs_what_joins_it_to_the_daemon(daemon: Daemon, tmp_path: Path) -> None:
    """The command that ssh is given finds the socket there with netcat; ssh's place is taken."""
    netcat = script(tmp_path / "nc", JOIN.format(python=sys.executable, path=daemon.path))
    # What ssh does with its last argument on the other host.
    ssh = script(tmp_path / "ssh", '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    where = f"command={quote(ssh)}&netcat={quote(netcat)}&socket={quote(daemon.path)}"
    with polyvisor.open(f"sim+ssh://me@there:2222/a?{where}") as host:
        assert not list(host.domains)
    uri = f"sim+ssh://there/a?command={quote(ssh)}&socket={tmp_path}/none"
    with pytest.raises(ConnectionClosed, match=f"no daemon has a socket at {tmp_path}/none"):
        polyvisor.open(uri)


def test_ssh_is_told_what_the_uri_says() -> None:
    """User, port, key and host stand where ssh reads them; the host cannot be an option."""
    from polyvisor.uri import ConnectionUri

    uri = ConnectionUri.parse("qemu+ssh://me@there:2222/system?keyfile=/k&no_tty=1")
    command = ssh_command(uri)
    assert command[:-1] == [
        *("ssh", "-T", "-e", "none", "-p", "2222", "-l", "me", "-i", "/k"),
        *("-o", "BatchMode=yes", "--", "there"),
    ]
    assert "virt-ssh-helper" in command[-1]
    assert "qemu:///system" in command[-1]
    assert "/run/libvirt/virtqemud-sock" in command[-1]
    assert "/run/libvirt/libvirt-sock" in command[-1]
    odd = ConnectionUri.parse("qemu+ssh://there/system?socket=/a%20b%27;rm&netcat=n%20c")
    assert "'" in ssh_command(odd)[-1]


def test_the_server_is_asked_for_what_is_left_of_the_uri() -> None:
    """What is the transport's stays here, what is the driver's goes there."""
    from polyvisor.uri import ConnectionUri

    for text, wanted in {
        "qemu+unix:///session?socket=/s": "qemu:///session",
        "sim+tcp://h:1/a?root=/x&no_verify=1": "sim:///a?root=/x",
        "test+ssh://h/p?name=xen:///": "xen:///",
    }.items():
        assert asked_for(ConnectionUri.parse(text)).replace("%2F", "/") == wanted


def test_what_cannot_be_reached_says_so(tmp_path: Path) -> None:
    """Each way names what it tried."""
    with pytest.raises(ConnectError, match=f"{tmp_path}/none"):
        polyvisor.open(at(f"{tmp_path}/none"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectError, match=f"127.0.0.1:{port}"):
            polyvisor.open(f"qemu+tcp://127.0.0.1:{port}/system")
    with pytest.raises(ConnectError, match="is it installed"):
        polyvisor.open("qemu+ext:///system?command=/none/such")
    with pytest.raises(UriError, match="needs a host"):
        polyvisor.open("qemu+ssh:///system")
    with pytest.raises(UriError, match="command=PROGRAM"):
        polyvisor.open("qemu+ext:///system")


def test_the_servers_refusal_is_our_error(daemon: Daemon) -> None:
    """A scheme that the daemon does not have, a name that it does not know."""
    with pytest.raises(UriError, match="nosuch"):
        polyvisor.open(at(daemon.path, "nosuch"))
    with polyvisor.open(at(daemon.path)) as host:
        with pytest.raises(NotFound) as caught:
            host.domains["g"]
        assert (caught.value.kind, caught.value.libvirt_number) == ("domain", 42)
        assert caught.value.native_code == 42


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    """Hold the socket of a server where one must say who one is."""
    users = tmp_path / "users"
    users.write_text(f"ada:{Credential.of('pencil')}\n")
    server = Server(opener(Config(root=str(tmp_path / "root"))), users=Users(str(users)))
    server.start()
    path = str(tmp_path / "locked-sock")
    server.listen(UnixListener.bind(path, authenticate=True))
    yield path
    server.stop(1.0)


def test_a_password_opens(locked: str, tmp_path: Path) -> None:
    """User and password of the connection in the configuration are sent, and must be right."""

    def config(password: str) -> Path:
        file = tmp_path / "polyvisor.toml"
        file.write_text(
            f"[connections.far]\nuri = '{at(locked)}'\n"
            f"[connections.far.settings]\nuser = 'ada'\npassword = '{password}'\n"
        )
        return file

    with polyvisor.open("far", config=config("pencil")) as host:
        assert not list(host.domains)
    with pytest.raises(AuthError):
        polyvisor.open("far", config=config("pen"))
    with pytest.raises(AuthError, match="set user and password"):
        polyvisor.open(at(locked))


def test_a_restarted_daemon_is_used_again(tmp_path: Path) -> None:
    """The next call goes to the new one, and events are heard of it without another word."""
    folder = tmp_path / "h"
    with served(folder) as first:
        host = polyvisor.open(at(first.socket))
        domain = host.domains.define(GUEST)
        stream = host.events(timeout=30)
        domain.start()
        assert next(stream).kind is EventKind.STARTED
    with served(folder):
        deadline = time.monotonic() + 30
        # What was under way when it went may fail, what follows must not.
        while True:
            try:
                assert domain.active
                break
            except ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        domain.suspend()
        assert next(stream).kind is EventKind.SUSPENDED
        domain.destroy()
        host.close()
    with pytest.raises(ConnectionClosed):
        list(stream)


def test_a_killed_clients_work_is_done(tmp_path: Path) -> None:
    """What a client began and did not live to see is whole for the next one."""
    import subprocess

    with served(tmp_path / "h") as found, polyvisor.open(at(found.socket)) as host:
        domain = host.domains.define(GUEST)
        stream = host.events(timeout=30)
        text = (
            f"import polyvisor, os\nhost = polyvisor.open({at(found.socket)!r})\n"
            "print('ready', flush=True)\nhost.domains['g'].start()\n"
        )
        child = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"ready\n"
            assert next(stream).kind is EventKind.STARTED
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert domain.active
        with pytest.raises(OperationInvalid):
            domain.start()
        domain.destroy()


def test_many_threads_share_a_connection(daemon: Daemon) -> None:
    """Each gets the answers to its own calls, listening or not."""
    with polyvisor.open(at(daemon.path)) as host:
        for number in range(4):
            host.domains.define(GUEST.replace(">g<", f">g{number}<"))
        wrong: list[str] = []

        def ask(number: int) -> None:
            for _ in range(50):
                name = host.domains[f"g{number}"].name
                if name != f"g{number}":
                    wrong.append(name)

        for listening in (False, True):
            stream = host.events(timeout=0.05) if listening else None
            threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
            assert stream is None or list(stream) == []
        assert not wrong


def test_a_console_and_a_picture(daemon: Daemon, tmp_path: Path) -> None:
    """What the guest says on its serial port can be read, and its screen comes as a picture."""
    devices = "<devices><serial type='pty'/><video/></devices></domain>"
    with polyvisor.open(at(daemon.path)) as host:
        domain = host.domains.define(GUEST.replace("</domain>", devices))
        domain.start()
        consoles, screens = host.driver.consoles, host.driver.screens
        assert consoles is not None
        assert screens is not None
        for _ in range(2):
            with os.fdopen(consoles.open(domain.uuid, None, force=True), "rb") as console:
                assert console.readline().startswith(b"tick ")
        with (tmp_path / "picture").open("wb") as file:
            assert screens.screenshot(domain.uuid, 0, file.fileno()) == "image/png"
        assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(NotFound):
            consoles.open(domain.uuid, "nosuch", force=False)
        with os.fdopen(consoles.open(domain.uuid, None, force=True), "rb") as console:
            domain.destroy()
            while console.read(4096):
                pass


def test_a_large_volume_goes_both_ways(daemon: Daemon, tmp_path: Path) -> None:
    """What is written in many pieces, from any position, is read in many."""
    content = os.urandom(1 << 20) * 3
    with polyvisor.open(at(daemon.path)) as host:
        pool = host.storage_pools.create(
            f"<pool type='dir'><name>p</name><target><path>{tmp_path}</path></target></pool>"
        )
        volume = pool.create_volume("<volume><name>v</name><capacity>4194304</capacity></volume>")
        with volume.open(write=True) as file:
            file.seek(1000)
            file.write(content)
        with volume.open() as file:
            assert file.read(1000) == bytes(1000)
            assert file.read(len(content)) == content
            assert file.read() == bytes((4 << 20) - len(content) - 1000)
        pool.destroy()


def test_what_happens_to_other_objects_is_heard_if_asked_for(daemon: Daemon) -> None:
    """Networks and the like are told of to those who want it, and to them alone."""
    import uuid

    from polyvisor.model import NetworkSpec

    with polyvisor.open(at(daemon.path)) as host:
        plain = host.events(timeout=1)
        every = host.events(timeout=10, objects=True)
        with polyvisor.open(at(daemon.path)) as other:
            link = other.driver.link  # type: ignore[attr-defined]
            key = uuid.uuid4()
            spec = NetworkSpec.from_xml(f"<network><name>n</name><uuid>{key}</uuid></network>")
            link.call("network_define_xml", spec.to_xml())
        event = next(every)
        assert isinstance(event, ObjectEvent)
        assert (event.family, event.key, event.name) == ("network", str(key), "n")
        assert event.kind is ObjectEventKind.DEFINED
        assert list(plain) == []
        # Whoever listened before the server was asked for more hears each event once.
        host.domains.define(GUEST)
        for stream in (plain, every):
            told = next(stream)
            assert isinstance(told, Event)
            assert told.kind is EventKind.DEFINED
        assert list(plain) == []
