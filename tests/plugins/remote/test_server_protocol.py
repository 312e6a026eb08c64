"""polyvisord and messages that are not what they should be."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from served import served
from wire_client import REMOTE, WireClient
from wire_values import smallest

from polyvisor.errors import InternalError
from polyvisor_remote.server.dispatch import Table
from polyvisor_remote.wire import MESSAGE_MAX, Kind, Status, error_codec, frame, program

if TYPE_CHECKING:
    from conftest import Daemon

TEST = "test:///default"
RPC, NO_SUPPORT, DENIED, NO_CONNECTION = 39, 3, 29, 6
KEEPALIVE = program("keepalive")
CALLS = [each for each in REMOTE if not each.event]


def error_of(client: WireClient) -> tuple[int, str]:
    """Return number and words of the error that comes next."""
    message = client.receive()
    assert (message.kind, message.status) == (Kind.REPLY, Status.ERROR)
    error = error_codec().decode(message.payload)
    return error.code, error.message


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0x20008086, 1, 454), "unknown procedure: 454"),
        ((0x20008086, 1, 0), "unknown procedure: 0"),
        ((0x20008086, 1, -1), "unknown procedure: -1"),
        ((0x20008086, 1, 107), "unknown procedure: 107"),
        ((0x20008086, 2, 1), "version mismatch (actual 2, expected 1)"),
        ((0x12345678, 1, 1), "Cannot find program 305419896 version 1"),
        ((0x06900690, 1, 1), "Cannot find program 110102160 version 1"),
    ],
)
def test_what_nobody_serves_is_said_in_libvirts_words(
    daemon: Daemon, numbers: tuple[int, int, int], words: str
) -> None:
    """An unknown program, version or procedure is an error reply; the connection goes on."""
    with WireClient(daemon.path, TEST) as client:
        client.send_raw(*numbers)
        assert error_of(client) == (RPC, words)
        assert client.call("connect_get_hostname").hostname


def test_a_status_that_no_call_has_is_refused(daemon: Daemon) -> None:
    """A call is neither an error nor a piece of a stream."""
    with WireClient(daemon.path, TEST) as client:
        for status in (1, 2, 3, -1):
            client.send_raw(REMOTE.number, 1, 59, status=status)
            assert error_of(client) == (RPC, f"Unexpected message status {status}")


def test_messages_that_belong_to_nothing_are_passed_over(daemon: Daemon) -> None:
    """Replies, events, and pieces of streams that nobody opened do no harm."""
    with WireClient(daemon.path, TEST) as client:
        for kind in (Kind.REPLY, Kind.MESSAGE, Kind.STREAM, Kind.STREAM_HOLE, 7, 2**31 - 1):
            client.send_raw(REMOTE.number, 1, 59, kind=kind, payload=b"abcd")
        assert client.call("connect_get_hostname").hostname


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(7), bytes(12), b"\xff" * 8, bytes(70000)])
def test_a_payload_that_does_not_fit_is_an_error_reply(daemon: Daemon, payload: bytes) -> None:
    """Cut short, too long, or wild: the call fails and the next one is answered."""
    with WireClient(daemon.path, TEST) as client:
        client.send_raw(REMOTE.number, 1, REMOTE["domain_lookup_by_name"].number, payload=payload)
        code, words = error_of(client)
        assert code == RPC
        assert words.startswith("Unable to decode message payload")
        assert client.call("connect_get_hostname").hostname


@pytest.mark.parametrize("length", [0, 3, 27, 2**31, 2**32 - 1])
def test_a_length_that_no_message_has_ends_that_connection_alone(
    daemon: Daemon, length: int
) -> None:
    """Where the next message begins is not known any more; other clients never notice."""
    with WireClient(daemon.path, TEST) as other, WireClient(daemon.path) as client:
        client.socket.sendall(struct.pack(">I", length))
        with pytest.raises(ConnectionResetError):
            client.receive()
        assert other.call("connect_get_hostname").hostname


def test_a_call_may_come_byte_by_byte(daemon: Daemon) -> None:
    """A slow sender is waited for, and keeps nobody else waiting."""
    called = REMOTE["connect_open"]
    payload = called.arguments.codec.encode((TEST, 0))
    data = frame(REMOTE.number, 1, called.number, Kind.CALL, 7, Status.OK, payload)
    with WireClient(daemon.path, TEST) as other, WireClient(daemon.path) as client:
        for at in range(len(data)):
            client.socket.sendall(data[at : at + 1])
            if at % 10 == 0:
                assert other.call("connect_get_hostname").hostname
        assert client.receive().status == Status.OK


def test_who_never_ends_a_message_holds_nobody(daemon: Daemon) -> None:
    """A hundred that send a long message drop by drop: others are served, and all can leave."""
    with ExitStack() as stack:
        other = stack.enter_context(WireClient(daemon.path, TEST))
        slow = [stack.enter_context(WireClient(daemon.path, TEST)) for _ in range(100)]
        for data in (struct.pack(">I", MESSAGE_MAX), b"\x20", b"\x00", b"\x80"):
            for client in slow:
                client.socket.sendall(data)
            assert other.call("connect_get_hostname").hostname
        assert len(daemon.server.clients) == 101
    deadline = time.monotonic() + 20
    while daemon.server.clients:
        assert time.monotonic() < deadline, "they are kept"
        time.sleep(0.01)


def test_many_calls_may_be_sent_at_once(daemon: Daemon) -> None:
    """A client need not wait for an answer before it calls again."""
    with WireClient(daemon.path, TEST) as client:
        serials = {client.send("domain_lookup_by_name", "test") for _ in range(500)}
        found = {client.receive().serial for _ in range(500)}
        assert found == serials


def test_nothing_works_before_a_connection_is_open(daemon: Daemon) -> None:
    """Every procedure but the ones that lead to a connection is refused, without harm."""
    with WireClient(daemon.path) as client:
        for each in CALLS:
            if each.name in ("connect_open", "connect_close") or each.name.startswith("auth_"):
                continue
            if each.name == "connect_supports_feature":
                continue
            error = client.refused(each.name, *smallest(each.arguments))
            assert error.code == NO_CONNECTION, each.name


def test_a_second_open_is_refused(daemon: Daemon) -> None:
    """One socket, one connection, as with libvirtd."""
    with WireClient(daemon.path, TEST) as client:
        assert "already open" in client.refused("connect_open", TEST, 0).message


def test_what_a_driver_has_no_part_for_is_not_supported(daemon: Daemon) -> None:
    """A procedure without a part is answered with libvirt's own error and function name."""
    with WireClient(daemon.path, TEST) as client:
        error = client.refused("domain_inject_nmi", ("test", bytes(16), 1), 0)
        assert error.code == NO_SUPPORT
        assert error.message == (
            "this function is not supported by the connection driver: virDomainInjectNMI"
        )
        error = client.refused(
            "domain_monitor_command", ("test", bytes(16), 1), "info", 0, of="qemu"
        )
        assert error.code == NO_SUPPORT


