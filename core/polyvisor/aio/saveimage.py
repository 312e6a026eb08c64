"""What can be done with save images, awaitable.

The functions of :mod:`polyvisor.saveimage` that read or write files, under their names.
Written by ``tests/house/aio_functions.py`` from those; change those. A task that is cancelled
ends when the function has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor import saveimage as blocking
from polyvisor.aio._crew import alone

if TYPE_CHECKING:
    import os

    from polyvisor.model import DomainSpec
    from polyvisor.plugins import Registry
    from polyvisor.saveimage import ImageHeader, Inspection, MemoryMap, Verification

__all__ = ["change_definition", "convert", "examine", "inspect", "picture", "verify"]


async def change_definition(
    path: str | os.PathLike[str],
    spec: DomainSpec,
    *,
    running: bool | None = None,
    plugins: Registry | None = None,
) -> bool:
    """Put another definition into an image; the guest must not notice the change."""
    return await alone(
        lambda: blocking.change_definition(path, spec, running=running, plugins=plugins)
    )


async def convert(
    image: str | os.PathLike[str] | int,
    target: str | os.PathLike[str] | int,
    to: str,
    *,
    form: str | None = None,
    plugins: Registry | None = None,
) -> None:
    """Write an image in another format, chunk by chunk, in constant memory."""
    await alone(lambda: blocking.convert(image, target, to, form=form, plugins=plugins))


async def examine(
    image: str | os.PathLike[str] | int,
    *,
    memory: bool = False,
    form: str | None = None,
    plugins: Registry | None = None,
) -> Inspection:
    """Say what an image holds."""
    return await alone(lambda: blocking.examine(image, memory=memory, form=form, plugins=plugins))


async def inspect(path: str | os.PathLike[str], *, plugins: Registry | None = None) -> ImageHeader:
    """Read the header of the image at ``path``."""
    return await alone(lambda: blocking.inspect(path, plugins=plugins))


async def picture(memory: MemoryMap, *, title: str) -> bytes:
    """Draw a guest's memory, a cell for each page or for some of them, with addresses."""
    return await alone(lambda: blocking.picture(memory, title=title))


async def verify(
    image: str | os.PathLike[str] | int,
    *,
    strict: bool = False,
    limit: int = 100,
    form: str | None = None,
    plugins: Registry | None = None,
) -> Verification:
    """Check an image against the rules of its format."""
    return await alone(
        lambda: blocking.verify(image, strict=strict, limit=limit, form=form, plugins=plugins)
    )
