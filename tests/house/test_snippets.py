"""What the documentation tells a reader to type works, and prints what the page shows.

Blocks of a page are run in order in one empty folder that has a copy of ``examples``:

- ``console``: what stands behind ``$`` is run by bash and must exit with 0; if lines
  follow, it must print them, where ``...`` stands for anything.
- ``python``: run as a script.
- ``toml``: read; written to ``polyvisor.toml`` if its first line is a comment with that name.

A comment ``<!-- test: real -->`` on the line before a block says that it and all blocks
after it need QEMU and root, ``<!-- test: no -->`` that the block is not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    name
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
    if re.search(r"^```(?:console|python|toml)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    for name in [str(path.relative_to(ROOT))]
]
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<mark>\w+) -->\n)?```(?P<kind>console|python|toml)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    """A block of a page, and where it stands."""

    kind: str
    text: str
    where: str


def blocks(page: str, *, real: bool) -> list[Block]:
    """Return the blocks to run: up to the first that needs the real thing, or all."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        if match["mark"] == "real" and not real:
            break
        if match["mark"] != "no":
            line = text.count("\n", 0, match.start("text")) + 1
            found.append(Block(match["kind"], match["text"], f"{page}:{line}"))
    return found


def needs_real(page: str) -> bool:
    """Say whether a page has blocks for the real thing."""
    return "<!-- test: real -->" in (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def desk(own_home: Path) -> Path:
    """Hold a folder with nothing in it but a copy of the examples."""
    folder = own_home / "desk"
    folder.mkdir()
    if (ROOT / "examples").is_dir():
        shutil.copytree(
            ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("*.log")
        )
    return folder


def run(command: list[str], folder: Path, where: str) -> str:
    """Run a command as the reader would, and return what it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{where}: {command[-1]}\nexited {done.returncode}:\n{done.stdout}"
    return done.stdout


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that the page shows."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = re.sub(r"\\\n\s*", " ", part).partition("\n")
        found.append((command, shown))
    return found


def is_like(shown: str, printed: str) -> bool:
    """Compare output, where ``...`` in what is shown stands for anything."""
    lines = [" ".join(line.split()) for line in shown.strip().splitlines()]
    pattern = "\n".join(re.escape(line).replace(r"\.\.\.", ".*") for line in lines)
    text = "\n".join(" ".join(line.split()) for line in printed.strip().splitlines())
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def carry_out(page: str, folder: Path, *, real: bool) -> None:
    """Do what a page says."""
    for block in blocks(page, real=real):
        if block.kind == "toml":
            tomllib.loads(block.text)
            if block.text.startswith("# polyvisor.toml"):
                (folder / "polyvisor.toml").write_text(block.text, encoding="utf-8")
        elif block.kind == "python":
            script = f"from __future__ import annotations\n{block.text}"
            run([sys.executable, "-W", "error", "-c", script], folder, block.where)
        else:
            for command, shown in commands(block.text):
                printed = run(["bash", "-euo", "pipefail", "-c", command], folder, block.where)
                assert not shown.strip() or is_like(shown, printed), (
                    f"{block.where}: {command}\nthe page shows:\n{shown}\nprinted:\n{printed}"
                )


# `tox -e docs` runs all of them; of the quick tests only what a newcomer types first is one.
@pytest.mark.parametrize(
    "page",
    [page if page == "README.md" else pytest.param(page, marks=pytest.mark.slow) for page in PAGES],
)
def test_what_a_page_says_works(page: str, desk: Path) -> None:
    """Every block that needs no real hypervisor runs as shown."""
    carry_out(page, desk, real=False)


@pytest.mark.real
@pytest.mark.parametrize("page", [page for page in PAGES if needs_real(page)])
def test_what_a_page_says_works_on_real_qemu(page: str, desk: Path) -> None:
    """The whole page runs as shown, on QEMU where it says so."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    carry_out(page, desk, real=True)
