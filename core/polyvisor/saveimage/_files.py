"""Writing images: beside their place until they are whole, or into a descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from polyvisor._files import GivenFile
from polyvisor.errors import StorageError

__all__ = ["copy_rest", "writing"]

_CHUNK = 8 << 20


@contextmanager
def writing(
    target: str | os.PathLike[str] | int, *, like: str | os.PathLike[str] | int
) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes its place when all went well.

    Args:
        target: path, or a descriptor that is written to as it comes.
        like: whose permissions and owner the file gets.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(target, int):
        try:
            with open(target, "wb", closefd=False) as out:
                yield out
        except OSError as error:
            gone = isinstance(error, BrokenPipeError)
            why = "its reader has gone" if gone else error.strerror or error
            raise StorageError(
                f"cannot write the save image: {why}",
                native_code=errno.errorcode.get(error.errno or 0),
            ) from error
        return
    with GivenFile(target) as file:
        try:
            with open(file.fd, "wb", closefd=False) as out:
                yield out
            if file.plain:
                facts = os.stat(like)
                os.fchmod(file.fd, facts.st_mode & 0o777)
                with suppress(PermissionError):
                    os.fchown(file.fd, facts.st_uid, facts.st_gid)
        except OSError as error:
            raise file.failed(error) from error
        file.commit()


def copy_rest(image: BinaryIO, offset: int, out: BinaryIO) -> None:
    """Copy an image from ``offset`` on, in the kernel where the file systems allow it."""
    source, sink = image.fileno(), out.fileno()
    while True:
        try:
            copied = os.copy_file_range(source, sink, _CHUNK, offset_src=offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            break
        if not copied:
            return
        offset += copied
    while data := os.pread(source, _CHUNK, offset):
        out.write(data)
        offset += len(data)
    out.flush()
