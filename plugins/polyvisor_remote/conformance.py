"""What the conformance suite is told of the client by ``polyvisor plugins --check``."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from polyvisor.model import DomainSpec

__all__ = ["polyvisord", "target"]

_GUEST = """<domain type='sim'><name>{}</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
#: Seconds that a daemon may take to begin, and to end.
_SECONDS = 30


@contextmanager
def target(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Hold the arguments of a target of two hosts of the simulator, behind a polyvisord."""
    with polyvisord(folder) as path:
        where = f"root={quote(str(folder))}&socket={quote(path)}"
        yield {
            "uri": f"sim+unix:///a?{where}",
            "peer": f"sim+unix:///b?{where}",
            "spec": lambda name: DomainSpec.from_xml(_GUEST.format(escape(name))),
            "against": "simulator",
            "served": True,
            "via": "polyvisord",
        }


@contextmanager
def polyvisord(folder: Path) -> Iterator[str]:
    """Run polyvisord as a process of its own, and hold the path of its socket in the folder."""
    config, path, log = folder / "polyvisord.toml", folder / "sock", folder / "polyvisord.log"
    config.write_text("")
    words = [sys.executable, "-m", "polyvisor_remote", "--config", str(config)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*words, "--listen", f"unix:{path}"], stderr=errors, stdin=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + _SECONDS
        while not _listens(path):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield str(path)
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS)
        finally:
            process.kill()
            process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(str(path))
        except OSError:
            return False
    return True
