"""What a guest prints on its serial port: a line for every fifth tick.

The lines look like those of the boot sector that serves as a real guest elsewhere:
``tick 002A``, the line's number modulo 65536 in hexadecimal. They are written when somebody looks
after the guest, not while nobody does, and the file is known to the guest's memory by
how far it has come (:class:`~polyvisor_sim.memory.Mark`): a line that was written just
before its writer was killed is written once more to the same place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import StorageError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_sim.memory import Memory

__all__ = ["MOST_LINES", "TICKS_PER_LINE", "console_file", "lines", "open_console", "write_lines"]

#: A guest prints a line each time it has done this many ticks.
TICKS_PER_LINE = 5
#: At most so many lines are written at once; earlier ones are left out.
MOST_LINES = 2000


def lines(ticks: int, since: int = 0) -> str:
    """Return the lines that a guest has printed by ``ticks``, at most :data:`MOST_LINES`.

    Args:
        ticks: ticks done since the guest booted.
        since: number of lines to leave out at the beginning.
    """
    end = ticks // TICKS_PER_LINE
    begin = max(since, end - MOST_LINES)
    return "".join(f"tick {number & 0xFFFF:04X}\r\n" for number in range(begin, end))


def console_file(spec: DomainSpec) -> tuple[str | None, bool]:
    """Return the file behind the first serial port, and whether it is only to grow.

    The path is ``None`` if there is no serial port or something else is behind it.
    """
    for serial in spec.devices.serials[:1]:
        if serial.type == "file" and serial.source is not None:
            return serial.source.path, bool(serial.source.append)
    return None, False


def open_console(path: str, *, append: bool) -> int:
    """Make the file behind a serial port ready and return where its next line goes.

    Raises:
        StorageError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if append else os.O_TRUNC)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot write the guest's serial port to {path}: {error.strerror}", path=path
        ) from error
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def write_lines(path: str, memory: Memory, ticks: int) -> None:
    """Write the lines that are still missing from the file behind a serial port.

    A guest does not stop because nobody can note down what it prints: a file that cannot
    be written is tried again next time.

    Args:
        path: the file.
        memory: the guest's memory, already brought up to its present boot.
        ticks: ticks done in this boot.
    """
    mark = memory.mark()
    end = ticks // TICKS_PER_LINE
    if end <= mark.lines:
        return
    text = memoryview(lines(ticks, mark.lines).encode())
    offset = mark.console
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while text:
                written = os.pwrite(fd, text, offset)
                offset, text = offset + written, text[written:]
        finally:
            os.close(fd)
    except OSError:
        return
    memory.set_mark(attrs.evolve(mark, lines=end, console=offset))
