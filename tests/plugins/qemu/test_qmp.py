"""The QMP client against a peer that follows a script."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polyvisor.errors import HypervisorError, Timeout
from polyvisor_qemu.qmp import MAX_LINE, Gone, Monitor, QmpError

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}\r\n'


class Peer:
    """What the script of a peer is written with.

    Attributes:
        heard: the commands that came, in order.
        fds: descriptors that came with them.
    """

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self.heard: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self._data = ""

    def send(self, *data: bytes) -> None:
        """Send bytes, each part for itself."""
        for part in data:
            self.wire.sendall(part)

    def hear(self) -> dict[str, Any]:
        """Wait for a command."""
        while True:
            with suppress(ValueError):
                told, end = json.JSONDecoder().raw_decode(self._data)
                self._data = self._data[end:]
                self.heard.append(told)
                return self.heard[-1]
            data, fds, _, _ = socket.recv_fds(self.wire, 1 << 16, 4)
            if not data:
                raise EOFError
            self._data += data.decode()
            self.fds += fds

    def answer(self, value: Any = None, /, **answer: Any) -> None:
        """Hear a command and answer it, well unless said otherwise."""
        told = self.hear()
        answer = answer or {"return": {} if value is None else value}
        if "id" in told:
            answer["id"] = told["id"]
        self.send(json.dumps(answer).encode() + b"\r\n")

    def greet(self) -> None:
        """Greet, and let the client in."""
        self.send(GREETING)
        self.answer()


Script = Callable[[Peer], None]


@pytest.fixture
def play(own_home: Path) -> Iterator[Callable[[Script], str]]:
    """Hold a function that has a peer follow a script and gives the path where it listens."""
    running: list[tuple[threading.Thread, socket.socket, threading.Event]] = []
    faults: list[BaseException] = []

    def start(script: Script) -> str:
        path = str(own_home / f"qmp{len(running)}")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(1)
        over = threading.Event()

        def follow() -> None:
            with listening, suppress(OSError):  # the client left, or nobody came
                wire, _ = listening.accept()
                with wire:
                    wire.settimeout(10)
                    try:
                        script(Peer(wire))
                    except (EOFError, OSError):
                        raise
                    except BaseException as error:  # noqa: BLE001
                        faults.append(error)
                        return
                    over.wait(10)

        thread = threading.Thread(target=follow)
        thread.start()
        running.append((thread, listening, over))
        return path

    yield start
    for thread, listening, over in running:
        over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()
    assert faults == []


def test_greeting_and_capabilities(play: Callable[[Script], str]) -> None:
    """The client waits for the greeting, leaves negotiation mode, and then asks."""
    heard: list[dict[str, Any]] = []

    def script(peer: Peer) -> None:
        peer.heard = heard
        peer.greet()
        peer.answer({"status": "running"})

    with Monitor(play(script), timeout=10) as monitor:
        assert monitor.execute("query-status") == {"status": "running"}
    assert [told["execute"] for told in heard] == ["qmp_capabilities", "query-status"]


def test_what_was_meant_for_the_last_client(play: Callable[[Script], str]) -> None:
    """QEMU may send an event, or an answer to who left, before it lets the next client in."""

    def script(peer: Peer) -> None:
        peer.send(b'{"event": "JOB_STATUS_CHANGE", "data": {"id": "job0"}}\r\n')
        peer.send(b'{"return": {"status": "paused"}}\r\n')
        peer.send(GREETING)
        peer.send(b'{"error": {"class": "GenericError", "desc": "no"}, "id": 1000}\r\n')
        peer.send(b'{"return": {"status": "shutdown"}}\r\n')
        peer.answer()
        peer.answer({"status": "running"})

    with Monitor(play(script), timeout=10) as monitor:
        assert monitor.execute("query-status") == {"status": "running"}
        event = monitor.next_event(0)
    assert event is not None
    assert event["event"] == "JOB_STATUS_CHANGE"


def test_underscores_are_dashes(play: Callable[[Script], str]) -> None:
    """Arguments are named as in Python and sent as QEMU spells them."""
    heard: list[dict[str, Any]] = []

    def script(peer: Peer) -> None:
        peer.heard = heard
        peer.greet()
        peer.answer()

    with Monitor(play(script), timeout=10) as monitor:
        monitor.execute("migrate-set-parameters", max_bandwidth=5, downtime_limit=1)
    assert heard[-1]["arguments"] == {"max-bandwidth": 5, "downtime-limit": 1}


def test_refusal(play: Callable[[Script], str]) -> None:
    """What QEMU refuses is an error of ours with QEMU's class and words; the monitor goes on."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer(error={"class": "CommandNotFound", "desc": "no such thing"})
        peer.answer("fine")

    with Monitor(play(script), timeout=10) as monitor:
        with pytest.raises(QmpError, match="refuses nonsense: no such thing") as caught:
            monitor.execute("nonsense")
        assert caught.value.native_code == "CommandNotFound"
        assert caught.value.native_message == "no such thing"
        assert isinstance(caught.value, HypervisorError)
        assert monitor.execute("sense") == "fine"


