"""The documentation is true where it can be checked: hooks, errors, modules, features."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from polyvisor import errors, hookspecs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOOKS = [name for name in hookspecs.__all__ if name.startswith("polyvisor_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_signature(hook: str) -> None:
    """docs/hooks.md has a heading for each hook and below it the hook's very signature."""
    page = (DOCS / "hooks.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"\n## {hook}\n")
    section = section.partition("\n## ")[0]
    signature = inspect.signature(getattr(hookspecs, hook))
    documented = " ".join(section.replace("(\n", "(").replace("\n)", ")").split())
    text = str(signature).replace("'", "")
    assert f"def {hook}{text}: ..." in documented.replace("( ", "(")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_in_one_line_what_it_is_for(hook: str) -> None:
    """Each hook specification has a docstring of one line."""
    doc = inspect.getdoc(getattr(hookspecs, hook)) or ""
    assert doc.endswith(".")
    assert "\n" not in doc


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_has_a_test_of_its_own(hook: str) -> None:
    """tests/house/test_hooks.py has a test named after each hook."""
    source = (ROOT / "tests/house/test_hooks.py").read_text(encoding="utf-8")
    assert re.search(rf"^def test_{hook}\b", source, re.MULTILINE)


def test_hooks_that_are_gone_are_gone_from_the_page_too() -> None:
    """docs/hooks.md has no heading for a hook that does not exist."""
    page = (DOCS / "hooks.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (polyvisor_\w+)$", page, re.MULTILINE) == [
        name for name in vars(hookspecs) if name in HOOKS
    ]


def error_facts() -> ModuleType:
    """Import the module that writes the facts of docs/errors.md."""
    path = Path(__file__).with_name("error_facts.py")
    spec = importlib.util.spec_from_file_location("error_facts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_errors_are_documented_as_they_are() -> None:
    """docs/errors.md has the table and the facts that polyvisor.errors has."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    told = error_facts().filled_in(page)
    assert page == told, "run python tests/house/error_facts.py --update"


def test_each_error_code_has_a_section_that_says_when_and_what_to_do() -> None:
    """docs/errors.md has a heading for each code, in the tree's order, with facts and advice."""
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    start, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    codes = [kind.code for kind in error_facts().tree()]
    assert "\n<!-- facts: all -->\n" in start
    assert [section.partition("\n")[0] for section in sections] == [f"`{code}`" for code in codes]
    for code, section in zip(codes, sections, strict=True):
        assert f"\n<!-- facts: {code} -->\n" in section
        assert re.search(
            r"<!-- end -->\n\n\*\*When:\*\* [^\n]+.*\n\n\*\*What to do:\*\* [^\n]+",
            section,
            re.DOTALL,
        ), code


def test_error_codes_are_distinct() -> None:
    """No two errors share a code."""
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(codes) == len(set(codes))


def test_environment_variables_are_documented() -> None:
    """docs/configuration.md has every variable that core or plugins read, and no other."""
    sources = [*(ROOT / "core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    pattern = re.compile(r"\bPOLYVISOR_[A-Z]+\b")
    read = {word for path in sources for word in pattern.findall(path.read_text("utf-8"))}
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert set(pattern.findall(page)) == read


def test_every_public_module_is_in_the_reference() -> None:
    """docs/reference has each public module of the core, and no other.

    Save those that are commands (docs/cli.md), the rooms of checks and of normal forms, whose
    rules and steps their packages list, and the suite, whose tests docs/conformance.md tells.
    """
    reference = "".join(
        path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")
    )
    listed = set(re.findall(r"automodule:: (polyvisor[\w.]*)", reference))
    elsewhere = (
        r"polyvisor|polyvisor\.(cli|demo)(\..*)?|polyvisor\.model\.(check|normal)\..*"
        r"|polyvisor\.testing\.suite"
    )
    public = set()
    for path in (ROOT / "core").rglob("*.py"):
        parts = path.relative_to(ROOT / "core").with_suffix("").parts
        if not any(part.startswith("_") and part != "__init__" for part in parts):
            public.add(".".join(part for part in parts if part != "__init__"))
    assert {name for name in public if not re.fullmatch(elsewhere, name)} == listed


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link of a page outside docs leads to a file (Sphinx checks those inside)."""
    targets = re.findall(r"\]\(([^):]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]
