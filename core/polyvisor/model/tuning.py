"""How a domain shares the host: CPU time, memory, NUMA nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import UINT, ULONG, choices, integer
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import (
    Element,
    attr,
    beside,
    child,
    children,
    element,
    flag,
    inner,
    size,
    value,
)

if TYPE_CHECKING:
    from polyvisor.model.resource import CacheTune, CpuMemoryTune

__all__ = [
    "CpuTune",
    "EmulatorPin",
    "EmulatorSched",
    "HugePage",
    "HugePages",
    "IoThreadPin",
    "IoThreadSched",
    "MemNode",
    "MemoryBacking",
    "MemoryTune",
    "NumaMemory",
    "NumaTune",
    "VcpuPin",
    "VcpuSched",
]

NumaMode = Literal["strict", "preferred", "interleave", "restrictive"]
Scheduler = Literal["batch", "idle", "fifo", "rr"]
#: -1: no limit (virDomainSchedulerQuota).
QUOTA = integer(-1, 2**63 - 1)


@element(kw_only=True)
class VcpuPin(Element):
    """Host CPUs of one virtual CPU."""

    vcpu: int | None = attr(UINT)
    cpuset: str | None = attr(CPUSET)


@element(kw_only=True)
class EmulatorPin(Element):
    """Host CPUs of the emulator's own threads."""

    cpuset: str | None = attr(CPUSET)


@element(kw_only=True)
class IoThreadPin(Element):
    """Host CPUs of one I/O thread."""

    iothread: int | None = attr(UINT)
    cpuset: str | None = attr(CPUSET)


@element(kw_only=True)
class EmulatorSched(Element):
    """The emulator's scheduling class."""

    scheduler: Scheduler | None = attr(choices(Scheduler))
    priority: int | None = attr(UINT)


@element(kw_only=True)
class VcpuSched(Element):
    """The scheduling class of virtual CPUs."""

    vcpus: str | None = attr(CPUSET)
    scheduler: Scheduler | None = attr(choices(Scheduler))
    priority: int | None = attr(UINT)


@element(kw_only=True)
class IoThreadSched(Element):
    """The scheduling class of I/O threads."""

    iothreads: str | None = attr(CPUSET)
    scheduler: Scheduler | None = attr(choices(Scheduler))
    priority: int | None = attr(UINT)


@element(kw_only=True)
class CpuTune(Element):
    """How CPU time is shared; periods and quotas in microseconds."""

    shares: int | None = value(ULONG)
    period: int | None = value(ULONG)
    quota: int | None = value(QUOTA)
    global_period: int | None = value(ULONG)
    global_quota: int | None = value(QUOTA)
    emulator_period: int | None = value(ULONG)
    emulator_quota: int | None = value(QUOTA)
    iothread_period: int | None = value(ULONG)
    iothread_quota: int | None = value(QUOTA)
    vcpupins: tuple[VcpuPin, ...] = children(VcpuPin, "vcpupin")
    emulatorpin: EmulatorPin | None = child(EmulatorPin)
    iothreadpins: tuple[IoThreadPin, ...] = children(IoThreadPin, "iothreadpin")
    emulatorsched: EmulatorSched | None = child(EmulatorSched)
    vcpuscheds: tuple[VcpuSched, ...] = children(VcpuSched, "vcpusched")
    iothreadscheds: tuple[IoThreadSched, ...] = children(IoThreadSched, "iothreadsched")
    cachetunes: tuple[CacheTune, ...] = children(".resource:CacheTune", "cachetune")
    memorytunes: tuple[CpuMemoryTune, ...] = children(".resource:CpuMemoryTune", "memorytune")


@element(kw_only=True)
class MemoryTune(Element):
    """Limits of the domain's memory on the host, in bytes."""

    hard_limit: int | None = size()
    soft_limit: int | None = size()
    min_guarantee: int | None = size()
    swap_hard_limit: int | None = size()


@element(kw_only=True)
class HugePage(Element):
    """One size of huge pages and the guest's nodes that use it."""

    size: int | None = attr(ULONG)
    unit: str | None = attr()
    nodeset: str | None = attr(CPUSET)


@element(kw_only=True)
class HugePages(Element):
    """Huge pages."""

    pages: tuple[HugePage, ...] = children(HugePage, "page")


@element(kw_only=True)
class MemoryBacking(Element):
    """What the guest's memory is made of."""

    hugepages: HugePages | None = child(HugePages)
    nosharepages: bool = flag()
    locked: bool = flag()
    source: Literal["file", "anonymous", "memfd"] | None = inner(
        "source", "type", choices(Literal["file", "anonymous", "memfd"])
    )
    access: Literal["shared", "private"] | None = inner(
        "access", "mode", choices(Literal["shared", "private"])
    )
    allocation: Literal["immediate", "ondemand"] | None = inner(
        "allocation", "mode", choices(Literal["immediate", "ondemand"])
    )
    #: How many threads fill the memory.
    allocation_threads: int | None = beside("allocation", "threads", UINT)
    discard: bool = flag()


@element(kw_only=True)
class NumaMemory(Element):
    """Host nodes of all the memory."""

    mode: NumaMode | None = attr(choices(NumaMode))
    nodeset: str | None = attr(CPUSET)
    placement: Literal["static", "auto"] | None = attr(choices(Literal["static", "auto"]))


@element(kw_only=True)
class MemNode(Element):
    """Host nodes of one cell's memory."""

    cellid: int | None = attr(UINT)
    mode: NumaMode | None = attr(choices(NumaMode))
    nodeset: str | None = attr(CPUSET)


@element(kw_only=True)
class NumaTune(Element):
    """Host nodes of the guest's memory."""

    memory: NumaMemory | None = child(NumaMemory)
    memnodes: tuple[MemNode, ...] = children(MemNode, "memnode")
