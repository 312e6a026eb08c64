"""SIGKILL at every step of every operation on simulated hosts; ``dying.py`` says how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("dying.py")

#: How many steps there are at least, by scenario of that program.
LEAST = {
    "Define": 10,
    "Redefine": 8,
    "Undefine": 15,
    "Start": 18,
    "Create": 18,
    "Destroy": 12,
    "Suspend": 10,
    "Save": 35,
    "Restore": 25,
    "ManagedSave": 35,
    "StartSaved": 25,
    "SnapshotCreate": 30,
    "SnapshotRevert": 30,
    "SnapshotDelete": 10,
    "Migrate": 60,
    "MigrateStopped": 60,
    "MigrateAway": 60,
    "KilledSource": 50,
    "KilledDestination": 50,
}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LEAST)
def test_killed_at_every_step(scenario: str, tmp_path: Path) -> None:
    """Nothing is lost, state and guest agree at once, one side runs it, the next command works."""
    done = subprocess.run(
        [sys.executable, PROGRAM, scenario, tmp_path],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) >= LEAST[scenario], done.stderr[-4000:]
