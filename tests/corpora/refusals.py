"""Inputs that upstream's tests expect to be refused, and what happens to them here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from data import Case, cases, corpora

from polyvisor import model
from polyvisor.connection import registry
from polyvisor.errors import SpecError
from polyvisor.model.check import ensure

__all__ = ["GROUPS", "Refusal", "refusals", "taken"]

#: Who refuses upstream, told by the macro and by the kind of error that the test expects.
GROUPS = {
    "parser": "the parser: `XML error`, `internal error`, `invalid argument`, or no kind at all",
    "validation": "validation, libvirt's own or the driver's: `unsupported configuration`",
    "start": "the driver when it builds a command line",
}


class Refusal(NamedTuple):
    """One input."""

    suite: str
    case: str
    group: str
    #: What upstream says, if its test holds it.
    upstream: str
    #: What is said here; None: it is accepted.
    here: str | None

    @property
    def named(self) -> bool | None:
        """Whether both messages share a word that names something; None: upstream's is unknown."""
        if not self.upstream or self.here is None:
            return None
        theirs, ours = (set(_words(text)) for text in (self.upstream, self.here))
        return bool(theirs & ours)


#: Words that say nothing of what is wrong.
_EMPTY = {
    "error", "invalid", "value", "attribute", "element", "unsupported", "configuration", "with",
    "internal", "argument", "this", "that", "must", "from", "only", "which", "when", "used",
    "have", "been", "than", "expected", "domain", "device", "line", "supported", "support",
    "missing", "cannot", "type", "not", "for", "and", "the", "use",
}  # fmt: skip


def _words(text: str) -> Iterator[str]:
    for word in re.findall(r"[a-z0-9_-]{3,}", text.lower()):
        if word not in _EMPTY:
            yield word.removesuffix("s")


def _domain(data: bytes) -> None:
    spec = model.DomainSpec.from_xml(data)
    spec.normalised()
    ensure(spec)


def _qemu(data: bytes) -> None:
    from polyvisor_qemu.layout import laid_out

    spec = model.DomainSpec.from_xml(data)
    ensure(spec, rules=registry().check_rules())
    laid_out(spec)


def _document(name: str) -> Callable[[bytes], None]:
    return lambda data: getattr(model, name).from_xml(data).definition()


#: By upstream's test: where inputs are, and what reads them.
_READ: dict[str, tuple[str, Callable[[bytes], None]]] = {
    "genericxml2xmltest": ("genericxml2xmlindata/{}.xml", _domain),
    "qemuxml2argvtest": ("qemuxml2argvdata/{}.xml", _qemu),
    "bhyvexml2argvtest": ("bhyvexml2argvdata/bhyvexml2argv-{}.xml", _domain),
    "networkxml2xmltest": ("networkxml2xmlin/{}.xml", _document("NetworkSpec")),
    "qemudomaincheckpointxml2xmltest": (
        "qemudomaincheckpointxml2xmlin/{}.xml",
        _document("CheckpointSpec"),
    ),
}
#: Inputs that upstream marks by their name.
_MARKED = {
    "nwfilterxml2xmltest": ("nwfilterxml2xmlin", _document("NwFilterSpec")),
    "nodedevschemadata": ("nodedevschemadata", _document("NodeDeviceSpec")),
}


def refusals() -> Iterator[Refusal]:
    """Yield each input that upstream refuses."""
    root = corpora()
    if root is None:
        return
    for suite, (pattern, read) in _READ.items():
        seen = set()
        for case in cases()[suite]:
            path = root / pattern.format(case.name)
            if case.name in _accepted(suite):
                # Refused only where an emulator is made up that lacks something.
                continue
            if case.refused and path.is_file() and case.name not in seen:
                seen.add(case.name)
                upstream = _expected(path)
                group = _group(case, upstream)
                yield Refusal(suite, case.name, group, upstream, _said(read, path))
    for suite, (folder, read) in _MARKED.items():
        for path in sorted((root / folder).glob("*-invalid.xml")):
            yield Refusal(suite, path.stem, "parser", "", _said(read, path))


def taken() -> Iterator[Refusal]:
    """Yield each input that upstream accepts, with what is said of it here."""
    root = corpora()
    if root is None:
        return
    for suite, (pattern, read) in _READ.items():
        for name in sorted(_accepted(suite)):
            path = root / pattern.format(name)
            if path.is_file():
                yield Refusal(suite, name, "accepted", "", _said(read, path))


def _accepted(suite: str) -> set[str]:
    """Return the inputs that another case of upstream's tests accepts."""
    twins = [suite, suite.replace("2argv", "2xml")]
    return {case.name for twin in twins for case in cases()[twin] if not case.refused}


def _expected(path: Path) -> str:
    """Return the message that upstream's test expects."""
    name = re.escape(path.stem)
    for file in sorted(path.parent.glob(f"{path.stem}*.err")):
        if re.fullmatch(rf"{name}(\.[a-z0-9_]+-[a-z0-9.]+)?\.err", file.name):
            return file.read_text().strip()
    return ""


def _group(case: Case, upstream: str) -> str:
    if case.suite.endswith("argvtest") and "PARSE_ERROR" not in case.macro:
        return "start"
    return "validation" if upstream.startswith("unsupported configuration") else "parser"


def _said(read: Callable[[bytes], None], path: Path) -> str | None:
    try:
        read(path.read_bytes())
    except SpecError as error:
        return str(error)
    return None
