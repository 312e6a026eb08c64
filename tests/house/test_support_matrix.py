"""docs/support-matrix.md is not out of date, as far as that can be told without running all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import polyvisor
from polyvisor.support import FEATURES
from polyvisor.testing import suite

PAGE = (Path(__file__).parents[2] / "docs" / "support-matrix.md").read_text(encoding="utf-8")
AGAIN = "run 'python tests/conformance' and commit the page"


def cells(line: str) -> list[str]:
    """Return the cells of a table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


ROWS = [cells(line) for line in PAGE.splitlines() if line.startswith("|")]


def test_every_feature_has_its_row() -> None:
    """The rows are the features, in their order, in their words."""
    found = [row[0] for row in ROWS if row[0].startswith("`")]
    assert found == [f"`{name}`: {words}" for name, words in FEATURES.items()], AGAIN


@pytest.mark.parametrize("target", ["sim", "test"])
def test_a_driver_claims_what_the_page_says(target: str, tmp_path: Path) -> None:
    """What can be opened anywhere still has the support table that the page shows."""
    column = ROWS[0].index(f"`{target}`")
    uri = f"sim:///a?root={tmp_path}" if target == "sim" else "test:///default"
    with polyvisor.open(uri) as host:
        claimed = {feature for feature, answer in host.support.items() if answer.usable}
    shown = {
        row[0].split("`")[1]
        for row in ROWS
        if row[0].startswith("`") and row[column].startswith("yes")
    }
    assert shown == claimed, AGAIN


def test_nothing_failed() -> None:
    """A page is only written from runs without failures."""
    assert "FAILED" not in PAGE
    assert all(cell == "0" for row in ROWS if row[0] == "tests failed" for cell in row[1:])


def test_the_tests_named_exist() -> None:
    """Each test that is given as evidence is one of the suite's."""
    named = set(re.findall(r"`(Test\w+)\.(test_\w+)`", PAGE))
    assert len(named) > 50
    gone = [
        f"{owner}.{name}"
        for owner, name in sorted(named)
        if not hasattr(getattr(suite, owner, None), name)
    ]
    assert not gone, AGAIN
