"""Libvirt's numbers as our words: the server's tables, read the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polyvisor.states import DomainState, StateReason
from polyvisor_remote.server.numbers import EVENT_DETAILS, LIFECYCLE, STATES, reason_number

if TYPE_CHECKING:
    from polyvisor.events import EventKind

__all__ = ["lifecycle", "state_and_reason"]

_STATES: Mapping[int, DomainState] = {number: state for state, number in STATES.items()}
_REASONS: Mapping[tuple[int, int], StateReason] = {
    (STATES[state], number): reason
    for state in DomainState
    for reason in StateReason
    if (number := reason_number(state, reason))
}
_LIFECYCLE: Mapping[int, EventKind] = {number: kind for kind, number in LIFECYCLE.items()}


def state_and_reason(state: int, reason: int) -> tuple[DomainState, StateReason]:
    """Return a state and why, of what libvirt says; what is not known is unknown."""
    return (
        _STATES.get(state, DomainState.NOSTATE),
        _REASONS.get((state, reason), StateReason.UNKNOWN),
    )


def lifecycle(event: int, detail: int) -> tuple[EventKind, str] | None:
    """Return the kind and the detail of a change of state, or ``None`` for an unknown one."""
    kind = _LIFECYCLE.get(event)
    if kind is None:
        return None
    details = EVENT_DETAILS[kind]
    return kind, details[detail] if 0 <= detail < len(details) else ""
