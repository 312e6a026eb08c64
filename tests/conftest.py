"""What holds for every test: a home of its own, and real means real where that is demanded."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The machines that run this are slow and shared, so only bounds that a test states count.
# In CI the same examples every time: a red run is then about the change.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

_KEPT = frozenset(
    {
        "POLYVISOR_ARTIFACTS",
        "POLYVISOR_CORPORA",
        "POLYVISOR_DEBIAN",
        "POLYVISOR_LINUX",
        "POLYVISOR_REQUIRE_REAL",
        "POLYVISOR_XEN_DATA",
    }
)
_FOLDERS = {
    "HOME": "home",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "XDG_CACHE_HOME": "cache",
    "XDG_RUNTIME_DIR": "run",
}


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Hold a short-named empty folder in which the test's home and XDG folders are.

    Short, since the path of a unix socket has at most 107 bytes; so that no test reads
    or writes what belongs to the user who runs it.
    """
    root = Path(tempfile.mkdtemp(prefix="pv-"))
    for variable, name in _FOLDERS.items():
        folder = root / name
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))
    for variable in os.environ:
        if variable.startswith("POLYVISOR_") and variable not in _KEPT:
            monkeypatch.delenv(variable)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def standin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a folder with the stand-in for libxl, built; skips where it cannot be."""
    import importlib.util

    path = Path(__file__).parent / "plugins/libxl/standin/build.py"
    spec = importlib.util.spec_from_file_location("standin_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("standin")
    module.build(folder)
    return folder


@pytest.fixture
def standin(standin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process and those it starts find the stand-in; hold its folder."""
    monkeypatch.syspath_prepend(str(standin_folder))
    monkeypatch.setenv("PYTHONPATH", str(standin_folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(standin_folder / "cache"))
    monkeypatch.setattr("polyvisor.connection._registries", {})
    return standin_folder


def _must_be_real() -> bool:
    return os.environ.get("POLYVISOR_REQUIRE_REAL", "") not in ("", "0")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test marked ``real`` that skips, where ``POLYVISOR_REQUIRE_REAL=1`` is set.

    The conformance suite's own skips stay: they say that the driver does not claim what
    would be tested, not that something is missing here. So do those whose reason begins with
    ``this kernel``, of which nobody can install another.
    """
    report = yield
    if report.skipped and _must_be_real() and item.get_closest_marker("real"):
        where, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
        kernels = reason.removeprefix("Skipped: ").startswith("this kernel ")
        if "/polyvisor/testing/" not in where and not kernels:
            report.outcome = "failed"
            report.longrepr = f"POLYVISOR_REQUIRE_REAL is set, but the test skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module of real tests that skips as a whole, where that is demanded."""
    report = yield
    if (
        report.outcome == "skipped"
        and _must_be_real()
        and isinstance(collector, pytest.Module)
        and "pytest.mark.real" in collector.path.read_text(encoding="utf-8")
    ):
        report.outcome = "failed"
        report.longrepr = f"POLYVISOR_REQUIRE_REAL is set, but it skipped: {report.longrepr}"
    return report
