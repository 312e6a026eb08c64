"""Importing polyvisor is cheap and silent: it starts with what it needs and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "core"

# What costs more than a millisecond or so and what no public module needs to be imported.
HEAVY = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "email",
    "http.client",
    "importlib.metadata",
    "logging",
    "multiprocessing",
    "rich",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "unittest",
}
# These are made of pytest and of asyncio; they may import what they are made of.
MADE_OF_MORE = ("polyvisor.testing", "polyvisor.aio")

PROBE = """
import json, os, sys, threading
before = set(os.listdir("."))
__import__(sys.argv[1])
facts = {
    "modules": sorted(sys.modules),
    "threads": threading.active_count(),
    "files": sorted(set(os.listdir(".")) - before),
}
sys.__stdout__.write(json.dumps(facts))
"""


def public_modules() -> list[str]:
    """Return the dotted names of the core's public modules."""
    names = []
    for path in sorted((CORE / "polyvisor").rglob("*.py")):
        parts = path.relative_to(CORE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return names


@pytest.mark.parametrize("module", public_modules())
def test_importing_a_public_module_is_cheap_and_silent(module: str, tmp_path: Path) -> None:
    """It prints nothing, warns of nothing, starts and writes nothing, and loads little."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", PROBE, module],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert facts["threads"] == 1
    assert facts["files"] == []
    assert not [name for name in facts["modules"] if name.startswith("polyvisor_")]
    if not module.startswith(MADE_OF_MORE):
        assert not HEAVY & set(facts["modules"])
