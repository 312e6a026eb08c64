"""Reading configurations in a hypervisor's own language, awaitable.

The functions of :mod:`polyvisor.native` that read or write files, under their names.
Written by ``tests/house/aio_functions.py`` from those; change those. A task that is cancelled
ends when the function has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor import native as blocking
from polyvisor.aio._crew import alone

if TYPE_CHECKING:
    import os

    from polyvisor.model import DomainSpec
    from polyvisor.plugins import Registry

__all__ = ["load"]


async def load(
    path: str | os.PathLike[str], name: str | None = None, *, plugins: Registry | None = None
) -> DomainSpec:
    """Return the machine that the configuration in a file describes."""
    return await alone(lambda: blocking.load(path, name, plugins=plugins))
