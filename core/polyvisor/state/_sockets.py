"""Unix sockets in folders, whatever the length of their path.

An address holds 108 bytes (``unix(7)``); through ``/proc/self/fd`` only the socket's own
name counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["address_in"]


@contextmanager
def address_in(folder: str, name: str) -> Iterator[str]:
    """Give a short address for the socket ``name`` in ``folder``.

    Raises:
        OSError: there is no such folder.
    """
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
