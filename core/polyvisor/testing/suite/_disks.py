"""Disks of a running domain: sizes, and jobs that move data."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import OperationInvalid, PolyvisorError
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__ = ["TestBlockJobs", "disk"]


@pytest.fixture
def disk(domain: Domain) -> str:
    """Hold the target of the first disk of the domain ``guest``, which runs."""
    devices = domain.spec().devices
    disks = devices.disks if devices is not None else ()
    place = disks[0].target if disks else None
    if place is None or place.dev is None:
        pytest.skip("the target's least machine has no disk")
    domain.start()
    return place.dev


def until(condition: Callable[[], object], target: Target) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 30 * target.slow
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@requires("block.jobs")
class TestBlockJobs:
    """A disk tells its sizes, and a job on it ends as it is told to."""

    def test_sizes(self, domain: Domain, disk: str) -> None:
        """A disk that is made larger is larger for the guest."""
        before = domain.disks.info(disk)
        assert before.capacity > 0
        assert domain.disks.job(disk) is None
        domain.disks.resize(disk, before.capacity + (1 << 20))
        assert domain.disks.info(disk).capacity == before.capacity + (1 << 20)
        for wrong in (lambda: domain.disks.info("none"), lambda: domain.disks.resize("none", 1)):
            with pytest.raises(PolyvisorError):
                wrong()
        domain.destroy()

    def test_no_job(self, domain: Domain, disk: str) -> None:
        """Where there is no job, none can be ended."""
        with pytest.raises(OperationInvalid):
            domain.disks.abort(disk)
        domain.destroy()

    def test_a_copy(self, domain: Domain, disk: str, target: Target, tmp_path: Path) -> None:
        """A copy that is ready can be gone over to; the guest then writes there."""
        copy = tmp_path / "copy.img"
        xml = f"<disk type='file'><driver type='raw'/><source file='{copy}'/></disk>"
        domain.disks.copy(disk, xml)

        def ready() -> bool:
            job = domain.disks.job(disk)
            assert job is not None
            return job.ready

        def gone_over() -> bool:
            # libvirt tells that a copy is ready a moment before it takes that for true.
            try:
                domain.disks.abort(disk, pivot=True)
            except OperationInvalid:
                return False
            return True

        until(ready, target)
        until(gone_over, target)
        assert domain.disks.job(disk) is None
        assert str(copy) in domain.xml()
        assert domain.active
        domain.destroy()
