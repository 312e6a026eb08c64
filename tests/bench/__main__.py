"""Measures polyvisor beside its peers: ``python tests/bench [NAME…]``.

The tables go to the standard output and, with ``--write``, into docs/performance.md. The
exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import platform
import re
import sys
from pathlib import Path

from harness import Missing, table

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "performance.md"
MARKED = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)


def main() -> int:
    """Run the benchmarks; return the exit code."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="tox -e bench --", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often the sides alternate")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")

    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = f"\nMeasured on {day}, Python {platform.python_version()}, {platform.machine()}.\n"
    missed = False
    for name in arguments.names or names:
        benchmark = importlib.import_module(f"bench_{name}")
        try:
            rows = benchmark.measure(arguments.rounds)
        except Missing as missing:
            sys.stderr.write(f"{name}: left out: {missing}\n")
            continue
        part = f"\n## {benchmark.TITLE}\n\n{table(rows)}\n"
        sys.stdout.write(part)
        sys.stdout.flush()
        text += part
        missed |= any(row.met is False for row in rows)
    if arguments.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(MARKED.sub(lambda _: f"{text}\n", page), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
