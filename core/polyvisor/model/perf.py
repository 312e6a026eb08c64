"""Performance events that the host counts for a domain."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import YES_NO, choices
from polyvisor.model.binding import Element, attr, children, element

__all__ = ["Perf", "PerfEvent", "PerfName"]

PerfName = Literal[
    "cmt", "mbmt", "mbml", "cpu_cycles", "instructions", "cache_references", "cache_misses",
    "branch_instructions", "branch_misses", "bus_cycles", "stalled_cycles_frontend",
    "stalled_cycles_backend", "ref_cpu_cycles", "cpu_clock", "task_clock", "page_faults",
    "context_switches", "cpu_migrations", "page_faults_min", "page_faults_maj",
    "alignment_faults", "emulation_faults",
]  # fmt: skip


@element(kw_only=True)
class PerfEvent(Element):
    """Whether one event is counted."""

    name: PerfName = attr(choices(PerfName), required=True)
    enabled: bool = attr(YES_NO, required=True)


@element(kw_only=True)
class Perf(Element):
    """Which events are counted."""

    events: tuple[PerfEvent, ...] = children(PerfEvent, "event")
