"""How the figures of a job are printed: as ``virsh domjobinfo`` does."""

from __future__ import annotations

from collections.abc import Iterator

from polyvisor.jobstats import FIGURES, JobOutcome, JobStatistics

__all__ = ["job_lines"]

#: virsh's words for operations; the others are the same in both.
_OPERATIONS = {
    "managed save": "Save",
    "migration": "Outgoing migration",
    "migration in": "Incoming migration",
}
#: What virsh prints of a job's figures, in its order, and the words that it has for them.
_WORDS = {
    "time_elapsed": "Time elapsed",
    "time_elapsed_net": "Time elapsed w/o network",
    "data_processed": "Data processed",
    "data_remaining": "Data remaining",
    "data_total": "Data total",
    "memory_processed": "Memory processed",
    "memory_remaining": "Memory remaining",
    "memory_total": "Memory total",
    "memory_bps": "Memory bandwidth",
    "memory_dirty_rate": "Dirty rate",
    "memory_page_size": "Page size",
    "memory_iteration": "Iteration",
    "memory_postcopy_requests": "Postcopy requests",
    "disk_processed": "File processed",
    "disk_remaining": "File remaining",
    "disk_total": "File total",
    "disk_bps": "File bandwidth",
    "memory_constant": "Constant pages",
    "memory_normal": "Normal pages",
    "memory_normal_bytes": "Normal data",
    "downtime": "Expected downtime",
    "downtime_net": "Downtime w/o network",
    "setup_time": "Setup time",
    "compression_cache": "Compression cache",
    "compression_bytes": "Compressed data",
    "compression_pages": "Compressed pages",
    "compression_cache_misses": "Compression cache misses",
    "compression_overflow": "Compression overflows",
    "auto_converge_throttle": "Auto converge throttle",
    "disk_temp_used": "Temporary disk space use",
    "disk_temp_total": "Temporary disk space total",
}
_PARTS = ("data", "memory", "disk")
_COUNTED = ("memory_constant", "memory_normal", "disk_temp")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def job_lines(job: JobStatistics | None, *, anystats: bool) -> Iterator[str]:
    """Yield the lines of a job.

    Args:
        job: the job, or ``None`` if there is none.
        anystats: print the figures of one that failed or was cancelled as well.
    """
    if job is None:
        yield _line("Job type", "None")
        return
    running = job.outcome is JobOutcome.RUNNING
    yield _line("Job type", "Unbounded" if running else job.outcome.capitalize())
    yield _line("Operation", _OPERATIONS.get(job.operation, job.operation.capitalize()))
    if not (anystats or running or job.outcome is JobOutcome.COMPLETED):
        return
    figures = job.figures
    moving = {
        what
        for what in _PARTS
        if any(figures.get(f"{what}_{part}") for part in ("processed", "remaining", "total"))
    }
    for name, words in _WORDS.items():
        if name not in figures:
            continue
        what = name.partition("_")[0]
        # Of what does not move virsh says nothing, but for what it counts by itself.
        if what in _PARTS and what not in moving and not name.startswith(_COUNTED):
            continue
        told = "Total downtime" if name == "downtime" and not running else words
        yield _line(told, _value(name, figures[name]))
    if job.error is not None:
        yield _line("Error message", job.error)


def _line(name: str, value: str) -> str:
    return f"{name + ':':<17} {value}"


def _value(name: str, value: int) -> str:
    unit = FIGURES[name]
    if name == "memory_page_size":
        return f"{value:<12} bytes"
    if unit in ("B", "B/s"):
        size, step = float(value), 0
        while size >= 1024 and step < len(_UNITS) - 1:
            size, step = size / 1024, step + 1
        return f"{size:.3f} {_UNITS[step]}{unit.removeprefix('B')}"
    return f"{value:<12} {unit}" if unit in ("ms", "pages/s") else str(value)
