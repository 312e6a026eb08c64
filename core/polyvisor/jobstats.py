"""What a domain's job has moved, and in what time: while it runs, and once it is over."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import attrs

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress

__all__ = ["FIGURES", "JobOutcome", "JobStatistics"]

#: The figures of a job in the order in which libvirt gives them, and their units; names and
#: meaning are those of ``VIR_DOMAIN_JOB_*`` in libvirt's libvirt-domain.h.
FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "time_elapsed": "ms",
        "time_elapsed_net": "ms",
        "time_remaining": "ms",
        "downtime": "ms",
        "downtime_net": "ms",
        "setup_time": "ms",
        "data_total": "B",
        "data_processed": "B",
        "data_remaining": "B",
        "memory_total": "B",
        "memory_processed": "B",
        "memory_remaining": "B",
        "memory_bps": "B/s",
        "memory_constant": "pages",
        "memory_normal": "pages",
        "memory_normal_bytes": "B",
        "memory_dirty_rate": "pages/s",
        "memory_iteration": "",
        "memory_postcopy_requests": "",
        "memory_page_size": "B",
        "disk_total": "B",
        "disk_processed": "B",
        "disk_remaining": "B",
        "disk_bps": "B/s",
        "compression_cache": "B",
        "compression_bytes": "B",
        "compression_pages": "pages",
        "compression_cache_misses": "",
        "compression_overflow": "",
        "auto_converge_throttle": "%",
        "disk_temp_used": "B",
        "disk_temp_total": "B",
    }
)

#: Operations that move the data of disks alone.
_OF_DISKS = frozenset({"backup", "snapshot delete"})
#: Those that move no data of disks.
_OF_MEMORY = frozenset({"save", "managed save", "restore", "dump", "snapshot"})
_MOST = (1 << 64) - 1


class JobOutcome(StrEnum):
    """What has become of a job."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@attrs.frozen
class JobStatistics:
    """The figures of a job (``virDomainGetJobStats``).

    Attributes:
        operation: as :class:`~polyvisor.jobs.JobProgress` has it; ``"migration in"`` on a
            migration's destination.
        outcome: what has become of it.
        figures: what is known, by the names of :data:`FIGURES` and in their units.
        error: why it failed, or ``None``.
    """

    operation: str
    outcome: JobOutcome = JobOutcome.RUNNING
    figures: Mapping[str, int] = attrs.field(factory=dict)
    error: str | None = None

    @classmethod
    def of(
        cls,
        progress: JobProgress,
        outcome: JobOutcome = JobOutcome.RUNNING,
        error: str | None = None,
    ) -> Self:
        """Return the figures of a job as it stands.

        Args:
            progress: its last report.
            outcome: what has become of it.
            error: why it failed.
        """
        operation, more = progress.operation, progress.figures
        found: dict[str, int] = {"time_elapsed": int(progress.elapsed * 1000)}
        if progress.downtime is not None:
            found["downtime"] = int(progress.downtime * 1000)
        if progress.iteration:
            found["memory_iteration"] = progress.iteration
        if operation in _OF_DISKS:
            if progress.total or progress.processed:
                found |= _moved("disk", progress.total, progress.processed, progress.remaining)
        else:
            data = (progress.total, progress.processed, progress.remaining)
            disks = (progress.disk_total, progress.disk_processed, progress.disk_remaining)
            memory = [whole - part for whole, part in zip(data, disks, strict=True)]
            found |= _moved("memory", *memory)
            if operation != "dump" or more:  # a core of memory alone is no stream
                found |= _moved("data", *data)
            if operation not in _OF_MEMORY:
                found |= _moved("disk", *disks)
        return cls(operation, outcome, ordered({**found, **more}), error)

    def to_json(self) -> str:
        """Return it as JSON."""
        import json

        return json.dumps({**attrs.asdict(self, recurse=False), "figures": dict(self.figures)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what :meth:`to_json` gave."""
        import json

        told = json.loads(text)
        return cls(**{**told, "outcome": JobOutcome(told["outcome"])})


def ordered(figures: Mapping[str, Any]) -> dict[str, int]:
    """Return the figures that are known by name and make sense, in libvirt's order."""
    return {
        name: figures[name]
        for name in FIGURES
        if type(figures.get(name)) is int and 0 <= figures[name] <= _MOST
    }


def _moved(what: str, total: int, processed: int, remaining: int) -> dict[str, int]:
    return {
        f"{what}_total": total,
        f"{what}_processed": processed,
        f"{what}_remaining": remaining,
    }
