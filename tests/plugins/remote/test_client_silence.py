"""One side stands still for a while, as when its machine is suspended: what the other does."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from served import served

import polyvisor
from polyvisor.config import Config, load
from polyvisor.errors import ConnectError, ConnectionClosed
from polyvisor.events import EventKind
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server
from polyvisor_remote.wire import FrameReader, Kind, Status, frame, program

GUEST = """<domain type='sim'><name>g</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
PATIENCE = 60.0

pytestmark = pytest.mark.slow


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process stand still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        # Threads on another processor go on for a moment.
        deadline = time.monotonic() + PATIENCE
        while any(
            task.read_text().rpartition(")")[2].split()[0] != "T"
            for task in Path(f"/proc/{pid}/task").glob("*/stat")
        ):
            assert time.monotonic() < deadline, "it does not stop"
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def near(folder: Path, socket: str) -> Config:
    """Return a configuration with a connection that finds out soon that nobody answers."""
    file = folder / "near.toml"
    file.write_text(
        f"[connections.near]\nuri = 'sim+unix:///a?socket={socket}'\n"
        "[connections.near.settings]\nkeepalive_interval = 1.0\nkeepalive_count = 4\n"
    )
    return load(file)


@pytest.mark.parametrize("listening", [False, True])
def test_a_daemon_that_stands_still_is_given_up_and_used_again(
    tmp_path: Path, listening: bool
) -> None:
    """Nobody waits for it for ever, whoever calls or listens; when it goes on, so do we."""
    with (
        served(tmp_path / "h") as found,
        polyvisor.open("near", config=near(tmp_path, found.socket)) as host,
    ):
        domain = host.domains.define(GUEST)
        stream = host.events(timeout=PATIENCE) if listening else None
        with stopped(found.pid):
            outcome: list[BaseException] = []

            def call() -> None:
                try:
                    assert domain.active is None
                except BaseException as error:  # noqa: BLE001 - looked at below
                    outcome.append(error)

            caller = threading.Thread(target=call, daemon=True)
            caller.start()
            caller.join(PATIENCE)
            assert not caller.is_alive(), "it waits for ever"
        assert isinstance(outcome[0], ConnectionClosed), outcome
        deadline = time.monotonic() + PATIENCE
        # Who opens the connection again may not be answered in time at first.
        while True:
            try:
                assert not domain.active
                break
            except ConnectError:
                assert time.monotonic() < deadline
        if stream is not None:
            domain.start()
            assert next(stream).kind is EventKind.STARTED
            domain.destroy()


def answered(held: socket.socket, payload: bytes) -> None:
    """Answer the call that comes next."""
    (call,) = FrameReader().feed(held.recv(4096))
    numbers = (call.program, call.version, call.procedure)
    held.sendall(frame(*numbers, Kind.REPLY, call.serial, Status.OK, payload))


def nothing(held: socket.socket, over: threading.Event) -> None:
    """Say nothing at all."""
    over.wait()


def few_bytes(held: socket.socket, over: threading.Event) -> None:
    """Never come to the end of the first answer."""
    held.sendall(struct.pack(">I", 1 << 20))
    while not over.wait(0.02):
        held.sendall(bytes(1))


def no_more_than_a_login(held: socket.socket, over: threading.Event) -> None:
    """Say that nobody has to say who he is, and then nothing."""
    answered(held, program("remote")["auth_list"].result.codec.encode(([0],)))
    over.wait()


def asking_for_ever(held: socket.socket, over: threading.Event) -> None:
    """Begin to ask a person, who never comes."""
    answered(held, program("remote")["auth_list"].result.codec.encode(([2],)))
    over.wait()


@pytest.mark.parametrize("answer", [nothing, few_bytes, no_more_than_a_login, asking_for_ever])
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_who_never_answers_is_given_up(
    tmp_path: Path, answer: Callable[[socket.socket, threading.Event], None], transport: str
) -> None:
    """Whatever takes the connection and says nothing more: the error says so, and what to do."""
    if transport == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        uri = f"sim+unix:///a?socket={tmp_path}/s"
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        uri = f"sim+tcp://127.0.0.1:{listener.getsockname()[1]}/a"
    file = tmp_path / "c.toml"
    file.write_text(
        f"[connections.c]\nuri = '{uri}'\n[connections.c.settings]\nopen_timeout = 1.0\n"
    )
    over, outcome = threading.Event(), list[BaseException]()

    def serve() -> None:
        held, _ = listener.accept()
        with held, suppress(OSError):
            answer(held, over)

    def call() -> None:
        try:
            polyvisor.open("c", config=load(file))
        except BaseException as error:  # noqa: BLE001 - looked at below
            outcome.append(error)

    threads = [threading.Thread(target=one, daemon=True) for one in (serve, call)]
    try:
        for one in threads:
            one.start()
        threads[1].join(PATIENCE)
        assert not threads[1].is_alive(), "it waits for ever"
    finally:
        over.set()
        threads[0].join(PATIENCE)
        listener.close()
    assert isinstance(outcome[0], ConnectError), outcome
    assert "did not answer for 1 s" in outcome[0].message
    assert "open_timeout" in outcome[0].message


def test_a_client_that_stood_still_goes_on(tmp_path: Path) -> None:
    """The daemon lets go of it meanwhile, others notice nothing, and it comes back and listens."""
    server = Server(opener(Config(root=str(tmp_path / "root"))), keepalive=1.0, keepalive_count=4)
    server.start()
    socket = str(tmp_path / "s")
    server.listen(UnixListener.bind(socket))
    program = tmp_path / "client.py"
    program.write_text(
        "import sys, polyvisor\n"
        f"host = polyvisor.open('sim+unix:///a?socket={socket}')\n"
        "stream = host.events(timeout=60)\n"
        "print('listens', flush=True)\n"
        "sys.stdin.readline()\n"
        "deadline = __import__('time').monotonic() + 60\n"
        "while True:\n"
        "    try:\n"
        "        print(host.domains['g'].state, flush=True)\n"
        "        break\n"
        "    except polyvisor.PolyvisorError:\n"
        "        assert __import__('time').monotonic() < deadline\n"
        "print(next(stream).kind, flush=True)\n"
    )
    with polyvisor.open(f"sim+unix:///a?socket={socket}") as host:
        domain = host.domains.define(GUEST)
        client = subprocess.Popen(
            [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "listens\n"
            with stopped(client.pid):
                deadline = time.monotonic() + PATIENCE
                while len(server.clients) > 1:
                    assert not domain.active
                    assert time.monotonic() < deadline, "it is kept for ever"
            print(file=client.stdin, flush=True)
            assert client.stdout.readline() == "shut off\n"
            domain.start()
            assert client.stdout.readline() == "started\n"
            domain.destroy()
            assert client.wait(PATIENCE) == 0
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            client.stdout.close()
            server.stop(1)
