"""Times a domain's life on QEMU through polyvisor: ``qemu_ours.py FOLDER ROUNDS``; prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from timing import let_count

import polyvisor

_T = TypeVar("_T")


def main(folder: str, rounds: int) -> None:
    """Print the medians of some rounds."""
    seen: dict[str, list[float]] = {}
    log, image = f"{folder}/tick.log", f"{folder}/image"
    spec = Path(folder, "tick.xml").read_text(encoding="utf-8")

    def timed(name: str, work: Callable[[], _T]) -> _T:
        begun = perf_counter()
        result = work()
        seen.setdefault(name, []).append(perf_counter() - begun)
        return result

    source = polyvisor.open(f"qemu:///session?root={folder}/a")
    other = polyvisor.open(f"qemu:///session?root={folder}/b")
    with source, other:
        for _ in range(rounds):
            domain = timed("define", lambda: source.domains.define(spec))
            timed("start", domain.start)
            let_count(log)
            timed("suspend", domain.suspend)
            timed("resume", domain.resume)
            timed("save", lambda domain=domain: domain.save(image))  # type: ignore[misc]
            timed("restore", lambda: source.domains.restore(image))
            let_count(log)
            moved = timed("live migration", lambda domain=domain: domain.migrate(other))  # type: ignore[misc]
            let_count(log)
            timed("destroy", moved.destroy)
            moved.undefine()
            for left in source.domains.list():
                left.undefine()
    sys.stdout.write(json.dumps({name: statistics.median(taken) for name, taken in seen.items()}))


main(sys.argv[1], int(sys.argv[2]))
