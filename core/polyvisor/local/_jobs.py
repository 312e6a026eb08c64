"""Figures of jobs that are over, and what the two sides of a migration tell one another of theirs.

What travels are the names of :data:`polyvisor.jobstats.FIGURES` and, as in libvirt's cookie,
``started``, ``stopped`` and ``sent`` (milliseconds since the epoch, 0 if it never was) and
``delta``: the milliseconds between ``sent`` and its arrival, by the two hosts' clocks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polyvisor.jobstats import JobOutcome, JobStatistics, ordered

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local._keeper import Keeper

__all__ = [
    "MOMENTS",
    "arrived",
    "completed",
    "confirmed",
    "final",
    "now",
    "sent",
    "take_statistics",
    "travelling",
]

#: What is told beside the figures: when it began, when the guest stood still, when it was told.
MOMENTS = ("started", "stopped", "sent")
_MOST = (1 << 63) - 1
#: What libvirt leaves out if it is 0, though its cookie says so.
_UNLESS_ZERO = ("memory_bps", "memory_page_size", "disk_bps", "auto_converge_throttle")


def completed(job: Job) -> str:
    """Return what a domain's record keeps of a job that has come to its end."""
    return JobStatistics.of(job.latest, JobOutcome.COMPLETED).to_json()


def take_statistics(keeper: Keeper, uuid: UUID, *, keep: bool) -> JobStatistics | None:
    """Return the figures of a domain's last completed job; while another runs there are none."""
    told = keeper.need(uuid).job
    if told is None or keeper.home.jobs.progress(str(uuid)) is not None:
        return None
    if not keep:
        with keeper.hold(uuid, "job statistics", whatever_state=True) as hold:
            told = hold.known.job
            if told is None:
                return None
            hold.change(job=None)
    return JobStatistics.from_json(told)


def now() -> int:
    """Return milliseconds since the epoch."""
    return int(time.time() * 1000)


def sent(job: Job, told: Mapping[str, Any], stopped: int | None) -> dict[str, int]:
    """Return what the source tells in perform.

    Args:
        job: the migration.
        told: what :meth:`~polyvisor.local.MigratesGuests.send` returned.
        stopped: since when the guest has stood still, if that was before it was sent; 0 if it
            did all the time.
    """
    figures = dict(JobStatistics.of(job.latest).figures)
    moved = int(told.get("transferred", 0))
    if moved > figures["memory_processed"]:
        # A stream that is looked at now and then has gone on since.
        whole = max(moved, figures["memory_total"])
        figures |= {"memory_processed": moved, "memory_total": whole, "memory_remaining": 0}
    present = now()
    if stopped is None:
        stopped = present - int(told["downtime"] * 1000) if "downtime" in told else 0
    if stopped:
        figures["downtime"] = present - stopped
    return {
        "started": present - figures["time_elapsed"],
        "stopped": stopped,
        "sent": present,
        **figures,
    }


def arrived(told: Mapping[str, int], received: int) -> dict[str, int]:
    """Return what the destination tells in finish, when the guest goes on there.

    Args:
        told: what the source told.
        received: when that arrived.
    """
    present, figures = now(), dict(told)
    if told.get("sent"):
        figures["delta"] = received - told["sent"]
    for moment, name in (("started", "time_elapsed"), ("stopped", "downtime")):
        if 0 < told.get(moment, 0) <= present:
            figures[name] = present - told[moment]
    return figures


def confirmed(figures: Mapping[str, int], told: Mapping[str, int] | None) -> dict[str, int]:
    """Return the source's figures, with what the destination alone knows.

    Args:
        figures: what the source told.
        told: what the destination told, if it did.
    """
    found = {**figures, "time_elapsed": max(0, now() - figures["started"])}
    for name in ("delta", "downtime"):
        if told is not None and name in told:
            found[name] = told[name]
    return found


def final(operation: str, figures: Mapping[str, int]) -> JobStatistics:
    """Return the statistics of a migration that is completed, of what has travelled."""
    found, delta = dict(figures), figures.get("delta")
    for name in ("time_elapsed", "downtime"):
        # What both clocks say cannot be, if one of them is wrong, is not told.
        if delta is not None and 0 <= delta < found.get(name, 0):
            found[f"{name}_net"] = found[name] - delta
    for part in ("total", "processed", "remaining"):
        # libvirt's cookie has no sums.
        if f"memory_{part}" in found:
            found[f"data_{part}"] = found[f"memory_{part}"] + found.get(f"disk_{part}", 0)
    for name in _UNLESS_ZERO:
        if not found.get(name):
            found.pop(name, None)
    return JobStatistics(operation, JobOutcome.COMPLETED, ordered(found))


def travelling(told: Any) -> dict[str, int] | None:
    """Return what the other side told, as far as it makes sense."""
    if not isinstance(told, Mapping):
        return None
    found: dict[str, int] = {
        name: told[name]
        for name in MOMENTS
        if type(told.get(name)) is int and 0 <= told[name] <= _MOST
    }
    if type(told.get("delta")) is int and abs(told["delta"]) <= _MOST:
        found["delta"] = told["delta"]
    return {**found, **ordered(told)}
