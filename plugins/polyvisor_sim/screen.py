"""The screens of simulated guests: the last lines of what they print, as a picture.

A guest prints few different characters; each has a glyph of five by seven dots here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.driver import Screens
from polyvisor.errors import NotFound, OperationInvalid, StorageError, Unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor_sim.driver import SimulatorDriver

__all__ = ["COLUMNS", "ROWS", "SimScreens", "picture"]

COLUMNS, ROWS = 40, 25
_WIDE, _HIGH = 6, 9

#: Seven rows of five dots each, the leftmost dot the highest bit.
_GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 6, 8, 16, 31),
    "3": (14, 17, 1, 6, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "F": (31, 16, 16, 30, 16, 16, 16),
    "t": (8, 8, 28, 8, 8, 9, 6),
    "i": (4, 0, 12, 4, 4, 4, 14),
    "c": (0, 0, 14, 16, 16, 17, 14),
    "k": (16, 16, 18, 20, 24, 20, 18),
    " ": (0,) * 7,
}

# Of linux/input-event-codes.h.
_CONTROL, _ALT, _DELETE, _POWER = frozenset({29, 97}), frozenset({56, 100}), 111, 116
_MOST = 0x2FF


class SimScreens(Screens):
    """Takes pictures; what keys do is what a machine without anybody logged in does."""

    def __init__(self, driver: SimulatorDriver) -> None:
        self._driver = driver

    def screenshot(self, uuid: UUID, screen: int, fd: int) -> str:
        """Write the screen's text as PNG."""
        guest = self._driver.guest(uuid)
        if screen != 0:
            raise NotFound(
                f"screenshot of {guest.name!r}: it has one screen, number 0", key=str(screen)
            )
        data = memoryview(picture(self._driver.hypervisor.printed(guest)))
        try:
            while data:
                data = data[os.write(fd, data) :]
        except OSError as error:
            raise StorageError(f"screenshot of {guest.name!r}: {error.strerror}") from error
        return "image/png"

    def send_keys(self, uuid: UUID, codes: Sequence[int], *, codeset: str, hold: float) -> None:
        """Reboot at Control, Alt and Delete, shut down at the power key; others do nothing."""
        guest = self._driver.guest(uuid)
        if codeset != "linux":
            raise Unsupported(
                f"send keys to {guest.name!r}: its keyboard knows the code set linux only",
                feature="console.send-key",
            )
        strange = [code for code in codes if not 0 < code <= _MOST]
        if strange:
            raise OperationInvalid(
                f"send keys to {guest.name!r}: Linux has no key {strange[0]}", domain=guest.name
            )
        pressed = set(codes)
        if pressed & _CONTROL and pressed & _ALT and _DELETE in pressed:
            self._driver.domains.reboot(uuid)
        elif _POWER in pressed:
            self._driver.domains.shutdown(uuid)


def picture(text: str) -> bytes:
    """Return the last lines of a text as PNG, white on black.

    Args:
        text: lines of the characters that guests print.
    """
    shown = text.splitlines()[-ROWS:]
    rows = [bytearray(COLUMNS * _WIDE // 8) for _ in range(ROWS * _HIGH)]
    for line, words in enumerate(shown):
        for column, letter in enumerate(words[:COLUMNS]):
            for below, dots in enumerate(_GLYPHS.get(letter, _GLYPHS[" "])):
                row = rows[line * _HIGH + below]
                for right in range(5):
                    if dots >> (4 - right) & 1:
                        at = column * _WIDE + right
                        row[at // 8] |= 0x80 >> at % 8
    # One bit per dot, grey, no filter, not interlaced.
    header = struct.pack(">IIBBBBB", COLUMNS * _WIDE, ROWS * _HIGH, 1, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )
