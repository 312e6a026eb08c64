"""Gathers what the suite's tests show, in the process that runs them or over xdist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.testing.report import Matrix, Outcome

if TYPE_CHECKING:
    from polyvisor.testing._target import Target

__all__ = ["Reporter"]

#: What errors begin with on hosts that a run has made for itself.
_ROOT = re.compile(r"\S+:///\S*\broot=\S+: ")
#: Under this name a test's report carries what its target is.
_PROPERTY = "polyvisor_target"


class Reporter:
    """A plugin of pytest's for one run.

    Args:
        config: pytest's.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._paths: list[str] = config.getoption("--polyvisor-report")
        self._worker = hasattr(config, "workerinput")
        self._facts: dict[str, dict[str, Any]] = {}
        self._matrix = Matrix()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """Note what a test of the suite runs against, once its target is there."""
        try:
            return (yield)
        finally:
            arguments = getattr(item, "funcargs", {})
            target = arguments.get("target")
            if target is not None:
                note = {**self._about(item, target), **_evidence(item)}
                item.user_properties.append((_PROPERTY, note))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Have the summary name each error, where several came while clearing away."""
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        crash = getattr(report.longrepr, "reprcrash", None)
        if isinstance(error, BaseExceptionGroup) and crash is not None:
            crash.message = "; ".join(_said_by(error))
        return report

    def _about(self, item: pytest.Item, target: Target) -> dict[str, Any]:
        """Return the target's facts; asked once for each module, on each worker."""
        module = item.nodeid.partition("::")[0]
        if module not in self._facts:
            self._facts[module] = _facts(target)
        return self._facts[module]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count an outcome; with xdist this is called where the reports are put together."""
        if self._worker:
            return
        note = dict(report.user_properties).get(_PROPERTY)
        if not isinstance(note, dict):
            return
        if report.when == "call" or (report.when == "setup" and not report.passed):
            outcome = Outcome(report.outcome)
        elif report.when == "teardown" and report.failed:
            outcome = Outcome.FAILED
        else:
            return
        name = report.nodeid.partition("::")[2].replace("::", ".")
        self._matrix.add(note, name, outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write and print the report."""
        if self._worker:
            return
        for path in self._paths:
            if path == "-":
                terminalreporter.write_sep("=", "support matrix")
                terminalreporter.write(self._matrix.text())
            else:
                self._matrix.write(path)
                terminalreporter.write_line(f"support matrix written to {path}")


def _evidence(item: pytest.Item) -> dict[str, Any]:
    """Return the features that a test is evidence for: those it needs, or that it finds refused."""
    needed = [
        str(feature)
        for marker in item.iter_markers("polyvisor_requires")
        for feature in marker.args
    ]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    refused = parameters.get("feature")
    return {"needs": needed, "refuses": refused if isinstance(refused, str) else None}


def _said_by(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """Return the kind and the first line of each error of a group."""
    said = []
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            said += _said_by(one)
        else:
            said.append(f"{type(one).__name__}: {str(one).partition(chr(10))[0]}")
    return said


def _facts(target: Target) -> dict[str, Any]:
    import polyvisor

    with polyvisor.open(target.uri) as connection:
        host = connection.host
        return {
            "target": connection.uri.partition(":")[0],
            "plugin": connection.plugin,
            "against": target.against,
            "via": target.via,
            "hypervisor": host.hypervisor,
            "version": host.hypervisor_version,
            "support": {
                feature: {
                    "status": str(answer.status),
                    "reason": _ROOT.sub("", answer.reason),
                    "since": answer.since,
                    "usable": answer.usable,
                }
                for feature, answer in connection.support.items()
            },
        }
