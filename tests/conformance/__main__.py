"""Writes docs/support-matrix.md from runs of the conformance suite.

    python tests/conformance              # all drivers that can run here, then the page
    python tests/conformance --from X.json [Y.json …]   # from reports that were kept

A driver that was not run keeps no column: the page only says what was seen. Real QEMU and
libvirtd need root. A Xen host's report is brought in with ``--from``: on it, in its control
domain, ``python -m pytest -q tests/conformance/test_xen.py --polyvisor-report=xen.json``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from polyvisor.support import FEATURES
from polyvisor.testing.report import Matrix, Outcome

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "support-matrix.md"

HEAD = """\
# What works where

What each driver claims, and what the [conformance suite](plugins.md) showed when it was held
against it. *yes: 7* means that the feature is claimed and that 7 tests needed it and passed;
*refuses* that a test found it refused, with the reason below. `python tests/conformance` wrote
this page; `polyvisor support` says the same of an open connection, and a run of the suite with
`--polyvisor-report=PATH` of any driver. `standin` is the driver for Xen over a stand-in for
libxl, and `sim+unix` the client of a polyvisord with the simulator. The suite was not run on
real Xen yet: `tests/xen` has tests of its own there, and what they saw is on [its page](xen.md).

"""


def run(folder: Path) -> list[Path]:
    """Run the suite for every first-party driver; return the reports."""
    path = folder / "matrix.json"
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "conformance")]
    command += ["-p", "no:cacheprovider", f"--polyvisor-report={path}"]
    done = subprocess.run(command, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit("a test failed: no page is written from that")
    return [path]


def page(matrix: Matrix) -> str:
    """Return the page."""
    columns = matrix.columns
    lines = ["| | " + " | ".join(f"`{one.target}`" for one in columns) + " |"]
    lines.append("| --- |" + " --- |" * len(columns))
    lines.append("| run against | " + " | ".join(one.ran_against for one in columns) + " |")
    for feature, words in FEATURES.items():
        cells = " | ".join(one.features[feature].verdict for one in columns)
        lines.append(f"| `{feature}`: {words} | {cells} |")
    for outcome in Outcome:
        cells = " | ".join(str(one.count(outcome)) for one in columns)
        lines.append(f"| tests {outcome} | {cells} |")
    lines += ["", "A test is skipped if the driver does not claim what it needs.", ""]
    lines += ["## Why not", ""]
    for one in columns:
        reasons: dict[str, list[str]] = {}
        for feature, evidence in one.features.items():
            if evidence.reason and not evidence.usable:
                reasons.setdefault(evidence.reason, []).append(f"`{feature}`")
        if reasons:
            lines += [f"`{one.target}`:", ""]
            lines += [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
            lines.append("")
    lines += ["## Which tests", ""]
    lines.append("The tests that need each feature, by the suite's own names:")
    lines.append("")
    for feature in FEATURES:
        names = sorted(
            {name.partition("[")[0] for one in columns for name in one.features[feature].passed}
        )
        if names:
            lines.append(f"- `{feature}`: " + ", ".join(f"`{name}`" for name in names))
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Run, or read; then write the page."""
    import json

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--from", dest="reports", nargs="+", type=Path, help="reports to read")
    chosen = parser.parse_args()
    matrix = Matrix()
    with tempfile.TemporaryDirectory() as folder:
        for path in chosen.reports or run(Path(folder)):
            matrix.merge(json.loads(path.read_text(encoding="utf-8")))
    PAGE.write_text(page(matrix), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
