"""The command polyvisord: settings, signals, and what it has to do with systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from served import run, served
from wire_client import WireClient

from polyvisor.config import load
from polyvisor.errors import ConfigError
from polyvisor_remote.server.scram import Credential
from polyvisor_remote.server.settings import Address, Settings

TEST = "test:///default"
COMMAND = [sys.executable, "-m", "polyvisor_remote"]
CONTRIB = Path(__file__).parents[3] / "contrib"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/a/b", Address("unix", "/a/b")),
        ("unix-ro:/a", Address("unix", "/a", readonly=True)),
        ("tcp:127.0.0.1:16509", Address("tcp", "127.0.0.1", 16509)),
        ("tls:[::1]:16514", Address("tls", "::1", 16514)),
        ("tcp-ro:host:1", Address("tcp", "host", 1, readonly=True)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """A socket's path, or a host and a port."""
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "unix:", "tcp:1", "tcp:host", "tcp:h:99999", "udp:h:1", "x"])
def test_what_is_no_address(text: str) -> None:
    """Is refused with the forms that there are."""
    with pytest.raises(ConfigError, match="write unix:PATH"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("listne = []", "did you mean 'listen'"),
        ("listen = 'unix:/a'", "is not a list of texts"),
        ("listen = ['nonsense']", "cannot listen on 'nonsense'"),
        ("unix_mode = 448", 'write it like "0770"'),
        ("unix_mode = '999'", 'write it like "0770"'),
        ("unix_mode = '7777'", 'write it like "0770"'),
        ("auth_tcp = 'trust'", "none of none, sasl"),
        ("workers = -1", "not a number"),
        ("workers = true", "not a number"),
        ("workers = 1.5", "not a number"),
        ("tls_verify = 1", "not true or false"),
        ("users = ''", "not text"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path: Path, line: str, fault: str) -> None:
    """File, line and key, and what would be right; the command says it and ends with 1."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(f"[plugins.remote]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        Settings.of(load(file))
    assert fault in caught.value.message
    assert caught.value.message.startswith(f"{file}:2: plugins.remote.{line.split()[0]}: ")


def test_settings_are_checked_and_printed(tmp_path: Path) -> None:
    """What ``--print-config`` prints is a configuration that means the same."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(
        "[plugins.remote]\nlisten = ['unix-ro:/run/x']\nunix_mode = '0770'\nworkers = 3\n"
        "keepalive_interval = 1.5\ntls_verify = false\nauth_unix = 'sasl'\nschemes = ['sim']\n"
    )
    done = run(*COMMAND, "--config", str(file), "--print-config", "-l", "tcp:127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    table = tomllib.loads(done.stdout)["plugins"]["remote"]
    assert table["listen"] == ["unix-ro:/run/x", "tcp:127.0.0.1:0"]
    assert (table["unix_mode"], table["workers"]) == ("0770", 3)
    again = tmp_path / "again.toml"
    again.write_text(done.stdout)
    assert Settings.of(load(again)) == Settings.of(load(file), ("tcp:127.0.0.1:0",))
    done = run(*COMMAND, "--config", str(file), "--check-config")
    assert (done.returncode, done.stdout) == (
        0,
        "polyvisord: the configuration is right; it would listen on unix-ro:/run/x\n",
    )
    file.write_text("[plugins.remote]\nlistne = []\n")
    done = run(*COMMAND, "--config", str(file), "--check-config")
    assert done.returncode == 1
    assert done.stderr.startswith("polyvisord: ")
    assert "Traceback" not in done.stderr


def test_what_the_client_reads_of_the_same_table_is_no_mistake(tmp_path: Path) -> None:
    """A daemon's configuration may also say how its user goes to others."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(
        "[plugins.remote]\nuser = 'fred'\npassword = 'pencil'\nopen_timeout = 3\nworkers = 3\n"
    )
    assert Settings.of(load(file)) == Settings(workers=3)


def test_there_must_be_somewhere_to_listen(tmp_path: Path) -> None:
    """Nowhere, or where it cannot be, ends the command with 1 and a sentence."""
    file = tmp_path / "polyvisor.toml"
    file.write_text("")
    done = run(*COMMAND, "--config", str(file))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nowhere to listen" in done.stderr
    first = f"unix:{tmp_path}/first"
    done = run(*COMMAND, "--config", str(file), "-l", first, "-l", "unix:/nonexistent/x")
    assert done.returncode == 1
    assert "cannot listen on unix:/nonexistent/x" in done.stderr
    assert not (tmp_path / "first").exists()
    done = run(*COMMAND, "--config", str(file), "-l", "tls:127.0.0.1:0")
    assert "TLS needs the files" in done.stderr


def test_a_user_is_added_with_a_line(tmp_path: Path) -> None:
    """``--add-user`` asks for a password and prints what goes into the file of users."""
    done = run(*COMMAND, "--add-user", "ada", text="pencil\npencil\n")
    assert done.returncode == 0, done.stderr
    line = done.stdout.strip().splitlines()[-1]
    name, _, credential = line.partition(":")
    assert name == "ada"
    assert Credential.parse(credential).matches("pencil")
    assert "pencil" not in done.stdout
    assert run(*COMMAND, "--add-user", "a:b", text="x\nx\n").returncode == 1


def test_a_signal_reads_the_configuration_anew(tmp_path: Path) -> None:
    """After SIGHUP what clients may open is new, and who is connected stays."""
    with served(tmp_path / "h") as host, WireClient(host.socket, TEST) as client:
        file = host.folder / "polyvisor.toml"
        before = file.read_text()
        file.write_text(f"{before}\n[plugins.remote]\nschemes = ['sim']\n")
        os.kill(host.pid, signal.SIGHUP)
        deadline = time.monotonic() + 10
        while True:
            with WireClient(host.socket) as other:
                other.call("auth_list")
                other.send("connect_open", TEST, 0)
                if other.receive().status:
                    break
            assert time.monotonic() < deadline
        assert client.call("connect_get_hostname").hostname
        file.write_text("nonsense")
        os.kill(host.pid, signal.SIGHUP)
        time.sleep(0.3)
        assert client.call("connect_get_hostname").hostname


def test_sockets_come_from_systemd_and_it_is_told(tmp_path: Path) -> None:
    """Sockets that are handed over are used, by their names; readiness and end are told."""
    (tmp_path / "polyvisor.toml").write_text(f"root = '{tmp_path}/root'\n")
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(30)
    listening = []
    for name in ("rw", "ro"):
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / name))
        made.listen(5)
        listening.append(made)
    script = (
        "import os, sys\n"
        "for at, fd in enumerate((int(sys.argv[1]), int(sys.argv[2]))):\n"
        "    os.dup2(fd, 100 + at)\n"
        "for at in (0, 1):\n"
        "    os.dup2(100 + at, 3 + at)\n"
        "    os.set_inheritable(3 + at, True)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'polyvisor_remote', *sys.argv[3:]])\n"
    )
    fds = [made.fileno() for made in listening]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, fds), "--config", f"{tmp_path}/polyvisor.toml"],
        pass_fds=fds,
        env={
            **os.environ,
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "polyvisord:polyvisord-ro",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
        },
    )
    try:
        assert told.recv(100) == b"READY=1"
        with WireClient(str(tmp_path / "rw"), "sim:///default") as client:
            assert client.refused("domain_undefine", ("x", bytes(16), -1)).code == 42
        with WireClient(str(tmp_path / "ro"), "sim:///default") as client:
            assert client.refused("domain_undefine", ("x", bytes(16), -1)).code == 29
        process.send_signal(signal.SIGHUP)
        reloading = told.recv(100).split(b"\n")
        assert reloading[0] == b"RELOADING=1"
        assert reloading[1].startswith(b"MONOTONIC_USEC=")
        assert told.recv(100) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert told.recv(100) == b"STOPPING=1"
        assert process.wait(20) == 0
    finally:
        process.kill()
        for made in (*listening, told):
            made.close()
    assert (tmp_path / "rw").exists(), "a socket of systemd's stays systemd's"


def test_the_units_name_what_there_is() -> None:
    """Each option of the service file is one of the command, each socket has its name."""
    service = (CONTRIB / "polyvisord.service").read_text()
    readers = (CONTRIB / "polyvisord-ro.socket").read_text()
    assert "ExecStart=/usr/bin/polyvisord\n" in service
    assert "Type=notify-reload" in service
    assert "FileDescriptorName=polyvisord-ro" in readers
    assert "Service=polyvisord.service" in readers


@pytest.mark.slow
def test_ten_thousand_clients_come_and_go(tmp_path: Path) -> None:
    """Opened, used and dropped at any moment: the daemon is no larger than after the first ones."""

    def resident() -> int:
        status = Path(f"/proc/{host.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{host.pid}/fd"))

    def come_and_go(count: int) -> None:
        for number in range(count):
            client = WireClient(host.socket, TEST if number % 2 else None)
            if number % 3 == 0:
                client.send("connect_list_all_domains", 1, 0)
            client.socket.close()

    with served(tmp_path / "h") as host, WireClient(host.socket, TEST) as kept:
        come_and_go(1000)
        before = resident()
        come_and_go(9000)
        deadline = time.monotonic() + 30
        while descriptors() > 40 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert descriptors() <= 40
        assert resident() - before < 8 << 20
        assert kept.call("connect_get_hostname").hostname
