"""What is asked of one domain: its state with the reason, and its figures."""

from __future__ import annotations

import attrs

from polyvisor.states import DomainState, DomainSummary, StateReason

__all__ = ["DomainInfo", "DomainStatus"]


@attrs.frozen
class DomainStatus:
    """A state together with its reason."""

    state: DomainState
    reason: StateReason = StateReason.UNKNOWN


@attrs.frozen
class DomainInfo(DomainSummary):
    """What ``dominfo`` prints.

    Attributes:
        os_type: the ``<os><type>`` text, such as ``"hvm"``.
        vcpus: number of vCPUs now.
        cpu_time: seconds of CPU time used, or ``None`` if not known.
        max_memory: bytes the domain may have at most.
        memory: bytes it has now.
    """

    os_type: str = "hvm"
    vcpus: int = 1
    cpu_time: float | None = None
    max_memory: int = 0
    memory: int = 0
