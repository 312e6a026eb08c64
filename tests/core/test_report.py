"""The support matrix says what the suite's tests showed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor.errors import InvalidArgument
from polyvisor.support import FEATURES
from polyvisor.testing.report import Matrix, Outcome

TESTS = """
import pytest
from polyvisor.model import DomainSpec
from polyvisor.testing import Target, requires
from polyvisor.testing.suite import TestSupport, domain, host, leaves_nothing_behind  # noqa
from polyvisor.testing.suite import polyvisor_requirements  # noqa

GUEST = "<domain type='test'><name>{}</name><memory>4096</memory><os><type>hvm</type></os></domain>"

@pytest.fixture
def target():
    return Target(uri="test:///default", spec=lambda name: DomainSpec.from_xml(GUEST.format(name)),
                  shared=False, against="simulator")

@requires("events")
def test_good(host):
    assert host

@requires("secrets")
def test_bad(host):
    assert not host

@requires("storage")
def test_bad_when_cleared_away(host, request):
    request.addfinalizer(lambda: 1 / 0)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_writes_what_it_saw(tmp_path: Path, workers: str) -> None:
    """Claims, outcomes and refusals are in all three forms, from one process or several."""
    (tmp_path / "test_mine.py").write_text(TESTS)
    options = [f"--polyvisor-report={tmp_path}/m.{form}" for form in ("json", "html", "txt")]
    words = ["-q", "-n", workers, "-p", "no:cacheprovider", "-c", "/dev/null"]
    words += ["--rootdir", str(tmp_path), "--polyvisor-report=-", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path / "test_mine.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    data = json.loads((tmp_path / "m.json").read_text())
    (target,) = data["targets"]
    assert (target["target"], target["against"]) == ("test", "simulator")
    features = target["features"]
    assert set(features) == set(FEATURES)
    assert features["events"]["passed"] == ["test_good"]
    assert features["secrets"]["failed"] == ["test_bad"]
    assert features["storage"]["failed"] == ["test_bad_when_cleared_away"]
    assert features["storage"]["passed"] == []
    assert features["migration.live"]["refused"]
    text = (tmp_path / "m.txt").read_text()
    assert text in done.stdout
    lines = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in text.splitlines()}
    assert lines["events"] == "yes: 1"
    assert lines["secrets"] == "FAILED: 1"
    assert lines["migration.live"] == "no, refuses"
    assert lines["domains.stats"] == "yes, untested"
    page = (tmp_path / "m.html").read_text()
    assert "passed: test_good" in page
    assert "guests of test:/// live in this process alone" in page


def test_reports_of_several_runs_are_one_matrix() -> None:
    """Reports are read as they were written; of one target the later counts."""
    note = {
        "target": "mine",
        "plugin": "mine",
        "against": "real",
        "via": "a daemon",
        "hypervisor": "<Mine>",
        "version": "1",
        "support": {
            feature: {"status": "supported", "reason": "", "since": None, "usable": True}
            for feature in FEATURES
        },
        "needs": ["events", "events"],
        "refuses": None,
    }
    first, second, both = Matrix(), Matrix(), Matrix()
    first.add(note, "test_one", Outcome.PASSED)
    second.add({**note, "target": "other"}, "test_one", Outcome.SKIPPED)
    for one in (first, second, first):
        both.merge(json.loads(json.dumps(one.to_data())))
    assert [one.target for one in both.columns] == ["mine", "other"]
    assert both.columns[0].features["events"].verdict == "yes: 1"
    assert both.columns[1].features["events"].verdict == "yes, untested"
    assert "real &lt;Mine&gt; 1" in both.html()
    with pytest.raises(InvalidArgument):
        both.merge({"format": "something else"})
