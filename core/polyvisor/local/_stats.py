"""Figures under the names and numbers of ``virsh domstats``."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.state import Record

__all__ = ["REASON_NUMBERS", "STATE_NUMBERS", "states", "stats"]

#: ``virDomainState`` of ``libvirt/libvirt-domain.h``.
STATE_NUMBERS = MappingProxyType({state: number for number, state in enumerate(DomainState)})

#: ``virDomainRunningReason`` and its like, by state; what is not there is 0 (unknown).
REASON_NUMBERS = MappingProxyType(
    {
        DomainState.RUNNING: {
            StateReason.BOOTED: 1,
            StateReason.MIGRATED: 2,
            StateReason.RESTORED: 3,
            StateReason.FROM_SNAPSHOT: 4,
            StateReason.UNPAUSED: 5,
            StateReason.MIGRATION_CANCELED: 6,
            StateReason.SAVE_CANCELED: 7,
            StateReason.WAKEUP: 8,
            StateReason.CRASHED: 9,
            StateReason.POSTCOPY: 10,
            StateReason.POSTCOPY_FAILED: 11,
        },
        DomainState.PAUSED: {
            StateReason.USER: 1,
            StateReason.MIGRATING: 2,
            StateReason.SAVING: 3,
            StateReason.DUMPING: 4,
            StateReason.IOERROR: 5,
            StateReason.WATCHDOG: 6,
            StateReason.FROM_SNAPSHOT: 7,
            StateReason.SHUTTING_DOWN: 8,
            StateReason.CREATING_SNAPSHOT: 9,
            StateReason.CRASHED: 10,
            StateReason.STARTING_UP: 11,
            StateReason.POSTCOPY: 12,
            StateReason.POSTCOPY_FAILED: 13,
        },
        DomainState.SHUTDOWN: {StateReason.USER: 1},
        DomainState.SHUTOFF: {
            StateReason.SHUTDOWN: 1,
            StateReason.DESTROYED: 2,
            StateReason.CRASHED: 3,
            StateReason.MIGRATED: 4,
            StateReason.SAVED: 5,
            StateReason.FAILED: 6,
            StateReason.FROM_SNAPSHOT: 7,
        },
        DomainState.CRASHED: {StateReason.PANICKED: 1},
    }
)


def stats(
    record: Record, memory: int, cpu_time: float | None, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what is known of every domain: nanoseconds and KiB, as domstats has them.

    Args:
        record: the domain.
        memory: what it has now, in bytes.
        cpu_time: its CPU time in seconds, ``None`` if not known.
        more: what else its hypervisor knows.
    """
    figures = record.kept.get("figures")
    if figures is None:
        figures = record.kept["figures"] = _lasting(record)
    figures = figures.copy()
    if cpu_time is None:
        del figures["cpu.time"]
    else:
        figures["cpu.time"] = int(cpu_time * 1e9)
    figures["balloon.current"] = memory // 1024
    if more:
        figures.update(more)
    return figures


def states(record: Record) -> dict[str, Any]:
    """Return the state of a domain as domstats has it."""
    figures: dict[str, Any] | None = record.kept.get("states")
    if figures is None:
        figures = record.kept["states"] = _state(record)
    return figures


def _state(record: Record) -> dict[str, Any]:
    return {
        "state.state": STATE_NUMBERS[record.state],
        "state.reason": REASON_NUMBERS.get(record.state, {}).get(record.reason, 0),
    }


def _lasting(record: Record) -> dict[str, Any]:
    """Return all figures in their order, with the values of those that stay as the record is."""
    document = record.live or record.definition
    assert document is not None
    spec = document.spec()
    return {
        **_state(record),
        "cpu.time": 0,
        "balloon.current": 0,
        "balloon.maximum": spec.memory // 1024,
        "vcpu.current": spec.vcpus,
        "vcpu.maximum": spec.vcpu.count if spec.vcpu is not None else spec.vcpus,
    }
