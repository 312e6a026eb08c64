"""What the benchmarks share: rows with a target, children that alternate, the table.

A benchmark is a module ``bench_NAME.py`` in this folder with

- ``TITLE``: heading of its table;
- ``measure(rounds: int) -> list[Row]``: alternates ours and the peer's ``rounds`` times and
  gives medians; raises :class:`Missing` if the peer is not installed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = ["Missing", "Row", "alternate", "ours", "peer", "table"]

HERE = Path(__file__).parent
#: Where Debian's python3-libvirt is importable.
SYSTEM_PYTHON = "/usr/bin/python3"

Figures = Mapping[str, float]


class Missing(Exception):
    """What a benchmark compares with is not installed; the message says how to install it."""


@attrs.frozen
class Row:
    """One comparison.

    Attributes:
        what: the operation.
        ours: our median, in seconds, or in bytes if ``unit`` is ``"bytes"``.
        peer: the peer's, or ``None`` where only a bound is stated.
        most: the target: the highest ratio of ours to the peer's, or, without a peer, the
            highest figure itself; ``None`` if no target is set.
        unit: ``"seconds"`` or ``"bytes"``.
        beside: what the peer is, where a table has several.
    """

    what: str
    ours: float
    peer: float | None = None
    most: float | None = None
    unit: str = "seconds"
    beside: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return None if self.peer is None else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` if there is none."""
        if self.most is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.most


def child(python: str, script: str, *arguments: str) -> Figures:
    """Run a script of this folder in a process of its own; it prints figures as JSON."""
    done = subprocess.run(
        [python, str(HERE / script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout)
    return figures


def ours(script: str, *arguments: str) -> Callable[[], Figures]:
    """Return what runs a script of this folder under the Python that has polyvisor."""
    return lambda: child(sys.executable, script, *arguments)


def peer(script: str, *arguments: str) -> Callable[[], Figures]:
    """Return what runs a script of this folder under the Python that has libvirt's binding.

    Raises:
        Missing: it is not installed.
    """
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", "import libvirt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing("libvirt's Python binding is missing: apt install python3-libvirt") from error
    return lambda: child(SYSTEM_PYTHON, script, *arguments)


def alternate(rounds: int, *sides: Callable[[], Figures]) -> list[dict[str, float]]:
    """Let the sides measure in turn; return the medians of each."""
    seen: list[list[Figures]] = [[] for _ in sides]
    for number in range(rounds):
        # Every other round backwards, so that none always has the warm machine.
        for index, side in list(enumerate(sides))[:: 1 if number % 2 == 0 else -1]:
            seen[index].append(side())
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    return [
        {key: statistics.median(figures[key] for figures in side) for key in side[0]}
        for side in seen
    ]


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| | polyvisor | peer | ratio | target | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2g} ×"
        target = "" if row.most is None else "≤ " + _target(row)
        verdict = {None: "", True: "met", False: "**missed**"}[row.met]
        other = "" if row.peer is None else f"{_amount(row.peer, row.unit)} {row.beside}".strip()
        lines.append(
            f"| {row.what} | {_amount(row.ours, row.unit)} | {other} "
            f"| {ratio} | {target} | {verdict} |"
        )
    return "\n".join(lines)


def _target(row: Row) -> str:
    assert row.most is not None
    return _amount(row.most, row.unit) if row.peer is None else f"{row.most:.2g} ×"


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1024:.3g} KiB"
    for factor, word in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {word}"
    return f"{value * 1e6:.2g} µs"
