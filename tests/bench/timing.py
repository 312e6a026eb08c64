"""How a call is timed: medians of single calls, the first ones left out; or the least of many.

Also imported by the peers, which run under the system's Python: standard library only.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import perf_counter, sleep, thread_time

__all__ = [
    "least_seconds",
    "let_count",
    "median_over",
    "median_seconds",
    "resident_bytes",
    "seconds_each",
    "seconds_in_all",
    "seconds_together",
]

#: For how long the least of many calls is looked for.
SECONDS = 0.4


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


def least_seconds(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes: the least of many blocks of ten.

    What else the machine does can only add to it, and does so to either side by chance.
    """
    for _ in range(30):
        call()
    least, begun = 1.0, perf_counter()
    while (start := perf_counter()) - begun < SECONDS:
        for _ in range(10):
            call()
        least = min(least, (perf_counter() - start) / 10)
    return least


def seconds_together(call: Callable[[], object], threads: int = 4) -> float:
    """Return the seconds for each call when several threads call at once."""
    counts = [0] * threads
    end = perf_counter() + SECONDS

    def run(index: int) -> None:
        while perf_counter() < end:
            call()
            counts[index] += 1

    running = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return SECONDS / sum(counts)


def seconds_in_all(call: Callable[[], object], count: int = 50) -> float:
    """Return the seconds for each of some calls, all of them counted."""
    begun = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - begun) / count


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
