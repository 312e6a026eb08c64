"""Measures VMware's configurations against the data of libvirt's own tests.

``python tests/plugins/vmware/suites.py`` prints the share of each suite, ``--list`` what
differs and how; :func:`results` gives the same to whoever gathers them.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor_vmware.format import VmxFormat

ROOT = Path(__file__).resolve().parents[3]
#: Where upstream's tests put images (testParseVMXFileName of tests/vmx2xmltest.c).
FOLDER = "[datastore] directory"
#: What upstream writes for a machine without a UUID; it is none.
NIL = "  <uuid>00000000-0000-0000-0000-000000000000</uuid>\n"
SUITES = {"vmx2xml": ("vmx2xmldata", "*.vmx"), "xml2vmx": ("xml2vmxdata", "*.xml")}


class Result(NamedTuple):
    """What came of one case."""

    suite: str
    case: str
    #: ``equal``, ``differs`` or ``refused``.
    outcome: str
    #: Why it is refused, or the lines that differ.
    cause: str = ""

    @property
    def passed(self) -> bool:
        """Whether it counts."""
        return self.outcome == "equal"


@cache
def corpora() -> Path | None:
    """Return the folder with libvirt's test data, if there is one."""
    named = os.environ.get("POLYVISOR_CORPORA")
    for base in [Path(named)] if named else [ROOT.parent / "shared" / "corpora"]:
        for folder in (
            base,
            base / "tests",
            *sorted(base.glob("*")),
            *sorted(base.glob("*/tests")),
        ):
            if (folder / "vmx2xmldata").is_dir():
                return folder
    return None


def results(suite: str) -> Iterator[Result]:
    """Yield what comes of each case of a suite whose files are both there."""
    root = corpora()
    if root is None:
        return
    folder, pattern = SUITES[suite]
    for given in sorted((root / folder).glob(pattern)):
        other = given.with_suffix(".xml" if given.suffix == ".vmx" else ".vmx")
        if other.is_file():
            yield _result(suite, given, other)


def _result(suite: str, given: Path, other: Path) -> Result:
    expected = other.read_text().replace(NIL, "")
    case = given.stem.removeprefix("xml2vmx-")
    try:
        if suite == "vmx2xml":
            made = VmxFormat(FOLDER).read(given.read_bytes(), path=given.name).to_xml()
        else:
            hardware = re.search(r'^virtualHW.version = "(\d+)"', expected, re.MULTILINE)
            assert hardware is not None
            spec = DomainSpec.from_xml(given.read_text())
            made = VmxFormat(FOLDER, int(hardware[1])).write(spec)
    except SpecError as error:
        return Result(suite, case, "refused", error.message)
    if made.rstrip("\n") == expected.rstrip("\n"):
        return Result(suite, case, "equal")
    lines = difflib.unified_diff(expected.splitlines(), made.splitlines(), lineterm="", n=0)
    return Result(suite, case, "differs", "\n".join([*lines][2:]))


def main() -> int:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="show what differs")
    arguments = parser.parse_args()
    for suite in SUITES:
        found = [*results(suite)]
        counts = Counter(result.outcome for result in found)
        share = counts["equal"] / len(found) if found else 0
        print(f"{suite}: {counts['equal']} of {len(found)} ({share:.1%}) {dict(counts)}")
        for result in found if arguments.list else ():
            if not result.passed:
                print(f"--- {result.case} ({result.outcome})\n{result.cause}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
