"""The support matrix: what drivers claim, and which tests show it.

A run of the suite with ``--polyvisor-report=PATH`` writes one. Its data has, per target, what
it was run against, the support table, and per feature the names of the tests that needed it, by
their outcome, and of those that found it refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import attrs

from polyvisor._version import __version__
from polyvisor.errors import InvalidArgument
from polyvisor.plugins import API_VERSION
from polyvisor.support import FEATURES

__all__ = ["Evidence", "Matrix", "Outcome", "TargetReport"]

_FORMAT = "polyvisor-support-matrix"


class Outcome(StrEnum):
    """What became of a test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.define
class Evidence:
    """What tests show of one feature.

    Attributes:
        status: what the driver's support table says.
        reason: why, in words.
        since: first version of the hypervisor that can, or ``None``.
        usable: whether it is claimed to work.
        passed: names of tests that needed it and passed.
        failed: names of those that failed.
        skipped: names of those that were skipped.
        refused: whether a test found that it refuses.
    """

    status: str
    reason: str = ""
    since: str | None = None
    usable: bool = False
    passed: list[str] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)
    skipped: list[str] = attrs.field(factory=list)
    refused: bool = False

    @property
    def verdict(self) -> str:
        """Claim and evidence in a few words."""
        if self.failed:
            return f"FAILED: {len(self.failed)}"
        if self.usable:
            return f"yes: {len(self.passed)}" if self.passed else "yes, untested"
        said = {"unsupported": "no", "not implemented": "not yet", "versioned": "too old"}
        return said.get(self.status, self.status) + (", refuses" if self.refused else "")


@attrs.define
class TargetReport:
    """One driver, run against one thing.

    Attributes:
        target: its scheme.
        plugin: its plugin.
        against: ``"real"``, ``"simulator"`` or ``"fake"``.
        hypervisor: what it says it drives.
        version: that one's version.
        features: what is shown, by feature.
        outcomes: name of each test → what became of it.
        via: what stands between the driver and that, or ``""``.
    """

    target: str
    plugin: str
    against: str
    hypervisor: str
    version: str
    features: dict[str, Evidence]
    outcomes: dict[str, Outcome] = attrs.field(factory=dict)
    via: str = ""

    @property
    def ran_against(self) -> str:
        """What it was run against, in words."""
        what = {"fake": "a fake", "simulator": "the simulator"}.get(self.against)
        what = what or f"real {self.hypervisor} {self.version}".strip()
        return f"{what} behind {self.via}" if self.via else what

    def count(self, outcome: Outcome) -> int:
        """Return how many tests ended so."""
        return sum(one is outcome for one in self.outcomes.values())


