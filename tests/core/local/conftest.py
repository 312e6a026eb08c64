"""The toy hypervisor as a plugin that is installed for these tests alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import polyvisor

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

HERE = Path(__file__).parent

XML = """
<domain type='toy'>
  <name>{name}</name>
  <memory unit='KiB'>4096</memory>
  <os><type>exe</type></os>
</domain>
"""


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a folder in which the toy plugin is installed."""
    folder = tmp_path_factory.mktemp("toy")
    for name in ("toyvisor.py", "toyguest.py"):
        shutil.copy(HERE / name, folder)
    facts = folder / "toyvisor-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toyvisor\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[polyvisor]\ntoy = toyvisor\n")
    return folder


@pytest.fixture(autouse=True)
def toy_plugin(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those it starts find the toy plugin."""
    monkeypatch.syspath_prepend(str(toy_folder))
    monkeypatch.setenv("PYTHONPATH", str(toy_folder))
    monkeypatch.setattr("polyvisor.connection._registries", {})


@attrs.frozen
class Toys:
    """Two toy hosts, and processes that do something on them."""

    root: Path

    @property
    def uri(self) -> str:
        """Of the first host."""
        return f"toy:///a?root={self.root}"

    @property
    def peer_uri(self) -> str:
        """Of the second host."""
        return f"toy:///b?root={self.root}"

    def xml(self, name: str = "guest") -> str:
        """Return a definition."""
        return XML.format(name=name)

    def start_process(self, code: str, **environment: str) -> subprocess.Popen[str]:
        """Start a process with ``polyvisor``, ``uri`` and ``peer_uri`` at hand."""
        import os

        prelude = (
            "import sys, os, json, polyvisor\n"
            "from polyvisor.errors import *\n"
            f"uri, peer_uri, root = {self.uri!r}, {self.peer_uri!r}, {str(self.root)!r}\n"
            f"xml = {self.xml('NAME')!r}\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def run_process(self, code: str, **environment: str) -> str:
        """Run such a process to its end and return what it printed."""
        process = self.start_process(code, **environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def guest_processes(self) -> list[int]:
        """Return the guests' processes that are there, recorded or not."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if line.split(b"\0")[1:2] == [b"-I"] and str(self.root).encode() in line:
                    found.append(int(entry.name))
        return found


@pytest.fixture
def toys(own_home: Path) -> Iterator[Toys]:
    """Hold two empty toy hosts; no guest of theirs is left behind."""
    import os

    toys = Toys(own_home / "h")
    yield toys
    left = toys.guest_processes()
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def host(toys: Toys) -> Iterator[Connection]:
    """Hold an open connection to the first host."""
    with polyvisor.open(toys.uri) as connection:
        yield connection


@pytest.fixture
def peer(toys: Toys) -> Iterator[Connection]:
    """Hold an open connection to the second host."""
    with polyvisor.open(toys.peer_uri) as connection:
        yield connection


@pytest.fixture
def domain(host: Connection, toys: Toys) -> Domain:
    """Hold a defined domain called ``guest``."""
    return host.domains.define(toys.xml())


@pytest.fixture
def count() -> Callable[[Domain], int]:
    """Give a function that asks a guest how far it has counted."""

    def ask(domain: Domain) -> int:
        driver = domain.connection.driver
        return driver.hypervisor.count(driver.guest(domain.uuid))  # type: ignore[attr-defined,no-any-return]

    return ask
