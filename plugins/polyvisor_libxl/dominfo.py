"""What the hypervisor says of a domain."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["DomainFacts", "facts_of"]


@attrs.define
class DomainFacts:
    """What the hypervisor says of a domain (``libxl_dominfo``).

    Attributes:
        uuid: its UUID as one number, as in :attr:`uuid.UUID.int`.
        domid: its number.
        running: a vCPU is on a CPU.
        blocked: all vCPUs wait for something.
        paused: it was paused by a toolstack.
        shutdown: it has shut down, for ``shutdown_reason``, and is to be cleared away.
        dying: it is being torn down.
        shutdown_reason: 0 power-off, 1 reboot, 2 suspend, 3 crash, 4 watchdog.
        memory: bytes it has now.
        max_memory: bytes it may have.
        cpu_time: nanoseconds of CPU time.
        vcpus: number of vCPUs online.
        kind: ``"pv"``, ``"hvm"``, ``"pvh"`` or ``""``.
    """

    uuid: int
    domid: int
    running: bool
    blocked: bool
    paused: bool
    shutdown: bool
    dying: bool
    shutdown_reason: int
    memory: int
    max_memory: int
    cpu_time: int
    vcpus: int
    kind: str


#: ``libxl_domain_type``; PVH is not in headers older than 4.10 and so not by name.
_KINDS = {1: "hvm", 2: "pv", 3: "pvh"}


def facts_of(ffi: Any, info: Any) -> DomainFacts:
    """Return what a ``libxl_dominfo`` says.

    Args:
        ffi: the binding's.
        info: the structure.
    """
    return DomainFacts(
        int.from_bytes(ffi.buffer(info.uuid.uuid, 16), "big"),
        info.domid,
        info.running,
        info.blocked,
        info.paused,
        info.shutdown,
        info.dying,
        info.shutdown_reason,
        info.current_memkb * 1024,
        info.max_memkb * 1024,
        info.cpu_time,
        info.vcpu_online,
        _KINDS.get(info.domain_type, ""),
    )
