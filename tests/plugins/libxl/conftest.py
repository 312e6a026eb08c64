"""Hosts of the stand-in for libxl with guests that do as they are told, and a real image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import attrs
import pytest

import polyvisor
from polyvisor.model import DomainSpec

if TYPE_CHECKING:
    from polyvisor.domain import Domain

GUEST = """\
<domain type='xen'>
  <name>{name}</name>
  <memory unit='KiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os>
  {more}
</domain>
"""

#: Written by libvirt 9.0's libxl driver on Xen 4.17.7; see the README beside it.
IMAGE = "pv.libvirt.save.zst"

#: ``libxl_shutdown_reason``.
REASONS = {"poweroff": 0, "reboot": 1, "crash": 3, "watchdog": 4}


@attrs.frozen
class Hosts:
    """Stand-in hosts under one folder."""

    root: Path
    opened: list[polyvisor.Connection] = attrs.field(factory=list)

    def uri(self, name: str = "a") -> str:
        """Return what opens the host of a name."""
        return f"standin:///system?root={self.root / name}"

    def open(self, name: str = "a", **settings: object) -> polyvisor.Connection:
        """Open a host.

        Args:
            name: its name.
            settings: the plugin's settings.
        """
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        config = self.root / "config.toml"
        config.write_text(f"[plugins.standin]\n{lines}")
        self.opened.append(polyvisor.open(self.uri(name), config=config))
        return self.opened[-1]

    def beside(self, name: str = "other", host: str = "a") -> polyvisor.Connection:
        """Open a Xen host as another toolstack would, which knows nothing of polyvisor's."""
        (self.root / f"{name}.xen").symlink_to(f"{host}.xen")
        return self.open(name)

    def spec(self, name: str = "guest", *, memory: int = 4096, more: str = "") -> DomainSpec:
        """Return a definition; ``memory`` is in KiB, ``more`` is XML."""
        return DomainSpec.from_xml(GUEST.format(name=escape(name), memory=memory, more=more))

    def ends(self, domain: Domain, reason: str, host: str = "a") -> None:
        """Have a guest shut down of itself."""
        import standinxen

        folder = f"{self.root / host}.xen".encode()
        number = domain.info().id
        assert standinxen.library().standin_guest_ends(folder, number, REASONS[reason]) == 0

    def fault(self, *faults: str, host: str = "a") -> None:
        """Have libxl's calls fail from now on, each given as ``"CALL CODE"``."""
        (self.root / f"{host}.xen" / "faults").write_text("".join(f"{each}\n" for each in faults))

    def ticks(self, domain: Domain) -> list[int]:
        """Return the numbers that a guest has counted aloud, wherever it was."""
        if domain.active:
            domain.stats()
        console = self.root / f"console-{domain.uuid.hex}"
        text = console.read_text() if console.exists() else ""
        return [int(number, 16) for number in re.findall(r"tick ([0-9A-F]+)\n", text)]

    def counted_from(self, console: Path) -> int:
        """Wait until a guest counts aloud; return the first number."""
        deadline = time.monotonic() + 20
        while not (console.exists() and (lines := console.read_text().split())):
            assert time.monotonic() < deadline
            self.opened[0].domains.summaries()
            time.sleep(0.01)
        return int(lines[1], 16)

    def counts_on(self, domain: Domain) -> bool:
        """Say whether a guest counts further, having left out and repeated nothing."""
        have, deadline = len(self.ticks(domain)), time.monotonic() + 20
        while len(seen := self.ticks(domain)) < have + 3:
            assert time.monotonic() < deadline, f"{seen[-3:]}"
            time.sleep(0.01)
        return seen == list(range(1, len(seen) + 1))

    def run_process(self, code: str, *arguments: str) -> str:
        """Run a Python process with ``host`` open; return what it printed."""
        prelude = f"import os, sys, polyvisor\nhost = polyvisor.open({self.uri()!r})\n"
        done = subprocess.run(
            [sys.executable, "-c", prelude + textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, -9), done.stderr
        return done.stdout


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value) if isinstance(value, (int, float)) else f'"{value}"'


@pytest.fixture
def hosts(tmp_path: Path, standin: Path) -> Iterator[Hosts]:
    """Hold stand-in hosts without guests."""
    (tmp_path / "a.xen").mkdir()
    made = Hosts(tmp_path)
    yield made
    for connection in made.opened:
        connection.close()


@pytest.fixture
def host(hosts: Hosts) -> polyvisor.Connection:
    """Hold the first of them, open."""
    return hosts.open()


@pytest.fixture
def domain(host: polyvisor.Connection, hosts: Hosts) -> Domain:
    """Hold a persistent domain that runs on it."""
    made = host.domains.define(hosts.spec())
    made.start()
    return made


@pytest.fixture
def make_running(host: polyvisor.Connection, hosts: Hosts) -> Callable[..., Domain]:
    """Hold a function that starts a persistent domain with further XML in its definition."""

    def make(more: str) -> Domain:
        made = host.domains.define(hosts.spec(more=more))
        made.start()
        return made

    return make


def _data() -> Path | None:
    named = os.environ.get("POLYVISOR_XEN_DATA")
    beside = Path(__file__).resolve().parents[4] / "shared" / "data" / "xen"
    folder = Path(named) if named else beside
    return folder if (folder / IMAGE).is_file() else None


@pytest.fixture(scope="session")
def real_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a real save image, unpacked."""
    folder = _data()
    if folder is None:
        pytest.skip(f"no real image: set POLYVISOR_XEN_DATA to the folder of {IMAGE}")
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed: apt install zstd")
    target = tmp_path_factory.mktemp("xen") / "pv.libvirt.save"
    subprocess.run(["zstd", "-dq", str(folder / IMAGE), "-o", str(target)], check=True, timeout=60)
    return target
