"""Save images written and read past the host's cache, in which guests' memory has no place."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from polyvisor.errors import StorageError
from polyvisor.local._compression import Pump, write_all

__all__ = ["reading", "writing"]

#: What O_DIRECT wants places, sizes and buffers to be multiples of, on any usual disk.
_BLOCK = 4096
_CHUNK = 4 << 20
#: With two writers the disk has always something to do; with more they get into each other's way.
_WRITERS = 2
_BUFFERS = 8
#: Bytes in a pipe that anybody may have (/proc/sys/fs/pipe-max-size).
_PIPE = 1 << 20


@contextmanager
def writing(fd: int, path: str) -> Iterator[int]:
    """Give a descriptor whose stream is written behind what a file holds so far.

    Args:
        fd: the file, open for reading and writing, at its end.
        path: what it is to be called.

    Raises:
        StorageError: its file system has no way past the cache.
        OSError: it could not be written.
    """
    end = os.lseek(fd, 0, os.SEEK_END)
    direct = _open(fd, path, os.O_WRONLY)

    def pump(source: int) -> None:
        from collections import deque
        from concurrent.futures import Future, ThreadPoolExecutor

        # What shares the last block with the stream is written once more with it.
        place = end - end % _BLOCK
        filled = end - place
        with ExitStack() as held:
            buffers = [held.enter_context(mmap.mmap(-1, _CHUNK)) for _ in range(_BUFFERS)]
            free = deque(held.enter_context(memoryview(one)) for one in buffers)
            # Some are written while another fills: who writes the stream need not wait for a
            # disk that is slow for a moment.
            writer = held.enter_context(ThreadPoolExecutor(_WRITERS))
            pending: deque[tuple[Future[None], memoryview]] = deque()
            view = free.popleft()
            view[:filled] = os.pread(fd, filled, place)
            while count := os.readv(source, [view[filled:]]):
                filled += count
                if filled == _CHUNK:
                    pending.append((writer.submit(_put, direct, view, place), view))
                    place, filled = place + filled, 0
                    if free:
                        view = free.popleft()
                    else:
                        written, view = pending.popleft()
                        written.result()
            for written, _ in pending:
                written.result()
            whole = -(-filled // _BLOCK) * _BLOCK
            view[filled:whole] = bytes(whole - filled)
            _put(direct, view[:whole], place)
            os.ftruncate(fd, place + filled)

    try:
        with Pump(pump, reads=True) as lent:
            # As much as anybody may have: each switch to and fro moves so much.
            with suppress(OSError):
                fcntl.fcntl(lent, fcntl.F_SETPIPE_SZ, _PIPE)
            yield lent
    finally:
        os.close(direct)
    os.lseek(fd, 0, os.SEEK_END)


@contextmanager
def reading(fd: int, path: str) -> Iterator[int]:
    """Give a descriptor that reads on where a file stands.

    Args:
        fd: the file.
        path: what it is to be called.

    Raises:
        StorageError: its file system has no way past the cache.
        OSError: it could not be read.
    """
    begin = os.lseek(fd, 0, os.SEEK_CUR)
    direct = _open(fd, path, os.O_RDONLY)

    def pump(sink: int) -> None:
        place, skipped = begin - begin % _BLOCK, begin % _BLOCK
        with mmap.mmap(-1, _CHUNK) as buffer, memoryview(buffer) as view:
            count = _BLOCK
            while count % _BLOCK == 0 and (count := os.preadv(direct, [view], place)):
                try:
                    write_all(sink, view[skipped:count])
                except BrokenPipeError:
                    return  # The hypervisor has read all that it wanted.
                place, skipped = place + count, 0

    try:
        with Pump(pump, reads=False) as lent:
            yield lent
    finally:
        os.close(direct)


def _open(fd: int, path: str, mode: int) -> int:
    try:
        return os.open(f"/proc/self/fd/{fd}", mode | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise StorageError(
            f"{path}: its file system has no way past the host's cache (O_DIRECT); leave "
            f"bypass-cache out, or use another folder",
            path=path,
        ) from error


def _put(fd: int, view: memoryview, place: int) -> None:
    while view:
        count = os.pwritev(fd, [view], place)
        if count % _BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, place = view[count:], place + count
