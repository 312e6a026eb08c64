"""What must not stand in the repository, and what every file of it has."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 600

# Written with brackets so that they do not match themselves.
MACHINE = re.compile(
    r"p[y]pi[.]org|python[h]osted|[a-z]*[.]debian[.]org/debian|regis[t]ry[.]npm"
    r"|/w[o]rk/|/f[a]rm/|/ro[o]t/(?:venv|notes|lab)|artifact[r]egistry"
)
UNFINISHED = re.compile(
    r"\b(?:TO[D]O|FIX[M]E|XX[X]|NotImplemented[E]rror|pytest[.]mark[.]xf[a]il)\b"
)


def tracked() -> list[Path]:
    """Return the files under version control, or all files of a source distribution."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        folders = ("core", "plugins", "tests", "docs", "contrib", "examples")
        return [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file()]
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]
# The command line and the demo are used as commands; their modules are nobody's API.
COMMANDS = (ROOT / "core/polyvisor/cli", ROOT / "core/polyvisor/demo")
PUBLIC = [
    path
    for top in ("core", "plugins")
    for path in PYTHON
    if path.is_relative_to(ROOT / top)
    and path.parent not in COMMANDS
    and not any(
        part.startswith("_") and part != "__init__.py"
        for part in path.relative_to(ROOT / top).parts
    )
]


def matches(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return "file:line: text" for each line in which ``pattern`` occurs."""
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def test_nothing_is_bound_to_one_machine() -> None:
    """No path of a machine that this was written on, no host of a package registry."""
    assert not matches(MACHINE, FILES)


def test_nothing_is_left_unfinished() -> None:
    """No mark of work to be done stands in the code: it is done, or an issue."""
    assert not matches(UNFINISHED, PYTHON)


def test_every_file_is_a_room() -> None:
    """No Python file is longer than a reader reads at once."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in PYTHON
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert not long


def test_every_room_says_what_it_is() -> None:
    """Each Python file that is not empty begins with a docstring, and none is called utils."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in PYTHON
        if path.stem in ("utils", "util", "helpers", "misc", "common")
        or (
            (tree := ast.parse(path.read_text(encoding="utf-8"))).body
            and ast.get_docstring(tree) is None
        )
    ]
    assert not wrong


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_public_module_lists_its_names(path: Path) -> None:
    """``__all__`` stands in every public module, in order and without repetition."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and node.value is not None
        and any(
            isinstance(name, ast.Name) and name.id == "__all__"
            for name in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
    ]
    assert len(lists) == 1, f"{path.relative_to(ROOT)} needs one __all__"
    names = [node.value for node in ast.walk(lists[0]) if isinstance(node, ast.Constant)]
    assert len(names) == len(set(names))


def test_the_change_log_has_a_place_for_fragments() -> None:
    """Each fragment's name says its issue and its kind, so that towncrier finds it."""
    name = re.compile(r"(?:\d+|\+[\w-]+)\.(?:breaking|deprecation|change|fix)(?:\.\d+)?\.md")
    fragments = [path for path in FILES if path.parent == ROOT / "changelog.d"]
    wrong = [
        path.name
        for path in fragments
        if path.name != "README.md" and not name.fullmatch(path.name)
    ]
    assert fragments
    assert not wrong
