"""libvirt's own test data: Xen's configurations, both directions, and libxl's JSON."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "libxl_suites", Path(__file__).with_name("suites.py")
)
assert _spec is not None
assert _spec.loader is not None
suites = importlib.util.module_from_spec(_spec)
sys.modules["libxl_suites"] = suites
_spec.loader.exec_module(suites)

#: The least share of each suite that passes. Two cases of xl's reading do not: their XML is
#: one that upstream only writes from, by hand and not all that would be read.
SHARES = {"xlconfig to XML": 0.94}


@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.name)
def test_what_upstream_expects_comes_out(suite) -> None:
    """Each of upstream's cases gives upstream's result, or one that says the same."""
    found = [*suites.results(suite)]
    if not found:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
    failed = [result for result in found if not result.passed]
    assert 1 - len(failed) / len(found) >= SHARES.get(suite.name, 1.0), failed


@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.name)
def test_the_page_says_what_the_suites_say(suite) -> None:
    """docs/conformance.md has these very figures."""
    found = [*suites.results(suite)]
    if not found:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
    counts = Counter(result.outcome for result in found)
    share = sum(result.passed for result in found) / len(found)
    cells = (suite.name, len(found), counts["equal"], counts["same"], f"{share:.1%}")
    row = f"| {' | '.join(map(str, cells))} |"
    page = Path(__file__).parents[3] / "docs" / "conformance.md"
    assert row in page.read_text(encoding="utf-8").splitlines()


def test_most_is_equal_to_the_letter() -> None:
    """Configurations and XML are upstream's own text wherever upstream runs the case."""
    found = [result for suite in suites.SUITES for result in suites.results(suite)]
    if not found:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
    equal = sum(result.outcome == "equal" for result in found)
    assert equal / len(found) >= 0.95
