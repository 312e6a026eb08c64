"""How a call is timed: medians of single calls, the first ones left out.

Also imported by the peers, which run under the system's Python: standard library only.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import perf_counter, sleep, thread_time

__all__ = ["let_count", "median_over", "median_seconds", "resident_bytes", "seconds_each"]


def median_seconds(call: Callable[[], object], count: int) -> float:
    """Return the median of ``count`` calls, in seconds, after a few to warm up."""
    return seconds_each((call for _ in range(count + 3)), skip=3)


def seconds_each(
    calls: Iterable[Callable[[], object]],
    skip: int = 0,
    clock: Callable[[], float] = perf_counter,
) -> float:
    """Return the median of different calls, in seconds; the first ``skip`` do not count."""
    taken = []
    for call in calls:
        start = clock()
        call()
        taken.append(clock() - start)
    return statistics.median(taken[skip:])


def median_over(call: Callable[[str], object], texts: Iterable[str]) -> float:
    """Return the median of a call over different texts, in seconds; the first ones warm up.

    Processor time of the thread, for calls that neither wait nor have others work for them.
    """
    return seconds_each((partial(call, text) for text in texts), skip=20, clock=thread_time)


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def let_count(log: str, more: int = 3, patience: float = 30.0) -> None:
    """Wait until a guest has printed some further lines, so that it is truly at work."""
    path = Path(log)
    have = path.stat().st_size if path.exists() else 0
    end = perf_counter() + patience
    while not path.exists() or path.stat().st_size < have + more * len("tick 0000\n"):
        if perf_counter() > end:
            raise RuntimeError(f"{log}: the guest does not count")
        sleep(0.01)
