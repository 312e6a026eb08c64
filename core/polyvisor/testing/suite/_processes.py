"""Several processes at once on the same host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import polyvisor
from polyvisor.states import DomainState
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["TestManyProcesses"]

_CHILD = """
import json, sys
import polyvisor
from polyvisor.errors import PolyvisorError

uri, verb, path = sys.argv[1:4]
with polyvisor.open(uri) as host:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        if verb == "define":
            for number in range(10):
                host.domains.define(path.replace("NAME", f"{sys.argv[4]}-{number}"))
        else:
            domain = host.domains["guest"]
            getattr(domain, verb)(*([path] if verb == "save" else []))
    except PolyvisorError as error:
        print(json.dumps(error.to_dict()))
    else:
        print(json.dumps({"code": "done"}))
"""


class _Child:
    """A process that opens the host, waits for a word, and does one thing."""

    def __init__(self, uri: str, verb: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, uri, verb, *(arguments or ("",))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def code(self, timeout: float) -> str:
        out, _ = self.process.communicate(timeout=timeout)
        return str(json.loads(out)["code"])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@requires("domains.define")
class TestManyProcesses:
    """Many processes do not hurt one another."""

    @pytest.fixture(autouse=True)
    def _shared(self, target: Target) -> None:
        if not target.shared:
            pytest.skip("each connection of the target has its own domains")

    def test_one_start_wins(self, domain: Domain, target: Target) -> None:
        """Of several processes that start a domain at once one does; the others are told."""
        children = [_Child(target.uri, "start") for _ in range(4)]
        for child in children:
            child.go()
        codes = sorted(child.code(60 * target.slow) for child in children)
        assert codes == ["done", "operation-invalid", "operation-invalid", "operation-invalid"]
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    def test_definitions_from_many_processes(self, host: Connection, target: Target) -> None:
        """None of the definitions made at the same time is lost."""
        text = target.spec("NAME").to_xml()
        children = [_Child(target.uri, "define", text, f"p{i}") for i in range(3)]
        for child in children:
            child.go()
        assert {child.code(60 * target.slow) for child in children} == {"done"}
        names = {line.name for line in host.domains.summaries()}
        assert names == {f"p{i}-{number}" for i in range(3) for number in range(10)}

    @pytest.mark.parametrize("verb", ["start", "save", "destroy"])
    @pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.05])
    def test_killed_in_the_middle(
        self,
        host: Connection,
        domain: Domain,
        target: Target,
        tmp_path: Path,
        verb: str,
        delay: float,
    ) -> None:
        """A process killed at any moment loses nothing, and the next command works."""
        if verb == "save" and not host.support.usable("save.file"):
            pytest.skip("not claimed: save.file")
        if target.served:
            pytest.skip("a daemon goes on with what a killed client began")
        image = tmp_path / "image"
        if verb != "start":
            domain.start()
        child = _Child(target.uri, verb, str(image))
        child.go()
        _wait(delay)
        child.kill()
        with polyvisor.open(target.uri) as after:
            found = after.domains["guest"]
            state = found.state
            assert state in (DomainState.RUNNING, DomainState.SHUTOFF, DomainState.PAUSED)
            if verb == "save" and state is DomainState.SHUTOFF:
                assert after.domains.restore(image) == found
                assert found.active
            elif verb == "save":
                assert not image.exists()
                if state is DomainState.PAUSED:
                    found.resume()
            if found.active:
                found.destroy()
            found.start()
            assert found.state is DomainState.RUNNING
            found.destroy()

    def test_a_listener_that_dies_disturbs_nobody(self, host: Connection, target: Target) -> None:
        """Events go on when a listening process was killed."""
        if not host.support.usable("events"):
            pytest.skip("not claimed: events")
        code = (
            "import sys, polyvisor\n"
            "with polyvisor.open(sys.argv[1]) as host:\n"
            "    stream = host.events()\n"
            "    print('ready', flush=True)\n"
            "    next(stream)\n"
            "    print('heard', flush=True)\n"
            "    sys.stdin.readline()\n"
        )
        listener = subprocess.Popen(
            [sys.executable, "-c", code, target.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        host.domains.define(target.spec("one"))
        assert listener.stdout.readline() == "heard\n"
        os.kill(listener.pid, signal.SIGKILL)
        listener.communicate()
        stream = host.events(timeout=5 * target.slow)
        host.domains.define(target.spec("two"))
        assert next(stream).domain.name == "two"


def _wait(seconds: float) -> None:
    import time

    time.sleep(seconds)
