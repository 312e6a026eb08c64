"""Facts about the host behind a connection, and what it does now."""

from __future__ import annotations

from enum import StrEnum

import attrs

__all__ = ["CpuComparison", "CpuMatch", "CpuTimes", "GuestKind", "HostInfo", "HostMemory"]


@attrs.frozen
class HostInfo:
    """What ``hostname``, ``nodeinfo`` and ``version`` print.

    Attributes:
        hostname: the host's name.
        hypervisor: the hypervisor's name, such as ``"QEMU"``.
        hypervisor_version: its version as text, ``""`` if not known.
        architecture: the host's machine type, such as ``"x86_64"``.
        memory: bytes of memory.
        cpus: CPUs that are online.
        cpu_model: CPU model, ``""`` if not known.
        cpu_mhz: clock frequency, 0 if not known.
        numa_nodes: number of NUMA nodes.
        sockets: sockets per node.
        cores: cores per socket.
        threads: threads per core.
        accelerators: what runs guest code: ``("kvm", "tcg")``, ``("xen",)`` …, best first.
    """

    hostname: str
    hypervisor: str
    hypervisor_version: str = ""
    architecture: str = ""
    memory: int = 0
    cpus: int = 1
    cpu_model: str = ""
    cpu_mhz: int = 0
    numa_nodes: int = 1
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    accelerators: tuple[str, ...] = ()


@attrs.frozen
class CpuTimes:
    """For how long CPUs of a host did what since it was started, in seconds.

    Attributes:
        user: they ran programs, guests among them.
        system: they ran the kernel.
        idle: they had nothing to do.
        iowait: they had nothing to do but wait for disks.
    """

    user: float
    system: float
    idle: float
    iowait: float


@attrs.frozen
class HostMemory:
    """What is in use of a host's memory, in bytes.

    Attributes:
        total: all that there is.
        free: what nobody uses.
        buffers: what holds metadata of file systems; ``None`` if not known.
        cached: what holds files and could be given up; ``None`` if not known.
    """

    total: int
    free: int
    buffers: int | None = None
    cached: int | None = None


class CpuMatch(StrEnum):
    """How a CPU stands to another (libvirt's ``virCPUCompareResult``)."""

    INCOMPATIBLE = "incompatible"  # something of it is not there, or must not be
    IDENTICAL = "identical"
    SUPERSET = "superset"  # there is more than it asks for


@attrs.frozen
class CpuComparison:
    """What came of comparing a CPU.

    Attributes:
        match: how what is there stands to it.
        reason: why it is incompatible; ``""`` otherwise.
    """

    match: CpuMatch
    reason: str = ""


@attrs.frozen
class GuestKind:
    """A kind of guest, as ``Connection.domain_capabilities`` takes it.

    Attributes:
        emulator: path of the emulator; ``None``: that of the architecture.
        arch: the guest's architecture; ``None``: the host's.
        machine: a machine type or its alias; ``None``: the default.
        kind: the domain's type, such as ``"kvm"``; ``None``: the best there is.
    """

    emulator: str | None = None
    arch: str | None = None
    machine: str | None = None
    kind: str | None = None
