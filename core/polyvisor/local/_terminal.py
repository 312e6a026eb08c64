"""Terminals at which guests' consoles end on the host."""

from __future__ import annotations

import fcntl
import os
import termios
import tty
from contextlib import suppress

from polyvisor.errors import Busy, Denied, HypervisorError

__all__ = ["open_terminal"]

#: TIOCVHANGUP of asm-generic/ioctls.h: takes a terminal from all who have it open.
_HANG_UP = 0x5437


def open_terminal(path: str, what: str, *, domain: str, force: bool) -> int:
    """Open a terminal in raw mode; return a descriptor that is the caller's to close.

    Whoever has it open holds a ``flock`` on it, which ends with its descriptor.

    Args:
        path: the terminal.
        what: what ends there, in words, for errors.
        domain: the domain's name, for errors.
        force: take it from who has it open.

    Raises:
        Busy: somebody has it open, and ``force`` is not given.
        Denied: only root can take it.
        HypervisorError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
        if not _lock(fd):
            if not force:
                os.close(fd)
                raise Busy(f"{what}: somebody else has it open")
            try:
                fcntl.ioctl(fd, _HANG_UP)
            except PermissionError as error:
                raise Denied(
                    f"{what}: only root can take it from who has it open", domain=domain
                ) from error
            finally:
                os.close(fd)
            fd = os.open(path, flags)
            # The hang-up takes the terminal away; the lock goes when its holder closes it.
            _lock(fd)
        with suppress(termios.error):
            tty.setraw(fd)
    except OSError as error:
        raise HypervisorError(
            f"{what}: cannot open {path}: {error.strerror}", domain=domain
        ) from error
    return fd


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