def test_every_procedure_is_answered(daemon: Daemon) -> None:
    """Whichever is called with the least that it takes: a result or an error, never silence."""
    with WireClient(daemon.path, TEST) as client:
        for each in CALLS:
            if each.name in ("connect_open", "connect_close"):
                continue
            serial = client.send(each.name, *smallest(each.arguments))
            message = client.receive()
            assert message.serial == serial
            if message.status == Status.ERROR:
                assert error_codec().decode(message.payload).message
            else:
                each.result.codec.decode(message.payload)
        assert client.call("connect_get_hostname").hostname


@pytest.mark.parametrize("how", ["socket", "flag"])
def test_a_read_only_client_changes_nothing(daemon: Daemon, how: str) -> None:
    """Each procedure that libvirt's annotations do not let a reader call is refused."""
    path, flags = (daemon.readonly, 0) if how == "socket" else (daemon.path, 1)
    refused = 0
    with WireClient(path, TEST, flags) as client:
        for each in CALLS:
            if each.name in ("connect_open", "connect_close"):
                continue
            arguments = smallest(each.arguments)
            message_of = client.send(each.name, *arguments)
            message = client.receive()
            assert message.serial == message_of
            code = (
                error_codec().decode(message.payload).code if message.status == Status.ERROR else 0
            )
            assert (code == DENIED) is each.refused_read_only(arguments), each.name
            refused += code == DENIED
    assert refused > 150


