"""Programs that run beside a test, and a screen that they draw on."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from served import need, run

__all__ = ["picture", "running", "title", "virtual_screen", "wait_for"]

PATIENCE = 300.0
_Found = TypeVar("_Found")


def wait_for(look: Callable[[], _Found | None], what: str) -> _Found:
    """Return what a look finds, when it does."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"there is no {what}"
        time.sleep(0.2)
    return found


@contextmanager
def running(*command: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside the test."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def virtual_screen() -> Iterator[str]:
    """Run an X server that shows nothing to anybody; yield its display."""
    need("Xvfb", "xvfb")
    need("xwininfo", "x11-utils")
    need("xwd", "x11-apps")
    ours, theirs = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1024x768x24", "-nolisten", "tcp"],
        pass_fds=[theirs],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    try:
        with os.fdopen(ours) as told:
            yield f":{told.readline().strip()}"
    finally:
        screen.terminate()
        screen.wait(20)


def title(display: str, wanted: str) -> str | None:
    """Return the title of the window that is called so, if there is one."""
    tree = run("xwininfo", "-root", "-tree", "-display", display).stdout
    found = re.search(rf'"({wanted})":', tree)
    return None if found is None else found[1]


def picture(display: str, folder: Path, *, below: int = 0, colours: int = 50) -> bytes | None:
    """Return a picture of the screen as PNG, once there is something on it.

    Args:
        display: the screen.
        folder: where a file may be.
        below: number of the first row in which something must be.
        colours: how many colours must be exceeded there.
    """
    shot = folder / "shot.xwd"
    run("xwd", "-root", "-display", display, "-out", str(shot))
    made, seen = png(shot.read_bytes(), below)
    return made if seen > colours else None


def png(xwd: bytes, below: int) -> tuple[bytes, int]:
    """Return a dump of a screen as PNG, and how many colours it has from a row on.

    The dump's header is ``XWDFileHeader`` of ``X11/XWDFile.h``; pixels have 4 bytes, blue first.
    """
    head = struct.unpack(">25I", xwd[:100])
    size, width, height, line, colours = head[0], head[4], head[5], head[12], head[19]
    at = size + 12 * colours
    rows, seen = [], set()
    for row in range(height):
        pixels = xwd[at + row * line :][: width * 4]
        plain = bytearray(width * 3)
        plain[0::3], plain[1::3], plain[2::3] = pixels[2::4], pixels[1::4], pixels[0::4]
        rows.append(b"\0" + bytes(plain))
        if row >= below:
            seen.update(memoryview(pixels).cast("I"))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    parts = (
        chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(b"".join(rows))),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts), len(seen)
