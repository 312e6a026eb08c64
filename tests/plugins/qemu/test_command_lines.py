"""libvirt's own command lines for QEMU: how many are ours, and whether real QEMU starts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


# The machines' ports may be somebody else's on this host. Names are looked up only where there
# is an address beyond 127.0.0.1.
OWN_NETWORK = (
    *("unshare", "--net", "sh", "-c"),
    'ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@"',
    "sh",
)


def measured(*words: str) -> str:
    """Run the measurement and return what it says; skip without libvirt's data."""
    done = subprocess.run(
        [*OWN_NETWORK, sys.executable, str(ROOT / "tests" / "corpora"), *words],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "corpora")},
    )
    if done.returncode == 2:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


COUNT = """
from collections import Counter
from commandlines import command_lines, compared
from data import corpora
if corpora() is None:
    raise SystemExit(2)
print(Counter((one.case.architecture, one.outcome) for one in map(compared, command_lines())))
"""


def test_command_lines_are_libvirts() -> None:
    """Most of upstream's command lines for the latest QEMU are ours, option by option."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "corpora")},
    )
    if done.returncode == 2:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA")
    assert done.returncode == 0, done.stderr
    counts = {
        (arch, outcome): int(count)
        for arch, outcome, count in re.findall(r"'(\w+)', '(\w+)'\): (\d+)", done.stdout)
    }
    for arch, least in (("x86_64", 0.9), ("aarch64", 0.6)):
        total = sum(count for (name, _), count in counts.items() if name == arch)
        assert counts[arch, "equal"] >= least * total, counts


@pytest.mark.real
@pytest.mark.slow
def test_machines_start() -> None:
    """Real QEMU starts every machine but those that the page lists with its reasons."""
    measured("--start", "--check")
