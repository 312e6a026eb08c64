"""Whatever reads bytes from outside takes any bytes: a short bounded run of each fuzz target."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

_spec = importlib.util.spec_from_file_location("fuzz_harness", HERE / "harness.py")
assert _spec is not None
assert _spec.loader is not None
harness = importlib.util.module_from_spec(_spec)
sys.modules["fuzz_harness"] = harness
_spec.loader.exec_module(harness)


@pytest.mark.parametrize("name", harness.names())
def test_seeds_and_their_mutations_are_taken(name: str) -> None:
    """Hundreds of inputs near to real ones are read or refused, and nothing else happens."""
    wanted = harness.target(name)
    assert wanted.seeds
    few = harness.attrs.evolve(wanted, seeds=wanted.seeds[:: max(1, len(wanted.seeds) // 100)])
    count, crash = harness.hunt(few, seconds=10, runs=500)
    assert count > 10
    if crash is not None:
        raise AssertionError(f"{name} does not take {crash.data!r}") from crash.error


@pytest.mark.parametrize("name", harness.names())
def test_atheris_finds_nothing_at_once(name: str, tmp_path: Path) -> None:
    """Led by coverage, a second finds no input that the target does not take."""
    pytest.importorskip("atheris", reason="atheris is not installed: `tox -e fuzz` has it")
    done = subprocess.run(
        [sys.executable, str(HERE), name, "--seconds", "1", "--found", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "stat::number_of_executed_units" in done.stderr


def test_what_a_target_does_not_take_is_kept(tmp_path: Path) -> None:
    """The input of a crash comes back with the error, so that it can be looked into."""

    def one(data: bytes) -> None:
        if b"\0" in data:
            raise ValueError("a NUL")

    wanted = harness.Target("toy", one, (b"abc" * 10,))
    count, crash = harness.hunt(wanted, seconds=20, runs=100_000)
    assert crash is not None
    assert count < 100_000
    assert b"\0" in crash.data
    assert "a NUL" in str(crash.error)
