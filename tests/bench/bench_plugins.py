"""What plugins cost: finding fifty of them, asking hooks that nobody has, the suite's quick part.

Discovery is measured in processes of its own as the processor's time, of which the least counts:
what a plugin costs is work, whoever else uses the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from harness import Row

__all__ = ["TITLE", "measure"]

TITLE = "Plugins"
MANY = 50
CALLS = 20_000

PLUGIN = '''\
"""A plugin."""

from polyvisor.driver import DriverInfo
from polyvisor.hookspecs import hookimpl

polyvisor_api = 1


@hookimpl
def polyvisor_drivers():
    return [DriverInfo("x{number}", ("x{number}",), "A test", "polyvisor_x{number}.driver:Driver")]
'''
FIND = """\
from time import process_time
import polyvisor.driver
from polyvisor.plugins import Registry
start = process_time()
registry = Registry()
print(process_time() - start, len(registry.schemes))
"""


def measure(rounds: int) -> list[Row]:
    """Measure all three."""
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        without = min(find("")[0] for _ in range(rounds * 4))
        found = [find(folder) for _ in range(rounds * 4)]
        assert all(schemes > MANY for _, schemes in found)
    return [
        Row(f"{MANY} more plugins at start-up", min(found)[0] - without, most=0.010),
        Row("a hook that no plugin has, per call", hook(), most=5e-6),
        Row("the quick part of the suite on the simulator", suite(), most=60.0),
    ]


def install(folder: Path) -> None:
    """Put the plugins where an import finds them, compiled as an installation is."""
    for number in range(MANY):
        info = folder / f"polyvisor_x{number}-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"[polyvisor]\nx{number} = polyvisor_x{number}\n")
        package = folder / f"polyvisor_x{number}"
        package.mkdir()
        (package / "__init__.py").write_text(PLUGIN.replace("{number}", str(number)))
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)


def find(folder: str) -> tuple[float, int]:
    """Return how long a process takes to load all plugins, in seconds, and their schemes."""
    before = os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        env={**os.environ, "PYTHONPATH": f"{folder}:{before}"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, schemes = done.stdout.split()
    return float(seconds), int(schemes)


def hook() -> float:
    """Return what asking the registry costs where no plugin wants to be asked, in seconds."""
    from polyvisor.connection import registry
    from polyvisor.model import DomainSpec

    hooks, spec = registry(), DomainSpec(type="test", name="guest", memory=1 << 20)
    best = float("inf")
    for _ in range(5):
        start = perf_counter()
        for _ in range(CALLS):
            hooks.domain_starting("test:///default", spec)
        best = min(best, (perf_counter() - start) / CALLS)
    return best


def suite() -> float:
    """Return how long ``polyvisor plugins --check sim`` takes for the simulator, in seconds."""
    import json

    words = [sys.executable, "-m", "polyvisor", "plugins", "--check", "sim", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    stages = json.loads(done.stdout)
    return float(next(one["seconds"] for one in stages if one["stage"] == "suite"))
