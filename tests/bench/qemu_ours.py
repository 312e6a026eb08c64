"""Times a domain's life on QEMU through polyvisor: ``qemu_ours.py FOLDER ROUNDS``; prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, sleep
from typing import TypeVar

from timing import let_count

import polyvisor
from polyvisor_qemu.qmp import Gone, Monitor

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
        seen["downtime"] = [downtime(source, other, Path(folder), spec) for _ in range(rounds)]
    sys.stdout.write(json.dumps({name: statistics.median(taken) for name, taken in seen.items()}))


def downtime(
    source: polyvisor.Connection, other: polyvisor.Connection, folder: Path, spec: str
) -> float:
    """Migrate once more, and return how long the guest stood still, by the clocks of both QEMUs."""
    domain = source.domains.create(spec)
    let_count(f"{folder}/tick.log")
    stopped, resumed = (
        Listener(folder / side, event) for side, event in (("a", "STOP"), ("b", "RESUME"))
    )
    moved = domain.migrate(other)
    stopped.join()
    resumed.join()
    let_count(f"{folder}/tick.log")
    moved.destroy()
    for left in other.domains.list():
        left.undefine()
    if not (stopped.time and resumed.time):
        raise RuntimeError("an event came before anybody listened: the machine is too busy")
    return resumed.time - stopped.time


class Listener(threading.Thread):
    """Waits for an event of the one QEMU of a host, which need not be there yet."""

    def __init__(self, host: Path, event: str) -> None:
        super().__init__()
        self.time = 0.0
        self._host = host
        self._event = event
        self.start()

    def run(self) -> None:
        """Note when it came."""
        with self._monitor() as monitor:
            while (event := monitor.next_event(30)) is not None:
                if event["event"] == self._event:
                    stamp = event["timestamp"]
                    self.time = stamp["seconds"] + stamp["microseconds"] / 1e6
                    return
        raise RuntimeError(f"{self._event} did not come")

    def _monitor(self) -> Monitor:
        deadline = perf_counter() + 30
        while perf_counter() < deadline:
            for socket in self._host.rglob("events"):
                # There is a moment between its making and its first listening.
                with suppress(Gone):
                    return Monitor(str(socket))
            sleep(0.002)
        raise RuntimeError(f"no QEMU of {self._host} came")


main(sys.argv[1], int(sys.argv[2]))
