"""Measures Xen's configurations against the data of libvirt's own tests.

``python tests/plugins/libxl/suites.py`` prints the share of each suite, ``--list`` what
differs and how; :func:`results` gives the same to whoever gathers them.

A case is *equal* when what comes out is upstream's to the letter (JSON: as parsed), the
*same* when it only says the same in another way: a configuration that reads as the same
definition, a definition that is the same once its defaults are explicit. Upstream runs some
cases in one direction only; that is in its table of cases.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor_libxl.completion import OVMF, completed
from polyvisor_libxl.config.xl import XlFormat
from polyvisor_libxl.config.xm import XmFormat
from polyvisor_libxl.domconfig import HostFacts, from_json, normalised, to_json

if TYPE_CHECKING:
    from polyvisor.native import NativeFormat

ROOT = Path(__file__).resolve().parents[3]
#: What upstream's test makes up of its host (tests/libxlxml2domconfigtest.c, libxlmock.c).
HOST = HostFacts(nodes=0, virtualisation="vmx", nested=True, shadow=1234)
#: What upstream's test puts for the folder that Xen was built with.
FIRMWARE = "/LIBXL_FIRMWARE_DIR/ovmf.bin"


class Result(NamedTuple):
    """What came of one case."""

    suite: str
    case: str
    #: ``equal``, ``same``, ``differs`` or ``refused``.
    outcome: str
    #: Why it is refused, or the lines that differ.
    cause: str = ""

    @property
    def passed(self) -> bool:
        """Whether it counts."""
        return self.outcome in {"equal", "same"}


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
            if (folder / "xlconfigdata").is_dir():
                return folder
    return None


@cache
def macros() -> dict[tuple[str, str], str]:
    """Return upstream's macro for each suite and case that its table has."""
    folder = corpora()
    table = None if folder is None else folder / "cases.tsv"
    if table is None or not table.is_file():
        return {}
    rows = (line.split("\t") for line in table.read_text().splitlines()[1:])
    return {(suite, case): macro for suite, macro, case, _refused in rows}


#: From a case's files to what comes out, what is expected, and whether both say the same.
Judge = Callable[[Path, Path], tuple[str, str, Callable[[], bool]]]


def _reading(native: NativeFormat) -> Judge:
    def judge(config: Path, xml: Path) -> tuple[str, str, Callable[[], bool]]:
        expected = xml.read_text().replace(FIRMWARE, OVMF)
        spec = native.read(config.read_bytes(), path=config.name)
        known = completed(DomainSpec.from_xml(expected))
        return spec.to_xml(), expected, lambda: completed(spec) == known

    return judge


def _writing(native: NativeFormat) -> Judge:
    def judge(config: Path, xml: Path) -> tuple[str, str, Callable[[], bool]]:
        expected = config.read_text()
        spec = DomainSpec.from_xml(xml.read_text().replace(FIRMWARE, OVMF))
        written = native.write(spec)
        return written, expected, lambda: _read(native, written) == _read(native, expected)

    return judge


def _read(native: NativeFormat, text: str) -> DomainSpec:
    return native.read(text.encode(), path="text")


def _shown(config: object) -> str:
    return json.dumps(config, indent=1, sort_keys=True)


def _to_libxl(config: Path, xml: Path) -> tuple[str, str, Callable[[], bool]]:
    expected = normalised(json.loads(config.read_text()))
    made = normalised(to_json(DomainSpec.from_xml(xml.read_text()), HOST))
    return _shown(made), _shown(expected), lambda: False


def _from_libxl(config: Path, _xml: Path) -> tuple[str, str, Callable[[], bool]]:
    expected = normalised(json.loads(config.read_text()))
    made = normalised(to_json(from_json(expected), HOST))
    return _shown(made), _shown(expected), lambda: False


class Suite(NamedTuple):
    """One of upstream's tests, in one direction."""

    name: str
    table: str
    folder: str
    suffix: str
    judge: Judge
    #: The macro of cases that upstream runs in the other direction only.
    other: str = ""


SUITES = [
    Suite("xlconfig to XML", "xlconfigtest", "xlconfigdata", ".cfg", _reading(XlFormat()),
          "DO_TEST_PARSE"),
    Suite("XML to xlconfig", "xlconfigtest", "xlconfigdata", ".cfg", _writing(XlFormat()),
          "DO_TEST_FORMAT"),
    Suite("xmconfig to XML", "xmconfigtest", "xmconfigdata", ".cfg", _reading(XmFormat()),
          "DO_TEST_PARSE"),
    Suite("XML to xmconfig", "xmconfigtest", "xmconfigdata", ".cfg", _writing(XmFormat()),
          "DO_TEST_FORMAT"),
    Suite("libxlxml2domconfig", "libxlxml2domconfigtest", "libxlxml2domconfigdata", ".json",
          _to_libxl),
    Suite("libxl_domain_config to XML and back", "libxlxml2domconfigtest",
          "libxlxml2domconfigdata", ".json", _from_libxl),
]  # fmt: skip


def results(suite: Suite) -> Iterator[Result]:
    """Yield what comes of each case of a suite whose files are both there."""
    root = corpora()
    if root is None:
        return
    for config in sorted((root / suite.folder).glob(f"*{suite.suffix}")):
        case = config.stem.removeprefix("test-")
        xml = config.with_suffix(".xml")
        if not xml.is_file() or macros().get((suite.table, case)) == (suite.other or "-"):
            continue
        yield _result(suite, case, config, xml)


def _result(suite: Suite, case: str, config: Path, xml: Path) -> Result:
    try:
        made, expected, alike = suite.judge(config, xml)
        if made.rstrip("\n") == expected.rstrip("\n"):
            return Result(suite.name, case, "equal")
        lines = difflib.unified_diff(expected.splitlines(), made.splitlines(), lineterm="", n=0)
        cause = "\n".join([*lines][2:])
        return Result(suite.name, case, "same" if alike() else "differs", cause)
    except SpecError as error:
        return Result(suite.name, case, "refused", error.message)


def main() -> int:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="show what differs")
    arguments = parser.parse_args()
    for suite in SUITES:
        found = [*results(suite)]
        counts = Counter(result.outcome for result in found)
        passed = sum(result.passed for result in found)
        share = passed / len(found) if found else 0
        print(f"{suite.name}: {passed} of {len(found)} ({share:.1%}) {dict(counts)}")
        for result in found if arguments.list else ():
            if result.outcome != "equal":
                print(f"--- {result.case} ({result.outcome})\n{result.cause}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