def test_refusal_without_words(play: Callable[[Script], str]) -> None:
    """An error that is no object is still a refusal."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer(error="bad")

    with (
        Monitor(play(script), timeout=10) as monitor,
        pytest.raises(QmpError, match="does not say why"),
    ):
        monitor.execute("cont")


def test_refused_at_once(play: Callable[[Script], str]) -> None:
    """A monitor that does not let the client in says why."""

    def script(peer: Peer) -> None:
        peer.send(GREETING)
        peer.answer(error={"class": "GenericError", "desc": "not today"})

    with pytest.raises(QmpError, match="not today"):
        Monitor(play(script), timeout=10)


def test_events_between_answers(play: Callable[[Script], str]) -> None:
    """Events that come before an answer are kept, in order, and none is taken for it."""

    def script(peer: Peer) -> None:
        peer.send(GREETING, b'{"event": "A"}\r\n')
        peer.answer()
        peer.hear()
        peer.send(b'{"event": "B", "data": {"return": 1}}\n', b'{"event": "C"}\n')
        peer.send(b'{"return": 5}\n{"event": "D"}\n')

    with Monitor(play(script), timeout=10) as monitor:
        assert monitor.execute("anything") == 5
        names = []
        while (event := monitor.next_event(1 if len(names) < 4 else 0)) is not None:
            names.append(event["event"])
        assert names == ["A", "B", "C", "D"]


def test_no_event(play: Callable[[Script], str]) -> None:
    """Waiting for an event ends with nothing when the time is up."""
    with Monitor(play(Peer.greet), timeout=10) as monitor:
        assert monitor.next_event(0.05) is None


def test_lines_in_pieces_and_together(play: Callable[[Script], str]) -> None:
    """Lines are taken apart wherever the wire cuts them, in the middle of a letter too."""

    def script(peer: Peer) -> None:
        for byte in GREETING:
            peer.send(bytes([byte]))
        peer.answer()
        peer.hear()
        answer = '\r\n\n{"event": "É"}\r\n{"return": "é€𝄞"}\r\n'.encode()
        for byte in answer:
            peer.send(bytes([byte]))
        peer.hear()
        peer.send(b'{"return": 1}\n{"event": "E"}\n{"ev')
        peer.hear()
        peer.send(b'ent": "F"}\n{"return": 2}\n')

    with Monitor(play(script), timeout=10) as monitor:
        assert monitor.execute("one") == "é€𝄞"
        assert monitor.execute("two") == 1
        assert monitor.execute("three") == 2
        assert [event["event"] for event in monitor.events] == ["É", "E", "F"]


def test_an_answer_that_comes_late(play: Callable[[Script], str]) -> None:
    """The answer to a command that was given up is not taken for the next one's."""
    given_up = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.hear()
        given_up.wait(10)
        peer.send(b'{"return": "late"}\n')
        peer.answer("now")

    with Monitor(play(script), timeout=10) as monitor:
        with pytest.raises(Timeout, match="slow"):
            monitor.execute("slow", timeout=0.05)
        given_up.set()
        assert monitor.execute("quick") == "now"


def test_what_is_posted(play: Callable[[Script], str]) -> None:
    """Nobody waits for its answer, but whoever leaves waits until QEMU has read it."""
    heard: list[str] = []
    told = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        told.wait(10)
        heard.append(peer.hear()["execute"])
        heard.append("answers")
        peer.send(b'{"error": {"desc": "no"}}\n')

    with Monitor(play(script), timeout=10) as monitor:
        monitor.post(("later", {}))
        assert heard == []
        told.set()
    assert heard == ["later", "answers"]


