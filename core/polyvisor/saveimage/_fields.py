"""What headers of all formats are read with: as many bytes as they say, and their text."""

from __future__ import annotations

from typing import BinaryIO

from polyvisor.errors import SaveImageError

__all__ = ["decoded", "read_exactly"]


def read_exactly(image: BinaryIO, size: int, *, path: str, offset: int, what: str) -> bytes:
    """Read ``size`` bytes.

    Memory is taken as bytes come, not as the size claims.

    Args:
        image: read from.
        size: how many bytes.
        path: for the error message.
        offset: where in the image they begin, for the error.
        what: what they are.

    Raises:
        SaveImageError: the image ends before.
    """
    data = bytearray()
    while len(data) < size and (more := image.read(min(size - len(data), 1 << 20))):
        data += more
    if len(data) < size:
        raise SaveImageError(
            f"{path}: cut off in {what}: {len(data)} of {size} bytes are there",
            path=path,
            offset=offset + len(data),
        )
    return bytes(data)


def decoded(data: bytes, *, path: str, offset: int, what: str) -> str:
    """Return bytes of an image as text.

    Args:
        data: the bytes.
        path: for the error message.
        offset: where in the image they begin, for the error.
        what: what they are.

    Raises:
        SaveImageError: they are not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SaveImageError(
            f"{path}: {what} is not UTF-8", path=path, offset=offset + error.start
        ) from error
