"""What the suite needs to know of the driver under test."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import attrs

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.model import DomainSpec

__all__ = ["Target", "requires"]

_T = TypeVar("_T", bound=Callable[..., Any])


def _virtio_disk(path: os.PathLike[str]) -> str:
    from polyvisor.model import escape_attribute

    file = escape_attribute(os.fspath(path))
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{file}'/><target dev='vdx' bus='virtio'/></disk>"
    )


@attrs.frozen
class Target:
    """A driver under test.

    Attributes:
        uri: opens an empty host of the driver's.
        spec: makes a definition of the least machine that the driver can run, with the
            name that it is given and without a UUID.
        peer: opens a second host, to migrate to; ``None`` if there is none.
        shared: whether several processes that open ``uri`` reach the same host.
        ticks: gives the numbers that the guest has counted aloud so far, from its
            first; ``None`` if the guest does not count.
        shuts_down: whether the guest of ``spec`` answers a shutdown request.
        against: what stands behind the driver in these tests.
        slow: factor for the suite's time limits.
        device: makes, from the path of a file, the XML of a device with that file that can be
            attached to the running guest; a virtio disk unless said otherwise.
        consoles: whether something answers at the consoles that guests have.
        served: whether a daemon does the work, so that what a process began goes on when
            that is killed.
        via: what stands between the driver and the hypervisor, such as ``"polyvisord"``, for
            the report; ``""`` if nothing does.
        files: a folder below which the target's hosts have all their files, and nobody else
            any; ``None`` if there is none. What a test leaves there fails it.
        keeps: patterns (of :mod:`fnmatch`) of paths below ``files`` that may stay when there is
            no domain any more.
    """

    uri: str
    spec: Callable[[str], DomainSpec]
    peer: str | None = None
    shared: bool = True
    ticks: Callable[[Domain], Sequence[int]] | None = None
    shuts_down: bool = True
    against: Literal["real", "simulator", "fake"] = "real"
    slow: float = 1.0
    device: Callable[[os.PathLike[str]], str] = attrs.field(default=_virtio_disk)
    consoles: bool = True
    served: bool = False
    via: str = ""
    files: Path | None = None
    keeps: Sequence[str] = ("*.sqlite*", "*.log", "*/cache/*", "*/locks/watch")

    @classmethod
    @contextmanager
    def at(cls, make: Callable[[Path], Any], folder: Path) -> Iterator[Self]:
        """Hold the target that a :class:`~polyvisor.driver.DriverInfo` names as its ``target``.

        Args:
            make: the function, which takes the folder and returns arguments of this class as a
                mapping, or a context manager with them that ends what it began.
            folder: an empty one.
        """
        made = make(folder)
        with made if hasattr(made, "__enter__") else nullcontext(made) as arguments:
            yield cls(**arguments)

    def wait_for_ticks(self, domain: Domain, more: int) -> Sequence[int]:
        """Wait until the guest has counted ``more`` further times; return all numbers."""
        assert self.ticks is not None
        deadline = time.monotonic() + 20 * self.slow
        have = len(self.ticks(domain))
        while True:
            seen = self.ticks(domain)
            if len(seen) >= have + more:
                return seen
            assert time.monotonic() < deadline, (
                f"the guest of {domain.name!r} counted {len(seen) - have} times in "
                f"{20 * self.slow} s; {more} were expected"
            )
            time.sleep(0.01)


def requires(*features: str) -> Callable[[_T], _T]:
    """Mark a test as needing features of the support table."""
    import pytest

    mark: Callable[[_T], _T] = pytest.mark.polyvisor_requires(*features)
    return mark
