"""What stands at the other end of a pipe, and costs next to nothing there: the kernel moves pages.

Also imported by the peer: standard library only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["Drain", "Feed"]

_FEED = """
import os, sys
source = os.open(sys.argv[1], os.O_RDONLY)
while os.splice(source, 1, 1 << 20):
    pass
"""
_DRAIN = """
import os
sink = os.open(os.devnull, os.O_WRONLY)
while os.splice(0, sink, 1 << 20):
    pass
"""


class Feed:
    """Gives a pipe out of which a file comes."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-c", _FEED, str(path)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self) -> int:
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def __exit__(self, *exc_info: object) -> None:
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._child.wait(60)


class Drain:
    """Gives a pipe in which everything vanishes."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _DRAIN]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE)

    def __enter__(self) -> int:
        assert self._child.stdin is not None
        return self._child.stdin.fileno()

    def __exit__(self, *exc_info: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(60)
