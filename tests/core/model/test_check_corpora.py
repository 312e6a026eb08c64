"""The rules of polyvisor.model.check beside libvirt's own test data: what it takes, they take."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.model.check import RULES, Severity, check
from polyvisor.plugins import Registry

#: Folders of definitions, and the suites that read them.
FOLDERS = {
    "genericxml2xmlindata": ("genericxml2xmltest",),
    "genericxml2xmloutdata": (),
    "qemuxml2argvdata": ("qemuxml2argvtest", "qemuxml2xmltest"),
    "qemuxml2xmloutdata": (),
    "lxcxml2xmldata": ("lxcxml2xmltest",),
    "bhyvexml2argvdata": ("bhyvexml2argvtest", "bhyvexml2xmltest"),
    "bhyvexml2xmloutdata": (),
    "bhyveargv2xmldata": (),
    "xml2vmxdata": ("xml2vmxtest",),
    "vmx2xmldata": (),
    "xlconfigdata": (),
    "xmconfigdata": (),
    "lxcconf2xmldata": (),
    "libxlxml2domconfigdata": ("libxlxml2domconfigtest",),
}
#: What the rules refuse though no suite says that libvirt does.
NOT_INPUTS = {
    "pseries-vio-address-clash": "the driver refuses it when it makes the command line",
    "bhyveargv2xml-ahci-hd": "made of a command line, not checked by libvirt",
    "esx-in-the-wild-8": "made of a .vmx file, not checked by libvirt",
}


def _root() -> Path | None:
    checkout = Path(__file__).resolve().parents[3]
    named = os.environ.get("POLYVISOR_CORPORA")
    base = Path(named) if named else checkout.parent / "shared" / "corpora"
    for folder in (base, base / "tests", *sorted(base.glob("*")), *sorted(base.glob("*/tests"))):
        if (folder / "genericxml2xmlindata").is_dir():
            return folder
    return None


class Case(NamedTuple):
    """A definition, and what upstream's tests expect of it."""

    path: Path
    #: It is refused whenever it is read.
    refused: bool
    #: It is refused by the parser, and not only when a command line is made of it.
    parser: bool


def _cases() -> list[Case]:
    root = _root()
    if root is None:
        return []
    expected: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
    table = root / "cases.tsv"
    for line in table.read_text().splitlines()[1:] if table.is_file() else ():
        suite, macro, case, fails = line.split("\t")
        expected[suite, case].append((macro, fails == "1"))
    found = []
    for folder, suites in FOLDERS.items():
        for path in sorted((root / folder).glob("*.xml")):
            if b"<domain " not in path.read_bytes():
                continue
            name = path.stem.removeprefix("bhyvexml2argv-")
            runs = [run for suite in suites for run in expected[suite, name]]
            refused = bool(runs) and all(fails for _, fails in runs)
            generic = folder == "genericxml2xmlindata"
            parser = refused and all(generic or "PARSE" in macro for macro, _ in runs)
            found.append(Case(path, refused, parser))
    return found


CASES = _cases()
pytestmark = pytest.mark.skipif(
    not CASES, reason="no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree"
)


def test_nothing_that_libvirt_takes_is_refused() -> None:
    """No rule, nor one of a plugin, finds an error in what upstream's tests read."""
    rules = Registry().check_rules()
    assert len(rules) >= len(RULES)
    wrong, count = [], 0
    for case in CASES:
        if case.parser or case.path.stem in NOT_INPUTS:
            continue
        try:
            spec = DomainSpec.from_xml(case.path)
        except SpecError:
            continue
        count += 1
        wrong += [
            f"{case.path.parent.name}/{case.path.name}: {finding}"
            for finding in check(spec, rules=rules, source=case.path, severity=Severity.ERROR)
        ]
    assert count > 1000
    assert not wrong, "\n".join(wrong)


#: The share of what libvirt's parser refuses that is refused here, reading and rules together.
#: What is not needs the binary of a hypervisor, which says what it can.
REFUSED_SHARE = 0.88


def test_what_libvirt_refuses_is_refused() -> None:
    """Reading or a rule refuses the known share of what upstream's parser refuses."""
    rules = Registry().check_rules()
    caught, missed = 0, []
    for case in CASES:
        if not case.parser:
            continue
        try:
            found = check(DomainSpec.from_xml(case.path), rules=rules, severity=Severity.ERROR)
        except SpecError:
            caught += 1
            continue
        if found:
            caught += 1
        else:
            missed.append(case.path.stem)
    share = caught / (caught + len(missed))
    assert share >= REFUSED_SHARE, f"{share:.0%} refused; these are taken: {missed}"
