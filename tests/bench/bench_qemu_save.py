"""Saving 2 GiB of memory that no two pages of are alike, beside dd into the same folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

from harness import Figures, Missing, Row, alternate, ours

__all__ = ["TITLE", "measure"]

TITLE = "Saving a QEMU guest of 2 GiB with random memory, beside dd"
MIB = "2048"
#: The highest ratio of ours to dd's: nine tenths of its rate.
MOST = 1 / 0.9
# The guest stands still, and its memory is filled from outside.
SPEC = """\
<domain type='qemu'>
  <name>large</name>
  <memory unit='MiB'>2048</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>
</domain>
"""


def measure(rounds: int) -> list[Row]:
    """Alternate ours and dd, each into a new file."""
    if shutil.which("qemu-system-x86_64") is None:
        raise Missing("QEMU is missing: apt install qemu-system-x86")
    if os.geteuid() != 0:
        raise Missing("only root can write into a guest's memory from outside")
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "large.xml").write_text(SPEC, encoding="utf-8")
        mine, theirs = alternate(rounds, ours("qemu_save_ours.py", name, MIB), lambda: _dd(folder))
    return [Row(what, mine[what], theirs[what], MOST, beside="dd") for what in theirs]


def _dd(folder: Path) -> Figures:
    target = folder / "dd"
    figures = {}
    for what, more in (("flushed", ()), ("bypassing the cache", ("oflag=direct",))):
        line = ["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={MIB}", "conv=fsync", *more]
        os.sync()
        begun = perf_counter()
        subprocess.run(line, check=True, capture_output=True, timeout=600)
        figures[what] = perf_counter() - begun
        target.unlink()
    return figures