def test_secrets_in_definitions_are_not_for_readers(daemon: Daemon) -> None:
    """A reader gets a definition, but not one with what is secret, nor one to migrate with."""
    with WireClient(daemon.readonly, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        assert "<name>test</name>" in client.call("domain_get_xml_desc", dom, 0).xml
        for flags in (1, 8, 9, 3):
            assert client.refused("domain_get_xml_desc", dom, flags).code == DENIED


def test_who_has_not_authenticated_can_do_nothing_else(daemon: Daemon) -> None:
    """Every procedure but those of authentication itself says so."""
    with WireClient(daemon.locked) as client:
        assert client.call("auth_list").types == [1]
        for each in CALLS:
            if each.name.startswith("auth_"):
                continue
            error = client.refused(each.name, *smallest(each.arguments))
            assert (error.code, error.message) == (RPC, "authentication required"), each.name


def test_who_does_not_authenticate_is_disconnected(daemon: Daemon) -> None:
    """There is a time for it; whoever lets it pass, or sends too much, is gone."""
    with WireClient(daemon.locked) as client, WireClient(daemon.locked) as large:
        large.socket.sendall(struct.pack(">I", 262145))
        with pytest.raises(ConnectionResetError):
            large.receive()
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_a_ping_is_answered(daemon: Daemon) -> None:
    """Before and after opening, whenever the client asks."""
    with WireClient(daemon.path) as client:
        client.send_raw(KEEPALIVE.number, 1, 1, kind=Kind.MESSAGE)
        pong = client.event()
        assert (pong.program, pong.procedure) == (KEEPALIVE.number, 2)


def test_a_client_that_falls_silent_is_asked_and_let_go(daemon: Daemon) -> None:
    """Who asked for keepalive is pinged, and disconnected when it never answers."""
    with WireClient(daemon.path) as client:
        assert client.call("connect_supports_feature", 10).supported == 1
        ping = client.event()
        assert (ping.program, ping.procedure) == (KEEPALIVE.number, 1)
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_a_client_that_answers_stays(daemon: Daemon) -> None:
    """A pong is a sign of life."""
    with WireClient(daemon.path) as client:
        client.call("connect_supports_feature", 10)
        for _ in range(5):
            ping = client.event()
            assert ping.procedure == 1
            client.send_raw(KEEPALIVE.number, 1, 2, kind=Kind.MESSAGE)
        assert client.call("connect_supports_feature", 10).supported == 1


def test_clients_come_and_go(daemon: Daemon) -> None:
    """A thousand connections opened and dropped, some in the middle of a call, leave nothing."""
    half = frame(REMOTE.number, 1, 1, Kind.CALL, 1, 0, bytes(8))[:20]
    for number in range(1000):
        gone = socket.socket(socket.AF_UNIX)
        gone.connect(daemon.path)
        if number % 3 == 0:
            gone.sendall(half)
        gone.close()
    with WireClient(daemon.path, TEST) as client:
        assert client.call("connect_get_hostname").hostname
        deadline = time.monotonic() + 10
        while len(daemon.server.clients) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(daemon.server.clients) == 1


def _resident(pid: int) -> int:
    """Return how many bytes a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.slow
def test_ten_thousand_connections_opened_and_dropped(tmp_path: Path) -> None:
    """Mute, half spoken, or with a connection open: memory is bounded, and others are served."""
    half = frame(REMOTE.number, 1, 1, Kind.CALL, 1, 0, bytes(8))[:20]
    with (
        served(tmp_path / "h") as host,
        WireClient(host.socket, "test:///default") as other,
    ):
        name = other.call("connect_get_hostname").hostname
        seen, slowest = [], 0.0
        for number in range(10_000):
            if number % 100 == 0:
                WireClient(host.socket, "test:///default").socket.close()
                begun = time.monotonic()
                assert other.call("connect_get_hostname").hostname == name
                slowest = max(slowest, time.monotonic() - begun)
            with socket.socket(socket.AF_UNIX) as gone:
                gone.connect(host.socket)
                if number % 2:
                    gone.sendall(half)
            if number % 2500 == 2499:
                seen.append(_resident(host.pid))
        open_fds = Path(f"/proc/{host.pid}/fd")
        deadline = time.monotonic() + 30
        while len(list(open_fds.iterdir())) > 100:
            assert time.monotonic() < deadline, "descriptors are kept"
            time.sleep(0.05)
        assert seen[-1] - seen[0] < 8 << 20, seen
        assert slowest < 20


def test_a_half_closed_socket_is_let_go(daemon: Daemon) -> None:
    """Who says no more is sent its answers up to then and is gone."""
    with WireClient(daemon.path, TEST) as client:
        client.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_who_does_not_read_holds_nobody(daemon: Daemon) -> None:
    """A client that asks and never reads is no longer read from; others are served."""
    with WireClient(daemon.path, TEST) as silent, WireClient(daemon.path, TEST) as other:
        silent.socket.settimeout(0.5)
        call = frame(REMOTE.number, 1, REMOTE["connect_get_capabilities"].number, 0, 1, 0)

        def flood() -> None:
            for _ in range(200_000):
                try:
                    silent.socket.sendall(call)
                except TimeoutError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        while thread.is_alive():
            assert other.call("connect_get_hostname").hostname
        thread.join()
        assert other.call("connect_get_hostname").hostname


def test_descriptors_that_nobody_wants_are_closed(daemon: Daemon) -> None:
    """With a call that takes none they are dropped; too many of them end the connection."""
    before = len(os.listdir("/proc/self/fd"))
    number = REMOTE["domain_fd_associate"].number
    with WireClient(daemon.path, TEST) as client, WireClient(daemon.path, TEST) as flood:
        payload = REMOTE["domain_fd_associate"].arguments.codec.encode(
            smallest(REMOTE["domain_fd_associate"].arguments)
        )
        data = frame(REMOTE.number, 1, number, Kind.CALL_WITH_FDS, 9, 0, payload, fds=2)
        client.socket.sendall(data)
        for _ in range(2):
            socket.send_fds(client.socket, [b"\0"], [0])
        assert error_of(client)[0] == NO_SUPPORT
        assert client.call("connect_get_hostname").hostname
        with pytest.raises(ConnectionError):
            stuff(flood)
        assert client.call("connect_get_hostname").hostname
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) <= before


def stuff(client: WireClient) -> None:
    """Send descriptors with messages that carry none."""
    half = struct.pack(">I", 5_000_000)
    for _ in range(40):
        socket.send_fds(client.socket, [half], [0, 1, 2])
        half = b"x"
        time.sleep(0.005)
    client.receive()


def test_an_answer_that_no_message_holds_is_an_error(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a plugin says that cannot be sent, too long or with zero bytes, is said to be so."""
    with WireClient(daemon.path, TEST) as client:
        host = polyvisor_driver(daemon)
        monkeypatch.setattr(host, "capabilities", lambda: "x" * 5_000_000, raising=False)
        code, words = refused_words(client, "connect_get_capabilities")
        assert code == RPC
        assert "over the cap of 4194304" in words

        def wrong() -> str:
            raise InternalError("a\0b" + "c" * 100_000)

        monkeypatch.setattr(host, "capabilities", wrong, raising=False)
        code, words = refused_words(client, "connect_get_capabilities")
        assert code == 1
        assert words.startswith("internal error: a\\0b")
        assert client.call("connect_get_hostname").hostname


def refused_words(client: WireClient, procedure: str) -> tuple[int, str]:
    """Return number and words of a refusal."""
    error = client.refused(procedure)
    return error.code, error.message


def polyvisor_driver(daemon: Daemon) -> object:
    """Return the driver that the daemon has opened."""
    (client,) = daemon.server.clients
    return client.session.driver


def test_descriptors_go_over_local_connections_alone(daemon: Daemon) -> None:
    """Over TCP none can go, which the server says when it is asked; local ones are counted."""
    passing = 8  # VIR_DRV_FEATURE_FD_PASSING
    with WireClient(daemon.tcp, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        assert client.call("connect_supports_feature", passing).supported == 0
        for call in ("domain_open_graphics", "domain_open_graphics_fd"):
            error = client.refused(call, dom, 0, 0)
            assert (error.code, error.message.partition(": ")[2]) == (
                74,
                "fd passing is not supported by this connection",
            )
    with WireClient(daemon.path, TEST) as client:
        assert client.call("connect_supports_feature", passing).supported == 1
        assert client.refused("domain_open_graphics", dom, 0, 0).code == 8
        assert client.refused("domain_open_graphics_fd", dom, 0, 0).code == 3
        assert client.refused("domain_open_graphics_fd", dom, 0, 2).code == 8


def test_the_page_says_how_many_calls_are_served() -> None:
    """Its numbers are those of the tables."""
    table, programs = Table(), [program(name) for name in ("remote", "qemu", "lxc")]
    calls = [(home.number, one.number) for home in programs for one in home if not one.event]
    served = [call for call in calls if getattr(table.get(*call), "handler", None) is not None]
    page = (Path(__file__).parents[3] / "docs" / "polyvisord.md").read_text(encoding="utf-8")
    said = re.search(r"Of the (\d+) that clients call,\s+(\d+) are served", page)
    assert said is not None
    assert (int(said[1]), int(said[2])) == (len(calls), len(served))
