"""Measures the model against libvirt's own test data: ``python tests/corpora``.

With ``--write`` the figures go into docs/conformance.md, with ``--check`` they are compared
with what stands there; ``--list SUITE`` shows what differs, or what is accepted that upstream
refuses (``--list refusals``), or options of command lines (``--list commandlines``). With
``--start`` real QEMU starts their machines. The data is where ``POLYVISOR_CORPORA`` says: a
folder with libvirt's ``tests``, or its sources.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from commandlines import ARCHITECTURES, Outcome, command_lines, compared
from data import corpora, tree
from lxml import etree
from refusals import GROUPS, Refusal, refusals, taken
from suites import SUITES, Result, Suite, compare, comparisons

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
STARTED = re.compile(r"(?<=<!-- started -->\n).*?(?=<!-- /started -->)", re.DOTALL)
MARKED = re.compile(r"(?<=<!-- conformance -->\n).*?(?=<!-- /conformance -->)", re.DOTALL)


def main() -> int:
    """Measure, and write, compare or show; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the figures into the page")
    parser.add_argument("--check", action="store_true", help="compare them with the page")
    parser.add_argument("--list", metavar="SUITE", help="show what is not as upstream")
    parser.add_argument("--case", default="", help="of these only cases whose name holds this")
    parser.add_argument("--start", action="store_true", help="start the machines with real QEMU")
    args = parser.parse_args()
    if corpora() is None:
        print("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
        return 2
    if args.list:
        return _show(args.list, args.case)
    if args.start:
        figures, refused = _started()
        if args.check:
            known = STARTED.search(PAGE.read_text())
            listed = set(re.findall(r"[\w-]+", known[0] if known is not None else ""))
            worse = sorted(name for name in refused if name not in listed)
            print(f"{len(refused)} did not start; not on the page: {', '.join(worse) or 'none'}")
            return bool(worse)
        if args.write:
            PAGE.write_text(STARTED.sub(lambda _: figures, PAGE.read_text()))
        print(figures)
        return 0
    figures = _figures()
    page = PAGE.read_text()
    known = MARKED.search(page)
    assert known is not None
    if args.check and known[0] != figures:
        changed = difflib.unified_diff(
            known[0].splitlines(), figures.splitlines(), "docs/conformance.md", "now", lineterm=""
        )
        print("\n".join(changed))
        return 1
    if args.write:
        PAGE.write_text(MARKED.sub(lambda _: figures, page))
    if not args.check:
        print(figures)
    return 0


def _figures() -> str:
    """Return the part of the page that is measured."""
    measured = {
        suite: [compare(one, suite.unknown) for one in comparisons(suite)] for suite in SUITES
    }
    refused = list(refusals())
    accepted = list(taken())
    wrong = [one.case for one in accepted if one.here is not None]
    named = f": {', '.join(wrong)}" if wrong else ""
    return "\n".join(
        [
            "",
            *_equal_table(measured),
            "",
            "### What differs",
            "",
            *_differences(measured),
            "",
            "## What upstream refuses",
            "",
            *_refused_table(refused),
            "",
            f"Of {len(accepted)} inputs that upstream accepts, {len(wrong)} are refused{named}.",
            "",
            "### What is accepted though the parser refuses it",
            "",
            *_accepted(refused),
            "",
            "## QEMU's command lines",
            "",
            *_command_lines(),
            "",
            "",
        ]
    )


def _started() -> tuple[str, list[str]]:
    """Start all machines; return what came of it, and the names of those that did not start."""
    from started import starts

    done = list(starts(kvm=False))
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in done:
        if one.refusal:
            by = "QEMU" if one.by_qemu else "us"
            words = one.refusal.replace("|", "\\|").replace("<", "&lt;")
            words = re.sub(r"^(-\w+) (?:\{.*?\}|[^:]\S*): |/tmp/pv-\w+", r"\1: ", words)
            words = re.sub(r"^: |domain '.*?': |start '.*?': ", "", words)
            refused[by, words[:150]].append(one.case.name)
    # What is only not installed here is no machine's fault.
    missed = [one.case.name for one in done if one.refusal and "install" not in one.refusal]
    started = sum(not one.refusal for one in done)
    lines = [
        "", f"Of {len(done)} machines {started} start. The others:", "",
        "| refused by | words | machines |", "| --- | --- | --- |",
    ]  # fmt: skip
    for (by, words), names in sorted(refused.items()):
        lines.append(f"| {by} | {words} | {', '.join(names)} |")
    return "\n".join([*lines, "", ""]), missed


def _equal_table(measured: dict[Suite, list[Result]]) -> list[str]:
    lines = [
        "| suite | documents | equal | share | by the model alone | but for the driver's | not |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for suite, results in measured.items():
        counts = Counter(result.outcome for result in results)
        alone = sum(result.alone for result in results)
        cells = [
            len(results),
            counts["equal"],
            f"{counts['equal'] / len(results):.1%}",
            alone,
            counts["driver"] or "",
            counts["differs"] + counts["refused"] or "",
        ]
        lines.append(f"| {suite.name} | " + " | ".join(map(str, cells)) + " |")
    return lines


def _differences(measured: dict[Suite, list[Result]]) -> list[str]:
    lines = ["| suite | where | documents |", "| --- | --- | --- |"]
    for suite, results in measured.items():
        found: dict[str, list[str]] = defaultdict(list)
        for result in results:
            if result.outcome in {"differs", "refused"}:
                where = f"`{result.cause}`" if result.outcome == "differs" else "refused"
                found[where].append(result.comparison.case)
        for where, names in sorted(found.items()):
            lines.append(f"| {suite.name} | {where} | {', '.join(names)} |")
    return lines


def _refused_table(refused: list[Refusal]) -> list[str]:
    lines = [
        "| refused upstream by | inputs | refused here | share | naming the same |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for group, words in GROUPS.items():
        here = [one for one in refused if one.group == group]
        said = [one for one in here if one.here is not None]
        known = [one for one in said if one.named is not None]
        same = f"{sum(bool(one.named) for one in known)} of {len(known)}"
        lines.append(
            f"| {words} | {len(here)} | {len(said)} | {len(said) / len(here):.1%} | {same} |"
        )
    return lines


def _accepted(refused: list[Refusal]) -> list[str]:
    lines = ["| suite | input | upstream's words |", "| --- | --- | --- |"]
    for one in refused:
        if one.group == "parser" and one.here is None:
            words = one.upstream.replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| {one.suite} | {one.case} | {words} |")
    return lines


#: Why whole groups of command lines differ, by the first words of an option or refusal.
_CAUSES = {
    "audio-default": "the host's settings choose the sound, which the data does not have",
    "cpu-": "the emulator's CPU models and the host's CPU, which the data does not have",
    "firmware-auto": "which firmware is on the host, which the data does not have",
    "virtio-iommu-aarch64": "which firmware is on the host, which the data does not have",
    "disk-source-pool": "volumes of storage pools that upstream's test makes up",
    "luks-disks-source": "volumes of storage pools that upstream's test makes up",
    "disk-transient": "libvirt plugs a disk that shares its image in later; here it is not late",
    "disk-serial": "libvirt escapes spaces in a serial number; here it is as written",
    "genid-auto": "a number that upstream's test makes up; QEMU chooses it here",
    "fd-memory": "the form of NUMA cells for machines before 5.1, which QEMU removed",
    "graphics-vnc-remove": "libvirt drops a socket's path that an earlier start had chosen",
    "disk-arm-virtio-sd": "libvirt's rules for boards of 32 bits",
}


def _command_lines() -> list[str]:
    """Return how many of upstream's command lines are ours, and why the others are not."""
    outcomes = [compared(case) for case in command_lines()]
    lines = [
        "| architecture | cases for the latest QEMU | equal | share | different | refused here |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for architecture in ARCHITECTURES:
        here = [one for one in outcomes if one.case.architecture == architecture]
        counts = Counter(one.outcome for one in here)
        cells = [len(here), counts["equal"], f"{counts['equal'] / len(here):.1%}",
                 counts["differs"], counts["refused"]]  # fmt: skip
        lines.append(f"| {architecture} | " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| where | why | cases |", "| --- | --- | --- |"]
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in outcomes:
        if one.outcome != "equal":
            groups[one.cause, _why(one)].append(one.case.name)
    for (cause, why), names in sorted(groups.items()):
        lines.append(f"| {cause} | {why} | {', '.join(names)} |")
    return lines


def _why(one: Outcome) -> str:
    return next((why for start, why in _CAUSES.items() if one.case.name.startswith(start)), "")


def _show(name: str, pattern: str) -> int:
    """Print what is not as upstream."""
    if name == "refusals":
        for one in refusals():
            if pattern in one.case and (one.here is None or not one.named):
                print(
                    f"--- {one.suite} {one.case} ({one.group})\n    {one.upstream}\n    {one.here}"
                )
        return 0
    if name == "commandlines":
        for case in command_lines():
            one = compared(case)
            if pattern in case.name and one.outcome != "equal":
                print(f"--- {case.name} ({one.outcome}): {one.refusal}")
                print("\n".join(f"    - {option}" for option in one.missing))
                print("\n".join(f"    + {option}" for option in one.surplus))
        return 0
    for suite in SUITES:
        if suite.name == name:
            for comparison in comparisons(suite):
                if pattern in comparison.case:
                    _show_difference(compare(comparison, suite.unknown))
    return 0


def _show_difference(result: Result) -> None:
    one = result.comparison
    if result.outcome in {"equal", "driver"}:
        return
    print(f"--- {one.case} ({result.outcome}): {result.cause}")
    if result.outcome == "differs":
        data, expected = one.input.read_bytes(), one.expected.read_bytes()
        lines = [
            etree.tostring(tree(xml), pretty_print=True, encoding="unicode").splitlines()
            for xml in (one.write(data, expected), expected)
        ]
        for line in list(difflib.unified_diff(*lines, "ours", "theirs", n=1, lineterm=""))[2:]:
            print(f"    {line}")


if __name__ == "__main__":
    sys.exit(main())
