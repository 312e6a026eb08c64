"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import attrs

if TYPE_CHECKING:
    from polyvisor.model.devices import Device, Devices
    from polyvisor.model.domain import DomainSpec

__all__ = ["Finding", "Problem", "Rule", "Severity", "at", "once", "placed", "rule", "rules_of"]


_K = TypeVar("_K")
_V = TypeVar("_V")


class Problem(NamedTuple):
    """What a rule yields for one thing that is wrong.

    Attributes:
        element: where, such as ``"domain/devices/disk[2]/target"``; a number counts siblings of
            the same tag from 1 and is left out where there is only one.
        fault: what is wrong.
        advice: what would be right.
    """

    element: str
    fault: str
    advice: str = ""


class Severity(StrEnum):
    """How bad it is."""

    #: Defining such a domain is refused.
    ERROR = "error"
    #: It is only told to whoever checks.
    WARNING = "warning"


@attrs.frozen
class Rule:
    """One thing that a definition must get right as a whole.

    Attributes:
        name: a word that stays the same, such as ``"disk-target-twice"``.
        summary: what must be so, in one sentence.
        check: takes a definition and yields a :class:`Problem` for each place where it is not.
        types: the domain types that it holds for (``"kvm"``, ``"xen"`` …); ``None``: all.
        severity: what follows when it is broken.
    """

    name: str
    summary: str
    check: Callable[[DomainSpec], Iterable[Problem]]
    types: frozenset[str] | None = None
    severity: Severity = Severity.ERROR


@attrs.frozen
class Finding:
    """One thing that is wrong with a definition.

    Attributes:
        rule: the name of the rule that it breaks.
        element: the path of the element.
        fault: what is wrong.
        advice: what would be right.
        severity: whether it hinders.
        line: 1-based line in the document, where there is one.
    """

    rule: str
    element: str
    fault: str
    advice: str = ""
    severity: Severity = Severity.ERROR
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: {self.element}" if self.line else self.element
        return f"{where}: {self.fault}{'; ' if self.advice else ''}{self.advice} [{self.rule}]"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**attrs.asdict(self), "severity": str(self.severity), "text": str(self)}


def rule(
    name: str,
    summary: str,
    *,
    types: Iterable[str] | None = None,
    severity: Severity = Severity.ERROR,
) -> Callable[[Callable[[DomainSpec], Iterable[Problem]]], Rule]:
    """Make a rule of a function; see :class:`Rule`."""

    def decorate(function: Callable[[DomainSpec], Iterable[Problem]]) -> Rule:
        return Rule(name, summary, function, None if types is None else frozenset(types), severity)

    return decorate


def rules_of(scope: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules among the names of a module."""
    return tuple(value for value in scope.values() if isinstance(value, Rule))


def at(tag: str, number: int, twins: Sequence[Any], below: str = "domain/devices") -> str:
    """Return the path of one of several elements of a tag, counted from 0."""
    return f"{below}/{tag}[{number + 1}]" if len(twins) > 1 else f"{below}/{tag}"


Placed: TypeAlias = "tuple[str, int, Sequence[Device], Device]"

#: Tags by field of :class:`Devices`, in the order in which they are written.
_DEVICES: dict[str, str] = {}


def once(function: Callable[[_K], Iterable[_V]]) -> Callable[[_K], list[_V]]:
    """Keep what a function listed last: many rules ask for the same of one definition."""
    # One slot, changed whole, so that threads may share it.
    last: tuple[object, list[_V]] = (None, [])

    def listed(key: _K) -> list[_V]:
        nonlocal last
        known, found = last
        if known is not key:
            found = list(function(key))
            last = (key, found)
        return found

    return listed


@once
def _placed(devices: Devices) -> Iterable[Placed]:
    if not _DEVICES:
        from polyvisor.model.binding import bindings_of

        for name, binding in bindings_of(type(devices)):
            if binding.kind == "child" and name not in {"leases", "redirfilter"}:
                _DEVICES[name] = binding.name or name
    for field, tag in _DEVICES.items():
        held = getattr(devices, field)
        if held.__class__ is tuple:
            for number, device in enumerate(held):
                yield tag, number, held, device
        elif held is not None:
            yield tag, 0, (held,), held


def placed(devices: Devices) -> list[Placed]:
    """Return all devices: tag, number from 0, all of that tag, and the device itself."""
    return _placed(devices)
