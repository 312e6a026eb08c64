"""Whether a definition makes sense as a whole: rules beyond what its schema says.

Reading looks at each element and attribute by itself. The rules here look at them beside each
other: no two disks with one target, no device at the place of another, nothing spoken of that
is not there. All that is wrong is found, not only the first::

    for finding in check(DomainSpec.from_xml(path), source=path):
        print(finding)  # line 12: domain/devices/disk[2]/target: the target 'vda' is …

Each rule has a name that stays the same; the page :doc:`/checks` lists them. Plugins add their
own with the hook ``polyvisor_check_rules``. Defining or creating a domain checks it and refuses
one with errors, as libvirt does; the facts are those of libvirt's own validation
(domain_validate.c, domain_postparse.c), and whatever it accepts is accepted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import SemanticError
from polyvisor.model._codecs import Fault
from polyvisor.model.check import (
    addresses,
    chardevs,
    disks,
    displays,
    hostdevs,
    interfaces,
    machine,
    memory,
    processors,
)
from polyvisor.model.check._rule import Finding, Problem, Rule, Severity, at, placed, rule

if TYPE_CHECKING:
    from polyvisor.model._xml import Source
    from polyvisor.model.domain import DomainSpec

__all__ = [
    "RULES",
    "Finding",
    "Problem",
    "Rule",
    "Severity",
    "at",
    "check",
    "ensure",
    "placed",
    "rule",
]

#: The rules that hold for every hypervisor.
RULES: tuple[Rule, ...] = (
    *machine.RULES,
    *processors.RULES,
    *memory.RULES,
    *addresses.RULES,
    *disks.RULES,
    *interfaces.RULES,
    *chardevs.RULES,
    *displays.RULES,
    *hostdevs.RULES,
)


def check(
    spec: DomainSpec,
    *,
    rules: Iterable[Rule] = RULES,
    source: Source | None = None,
    severity: Severity = Severity.WARNING,
) -> tuple[Finding, ...]:
    """Return all that is wrong with a definition.

    Args:
        spec: the definition.
        rules: what it must get right; those of plugins are in
            :meth:`polyvisor.plugins.Registry.check_rules`.
        source: the XML that it was read from, for lines.
        severity: ``ERROR`` leaves warnings out.
    """
    found = [
        Finding(rule.name, problem.element, problem.fault, problem.advice, rule.severity)
        for rule in rules
        if rule.types is None or spec.type in rule.types
        if severity is not Severity.ERROR or rule.severity is severity
        for problem in _problems(rule, spec)
    ]
    if found and source is not None:
        from polyvisor.model.check._lines import lines_of

        lines = lines_of(source, [finding.element for finding in found])
        found = [
            attrs.evolve(finding, line=line) for finding, line in zip(found, lines, strict=True)
        ]
    return tuple(found)


def _problems(rule: Rule, spec: DomainSpec) -> Iterable[Problem]:
    try:
        return list(rule.check(spec))
    except Fault as fault:
        # A value that reading would have refused, or leaves for later, such as a unit.
        return [Problem("domain", fault.fault, fault.advice)]


def ensure(
    spec: DomainSpec,
    *,
    rules: Iterable[Rule] = RULES,
    source: Source | None = None,
    operation: str = "check",
) -> None:
    """Refuse a definition that breaks a rule.

    Args:
        spec: the definition.
        rules: as for :func:`check`.
        source: the XML that it was read from, for lines.
        operation: what it was needed for.

    Raises:
        SemanticError: the first finding in words, all of them in ``findings``.
    """
    found = check(spec, rules=rules, source=source, severity=Severity.ERROR)
    if found:
        raise refusal(spec, found, operation)


def refusal(spec: DomainSpec, found: Sequence[Finding], operation: str) -> SemanticError:
    """Return the error that tells of findings."""
    first, others = found[0], len(found) - 1
    more = f" (and {others} more)" if others else ""
    return SemanticError(
        f"{operation} {spec.name!r}: {first}{more}",
        domain=spec.name,
        operation=operation,
        element=first.element,
        line=first.line,
        fault=first.fault,
        rule=first.rule,
        findings=tuple(found),
    )