def test_what_is_posted_is_done_before_what_comes_next(play: Callable[[Script], str]) -> None:
    """Its answer is taken for nothing else, also where it is not looked for."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer("posted")
        peer.send(b'{"event": "E"}\n')
        peer.answer("asked")

    with Monitor(play(script), timeout=10) as monitor:
        monitor.post(("later", {}))
        event = monitor.next_event(10)
        assert event is not None
        assert event["event"] == "E"
        assert monitor.execute("now") == "asked"


def test_a_peer_that_does_not_read_what_is_posted(play: Callable[[Script], str]) -> None:
    """Whoever leaves it does so in the end, and without an error."""
    with Monitor(play(Peer.greet), timeout=10) as monitor:
        monitor.post(("later", {}))
    assert monitor.fileno() < 0


def test_descriptors(play: Callable[[Script], str]) -> None:
    """A descriptor goes over with its command."""
    passed = threading.Event()

    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer()
        (fd,) = peer.fds
        os.write(fd, b"through")
        os.close(fd)
        passed.set()

    reading, writing = os.pipe()
    with Monitor(play(script), timeout=10) as monitor:
        monitor.execute("getfd", fds=(writing,), fdname="pipe")
    os.close(writing)
    assert passed.wait(10)
    assert os.read(reading, 100) == b"through"
    os.close(reading)


@pytest.mark.parametrize(
    "script",
    [
        lambda peer: None,
        lambda peer: peer.send(GREETING[:20]),
        lambda peer: peer.send(GREETING),
        lambda peer: peer.send(GREETING, b'{"event": "A"}\n'),
    ],
    ids=["silence", "half a greeting", "no answer", "events alone"],
)
def test_peer_hangs(play: Callable[[Script], str], script: Script) -> None:
    """A peer that says nothing, or not all of it, costs the timeout and no more."""
    with pytest.raises(Timeout, match="stopped or hangs"):
        Monitor(play(script), timeout=0.1)


def test_nobody_is_let_in(own_home: Path) -> None:
    """Where the queue is full the client does not wait for ever either."""
    path = str(own_home / "full")
    waiting = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        for _ in range(2):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].connect(path)
        with pytest.raises(Timeout, match="others wait"):
            Monitor(path, timeout=0.1)
        for one in waiting:
            one.close()


@pytest.mark.parametrize("said", [b"", GREETING[:20], GREETING], ids=["mute", "half", "greeted"])
def test_peer_dies(play: Callable[[Script], str], said: bytes) -> None:
    """A peer that goes away is gone at once, not after the timeout."""

    def script(peer: Peer) -> None:
        peer.send(said)
        peer.wire.shutdown(socket.SHUT_RDWR)

    with pytest.raises(Gone, match="closed its monitor"):
        Monitor(play(script), timeout=30)


def test_peer_dies_with_a_command(play: Callable[[Script], str]) -> None:
    """A peer that dies of a command is gone, and so it is for the next one."""

    def script(peer: Peer) -> None:
        peer.greet()
        peer.hear()
        peer.wire.close()

    with Monitor(play(script), timeout=30) as monitor:
        with pytest.raises(Gone):
            monitor.execute("quit")
        with pytest.raises(Gone):
            monitor.execute("cont")
        with pytest.raises(Gone):
            monitor.next_event(1)


def test_nobody_there(own_home: Path) -> None:
    """A socket that is missing, or that nobody listens on, is said to be so."""
    with pytest.raises(Gone, match="not there"):
        Monitor(str(own_home / "missing"))
    with pytest.raises(Gone, match="not there"):
        Monitor(str(own_home / "no folder" / "missing"))
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(own_home / "left"))
    with pytest.raises(Gone, match="not there"):
        Monitor(str(own_home / "left"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not JSON"),
        (b"\x00\xff\xfe\n", "not JSON"),
        (b"[1, 2]\n", "not an object"),
        (b"null\n", "not an object"),
        (b'{"hello": "' + b"x" * 1000 + b'"}\n', "no QMP monitor"),
        (b"[" * 200_000 + b"\n", "not JSON"),
    ],
    ids=["text", "bytes", "list", "null", "other object", "deep"],
)
def test_garbage(play: Callable[[Script], str], line: bytes, told: str) -> None:
    """What is no QMP is an error that shows the beginning of it, not all."""
    with pytest.raises(HypervisorError, match=told) as caught:
        Monitor(play(lambda peer: peer.send(line)), timeout=10)
    assert len(caught.value.message) < 300


def test_endless_line(play: Callable[[Script], str]) -> None:
    """A line of 100 MB is refused long before it is whole."""
    sent = 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.greet()
        peer.hear()
        for _ in range(100):
            peer.send(b"x" * 1_000_000)
            sent += 1_000_000

    with (
        Monitor(play(script), timeout=10) as monitor,
        pytest.raises(HypervisorError, match="line of over 16 MiB"),
    ):
        monitor.execute("query-qmp-schema")
    assert sent < 2 * MAX_LINE


def test_long_path(play: Callable[[Script], str], own_home: Path) -> None:
    """A monitor is reached whose path is longer than a socket's address can be."""
    folder = own_home / ("long" * 30)
    folder.mkdir()
    os.rename(play(Peer.greet), folder / "control")
    Monitor(str(folder / "control"), timeout=10).close()
