"""Save images and foreign configurations from asyncio, as the blocking functions do them."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import polyvisor
from polyvisor import native, saveimage
from polyvisor.aio import native as aio_native
from polyvisor.aio import saveimage as aio_images
from polyvisor.errors import SaveImageError

GUEST = """<domain type='sim'><name>guest</name><memory unit='MiB'>4</memory>
<os><type>hvm</type></os></domain>"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Hold a save image of a simulated guest."""
    path = tmp_path / "guest.img"
    with polyvisor.open(f"sim:///aio?root={tmp_path}") as host:
        host.domains.create(GUEST).save(path)
    return path


def test_they_say_what_the_blocking_ones_say(image: Path, tmp_path: Path) -> None:
    """Answers are equal, errors are the same, and what is changed is changed."""

    async def ask() -> None:
        assert await aio_images.inspect(image) == saveimage.inspect(image)
        assert await aio_images.examine(image) == saveimage.examine(image)
        found = await aio_images.verify(image, strict=True)
        assert found == saveimage.verify(image, strict=True)
        (tmp_path / "none").write_bytes(b"nothing")
        with pytest.raises(SaveImageError):
            await aio_images.inspect(tmp_path / "none")
        config = tmp_path / "guest.cfg"
        config.write_text('name = "guest"\nmemory = 64\ntype = "pv"\nkernel = "/boot/vmlinuz"\n')
        assert await aio_native.load(config) == native.load(config)

    asyncio.run(ask())


def test_a_cancelled_task_ends_with_its_function(image: Path) -> None:
    """Nothing reads on when the task has ended."""
    reader, writer = os.pipe()

    async def cancel() -> None:
        task = asyncio.create_task(aio_images.examine(reader))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()  # the pipe gives nothing yet
        feeding.start()
        with pytest.raises(asyncio.CancelledError):
            await task

    def feed() -> None:
        # Who examines an image need not read it to its end.
        with suppress(BrokenPipeError), open(writer, "wb", buffering=0) as pipe:
            pipe.write(image.read_bytes())

    feeding = threading.Thread(target=feed)
    try:
        asyncio.run(cancel())
    finally:
        os.close(reader)
    feeding.join(20)
    assert not feeding.is_alive()
    for thread in [one for one in threading.enumerate() if one.name == "polyvisor-aio"]:
        thread.join(20)  # it has told the task its end, and has but to end itself
        assert not thread.is_alive()