class Matrix:
    """Reports of any number of targets."""

    def __init__(self) -> None:
        self.targets: dict[tuple[str, str], TargetReport] = {}

    def add(self, note: Mapping[str, Any], name: str, outcome: Outcome) -> None:
        """Count a test.

        Args:
            note: what it ran against, and the features that it ``needs`` or ``refuses``.
            name: its name.
            outcome: what became of it; one that failed when it was cleared away failed.
        """
        key = (note["target"], note["against"])
        report = self.targets.get(key)
        if report is None:
            report = self.targets[key] = TargetReport(
                target=note["target"],
                plugin=note["plugin"],
                against=note["against"],
                hypervisor=note["hypervisor"],
                version=note["version"],
                features={one: Evidence(**said) for one, said in note["support"].items()},
                via=note["via"],
            )
        report.outcomes[name] = outcome
        for feature in dict.fromkeys(note["needs"]):
            evidence = report.features[feature]
            for other in (evidence.passed, evidence.failed, evidence.skipped):
                if name in other:
                    other.remove(name)
            getattr(evidence, outcome).append(name)
        if note["refuses"] and outcome is Outcome.PASSED:
            report.features[note["refuses"]].refused = True
        if note["refuses"] and outcome is Outcome.FAILED:
            report.features[note["refuses"]].failed.append(name)

    @property
    def columns(self) -> list[TargetReport]:
        """The targets, in the order of their names."""
        return [self.targets[key] for key in sorted(self.targets)]

    # Data

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "format": _FORMAT,
            "polyvisor": __version__,
            "plugin_api": API_VERSION,
            "targets": [attrs.asdict(one) for one in self.columns],
        }

    def merge(self, data: Mapping[str, Any]) -> None:
        """Take in what :meth:`to_data` of another run gave; of one target the last counts.

        Raises:
            InvalidArgument: it is something else.
        """
        if data.get("format") != _FORMAT:
            raise InvalidArgument("this is no support matrix")
        for one in data["targets"]:
            features = {name: Evidence(**said) for name, said in one["features"].items()}
            outcomes = {name: Outcome(word) for name, word in one["outcomes"].items()}
            report = TargetReport(**{**one, "features": features, "outcomes": outcomes})
            self.targets[report.target, report.against] = report

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as its name says: ``.json``, ``.html``, else text."""
        name = os.fspath(path)
        if name.endswith(".json"):
            text = json.dumps(self.to_data(), indent=1, ensure_ascii=False) + "\n"
        elif name.endswith((".html", ".htm")):
            text = self.html()
        else:
            text = self.text()
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)

    # For people

    def text(self) -> str:
        """Return it as a table of plain text, and what is behind it below."""
        rows = [["feature", *(one.target for one in self.columns)]]
        rows.append(["run against", *(one.ran_against for one in self.columns)])
        rows += [
            [feature, *(one.features[feature].verdict for one in self.columns)]
            for feature in FEATURES
        ]
        for outcome in Outcome:
            rows.append([f"tests {outcome}", *(str(one.count(outcome)) for one in self.columns)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        for one in self.columns:
            failed = [name for name, outcome in one.outcomes.items() if outcome is Outcome.FAILED]
            lines += [f"{one.target}: failed: {name}" for name in failed]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """Return it as a page that needs nothing else."""
        from html import escape

        head = "".join(
            f"<th>{escape(one.target)}<br><small>{escape(one.ran_against)}</small></th>"
            for one in self.columns
        )
        rows = "".join(
            f"<tr><th title='{escape(words, quote=True)}'>{escape(feature)}</th>"
            + "".join(_cell(one.features[feature]) for one in self.columns)
            + "</tr>\n"
            for feature, words in FEATURES.items()
        )
        counts = "".join(
            "<td>" + ", ".join(f"{one.count(outcome)} {outcome}" for outcome in Outcome) + "</td>"
            for one in self.columns
        )
        return (
            f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            f"<title>Support matrix</title><style>{_STYLE}</style></head><body>\n"
            f"<h1>What works, and the evidence</h1>\n"
            f"<p>polyvisor {escape(__version__)}, plugin API {API_VERSION}. A number counts the "
            f"tests that needed the feature and passed; open a cell to see them.</p>\n"
            f"<table><thead><tr><th>feature</th>{head}</tr></thead>\n<tbody>{rows}</tbody>\n"
            f"<tfoot><tr><th>tests</th>{counts}</tr></tfoot></table></body></html>\n"
        )


def _cell(evidence: Evidence) -> str:
    from html import escape

    kind = "bad" if evidence.failed else "yes" if evidence.usable else "no"
    lines = [evidence.reason] if evidence.reason else []
    lines += [f"{outcome}: {name}" for outcome, name in _tests(evidence)]
    if not lines:
        return f"<td class='{kind}'>{escape(evidence.verdict)}</td>"
    inside = "<br>".join(escape(line) for line in lines)
    return (
        f"<td class='{kind}'><details><summary>{escape(evidence.verdict)}</summary>"
        f"<small>{inside}</small></details></td>"
    )


def _tests(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for outcome in Outcome:
        for name in getattr(evidence, outcome):
            yield outcome, name


_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #bbb;padding:.25em .6em;text-align:left;vertical-align:top}"
    "td.yes{background:#e6f4e6}td.no{background:#f3f3f3}td.bad{background:#fbdcdc}"
)
