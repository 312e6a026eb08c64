"""``polyvisor new-plugin`` writes a plugin that is found and passes its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor.cli import main


def run(folder: Path, *words: str, path: Path | None = None) -> str:
    """Run a module of Python's in a folder and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": str(path or "")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Return the folder of a plugin, installed into ``site`` beside it."""
    assert main(["new-plugin", "mine2", "--into", str(tmp_path)]) == 0
    pip = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run(tmp_path, *pip, "--target", "site", "./polyvisor-mine2")
    return tmp_path / "polyvisor-mine2"


def test_it_is_complete_and_found(made: Path) -> None:
    """Nothing of the template is left in it, and polyvisor lists it as usable."""
    for path in made.rglob("*"):
        assert "NAME" not in path.name
        assert path.suffix != ".tmpl"
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "@NAME@" not in text
            assert "@CLASS@" not in text
    plugins = json.loads(
        run(made.parent, "polyvisor", "plugins", "--json", path=made.parent / "site")
    )
    found = next(one for one in plugins if one["name"] == "mine2")
    assert found["distribution"] == "polyvisor-mine2"
    assert (found["schemes"], found["usable"], found["faults"]) == (["mine2"], True, [])


@pytest.mark.slow
def test_it_passes_its_own_tests(made: Path) -> None:
    """The suite that it adopts passes, and not by leaving everything out."""
    out = run(made, "pytest", "-q", "-p", "no:cacheprovider", path=made.parent / "site")
    words = out.splitlines()[-1].split()
    assert int(words[0]) > 60, out
    assert words[1] == "passed,", out


@pytest.mark.parametrize("name", ["", "Mine", "my-own", "1st", "a/b", "..", "é", "a" * 31, "a\n"])
def test_impossible_names(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that cannot be a scheme and a package is refused with words."""
    assert main(["new-plugin", "--into", str(tmp_path), "--", name]) == 1
    assert "cannot be the name of a plugin" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sim", "test", "libxl"])
def test_names_that_are_taken(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name or scheme of an installed plugin is refused."""
    assert main(["new-plugin", name, "--into", str(tmp_path)]) == 1
    assert f"has {name!r} already" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that exists is left as it is, even an empty one."""
    (tmp_path / "polyvisor-mine2").mkdir()
    assert main(["new-plugin", "mine2", "--into", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert not list((tmp_path / "polyvisor-mine2").iterdir())


def test_what_cannot_be_written_whole_is_not_left(tmp_path: Path) -> None:
    """Where files cannot grow, the command fails in one line and leaves no folder."""
    words = [sys.executable, "-m", "polyvisor", "new-plugin", "fresh", "--into", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
