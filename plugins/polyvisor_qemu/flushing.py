"""What QEMU has written into a file goes to the disk while it writes on.

Otherwise most of a large image is still in the page cache when its last byte is written, and
all of that is waited for then.
"""

from __future__ import annotations

import threading
from typing import Self

__all__ = ["Flushing"]

#: Seconds between two rounds.
EVERY = 0.1
#: linux/fs.h: start writing what is dirty, and do not wait for it.
SYNC_FILE_RANGE_WRITE = 2


class Flushing:
    """Begins with the first :meth:`beat`, so that a short save has nothing to do with it.

    Args:
        fd: the file; what is none, such as a pipe, is left alone.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def beat(self) -> None:
        """Take it that it takes a while."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="polyvisor-flush", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        import ctypes

        begin = ctypes.CDLL(None).sync_file_range
        begin.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        # Zero bytes: to the end of the file. A failure is told by the fsync that follows.
        while begin(self._fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0 and not self._ended.wait(EVERY):
            pass
