"""Streams written and read past the host's cache."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from polyvisor.local._compression import write_all
from polyvisor.local._direct import _CHUNK, reading, writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Hold the path of a file that can be written past the cache."""
    path = tmp_path / "image"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("the temporary folder has no O_DIRECT")
    return path


@pytest.mark.parametrize("head", [0, 1, 4095, 4096, 6000])
@pytest.mark.parametrize("size", [0, 1, 4096, 70000, _CHUNK - 6000, _CHUNK, _CHUNK + 1])
def test_every_byte_is_there(file: Path, head: int, size: int) -> None:
    """Whatever stands before the stream, and wherever it ends."""
    begin, data = b"h" * head, os.urandom(size)
    with file.open("r+b", buffering=0) as image:
        image.write(begin)
        with writing(image.fileno(), str(file)) as end:
            write_all(end, data)
        assert image.tell() == head + size
        image.write(b"behind")
        assert file.read_bytes() == begin + data + b"behind"
        image.seek(head)
        with reading(image.fileno(), str(file)) as end:
            got = b"".join(iter(lambda: os.read(end, 1 << 20), b""))
        assert got == data + b"behind"


def test_a_reader_that_has_enough(file: Path) -> None:
    """Who reads need not read to the end."""
    file.write_bytes(bytes(_CHUNK * 2))
    before = threading.active_count()
    with file.open("rb") as image, reading(image.fileno(), str(file)) as end:
        assert len(os.read(end, 100)) == 100
    assert threading.active_count() == before
