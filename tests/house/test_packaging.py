"""The distribution has everything in it, and what sets a machine up agrees with the README."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py"))


@pytest.mark.parametrize("package", PLUGINS)
def test_a_plugin_is_packaged_registered_and_typed(package: str) -> None:
    """Each plugin has its entry point, its extra, its place in the wheel and its types."""
    name = package.removeprefix("polyvisor_")
    assert PROJECT["project"]["entry-points"]["polyvisor"][name] == package
    assert name in PROJECT["project"]["optional-dependencies"]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert f"plugins/{package}" in wheel
    assert package in PROJECT["tool"]["mypy"]["packages"]
    assert (ROOT / "plugins" / package / "py.typed").exists()


def test_what_is_installed_is_what_is_declared() -> None:
    """The installed distribution announces the plugins and the command that it declares."""
    declared = {
        (group, name)
        for group, points in PROJECT["project"]["entry-points"].items()
        for name in points
    } | {("console_scripts", name) for name in PROJECT["project"]["scripts"]}
    installed = {(point.group, point.name) for point in distribution("polyvisor").entry_points}
    assert installed == declared


def test_python_versions_agree() -> None:
    """pyproject.toml, its classifiers, tox.ini and ruff name the same Python versions."""
    classified = {
        found[1]
        for word in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", word))
    }
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    tested = {f"3.{minor}" for minor in re.findall(r"\bpy3(\d+)\b", tox)}
    assert classified == tested
    oldest = min(classified, key=lambda version: int(version.partition(".")[2]))
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """What .ci/run ends with is what the README tells a newcomer to run."""
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("a source distribution has no .ci")
    assert os.access(script, os.X_OK)
    last = script.read_text(encoding="utf-8").strip().splitlines()[-1]
    command = last.removesuffix('"$@"').strip()
    assert f"&& {command}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_tool_is_pinned() -> None:
    """constraints.txt has a version of everything that tox.ini and the extras name."""
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    named = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        named += extra
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for block in re.findall(r"^deps =\n((?:    \S+\n)+)", tox, re.MULTILINE):
        named += block.split()
    wanted = {re.split(r"[<>=\[]", name)[0].lower() for name in named}
    assert wanted <= pinned
