"""Runs a fuzz target: ``python tests/fuzz TARGET [--seconds N] [FILE…]``.

With FILEs it feeds just those to the target. What the target does not take is written to the
folder ``--found`` and named; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
import tempfile
import traceback
from pathlib import Path

import harness

#: Packages of plugins, whose code leads the way as the core's does.
PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="tox -e fuzz --", description=__doc__)
    parser.add_argument("target", choices=harness.names())
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--plain", action="store_true", help="do without atheris")
    arguments = parser.parse_args()

    guided = not arguments.plain and not arguments.files
    if guided:
        with contextlib.suppress(ImportError):
            import atheris

            plugins = (path.parent.name for path in PLUGINS.glob("*/__init__.py"))
            with atheris.instrument_imports(include=["polyvisor", *plugins]):
                wanted = harness.target(arguments.target)
            return _led_by_coverage(wanted, arguments)
    wanted = harness.target(arguments.target)
    if arguments.files:
        for path in arguments.files:
            wanted.one(path.read_bytes())
        return 0
    count, crash = harness.hunt(wanted, seconds=arguments.seconds, seed=arguments.seed)
    if crash is None:
        print(f"{wanted.name}: {count} inputs taken in {arguments.seconds:g} s")
        return 0
    path = arguments.found / f"{wanted.name}-{hashlib.sha256(crash.data).hexdigest()[:16]}"
    path.write_bytes(crash.data)
    traceback.print_exception(crash.error)
    print(f"{wanted.name}: input {count} was not taken; it is in {path}")
    return 1


def _led_by_coverage(wanted: harness.Target, arguments: argparse.Namespace) -> int:
    import atheris

    with tempfile.TemporaryDirectory(prefix="pv-fuzz-") as folder:
        for number, seed in enumerate(wanted.seeds):
            Path(folder, f"{number:05}").write_bytes(seed)
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={max(1, int(arguments.seconds))}",
                f"-artifact_prefix={arguments.found}/{wanted.name}-",
                f"-seed={arguments.seed + 1}",
                "-timeout=20",
                "-rss_limit_mb=2048",
                "-verbosity=0",
                "-print_final_stats=1",
                folder,
            ],
            wanted.one,
        )
        atheris.Fuzz()  # It ends the process: with 0 when time is up, else with its own code.
    return 0


if __name__ == "__main__":
    sys.exit(main())
