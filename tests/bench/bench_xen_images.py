"""Save images of Xen beside xen's own tools: verifying and converting a stream of 1 GiB."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness import Missing, Row, alternate, child, ours

__all__ = ["TITLE", "measure"]

TITLE = "Streams of Xen, 1 GiB in the page cache, beside xen's verify-stream-v2 and its converter"
XEN = Path("/usr/lib/xen-4.17")
#: Times as fast as xen's, at least.
TARGETS = {"verify, file": 20.0, "verify, pipe": 4.0, "convert, into a pipe": 5.0}


def measure(rounds: int) -> list[Row]:
    """Alternate ours and xen's, each in a process of its own; timed is the work alone."""
    if not (XEN / "bin" / "convert-legacy-stream").exists():
        raise Missing("xen's tools are missing: apt install xen-utils-4.17")
    with tempfile.TemporaryDirectory(prefix="pv-", dir="/var/tmp") as folder:
        ours("xen_streams.py", folder)()
        mine, theirs = alternate(
            rounds,
            ours("xen_ours.py", folder),
            lambda: child(sys.executable, "peers/xen_tools.py", folder, str(XEN)),
        )
    rows = [Row(what, mine[what], theirs[what], 1 / least) for what, least in TARGETS.items()]
    rows.append(
        Row("memory to verify it", mine["bytes"], theirs["bytes"], unit="bytes", beside="xen")
    )
    return rows
