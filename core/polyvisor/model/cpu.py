"""The guest's CPU: model, features, topology, NUMA cells."""

from __future__ import annotations

from typing import ClassVar, Literal

from polyvisor.model._codecs import ON_OFF, UINT, ULONG, YES_NO, choices
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    text,
    value,
)
from polyvisor.model.document import Document

__all__ = [
    "Cpu",
    "CpuCache",
    "CpuFeature",
    "CpuModel",
    "CpuTopology",
    "Distance",
    "Distances",
    "Interconnects",
    "MaxPhysAddr",
    "MemoryBandwidth",
    "MemoryCache",
    "MemoryCacheSize",
    "MemoryLatency",
    "Numa",
    "NumaCell",
]

CpuMode = Literal["custom", "host-model", "host-passthrough", "maximum"]
CpuMatch = Literal["minimum", "exact", "strict"]
CpuCheck = Literal["none", "partial", "full"]
FeaturePolicy = Literal["force", "require", "optional", "disable", "forbid"]
Fallback = Literal["allow", "forbid"]
CacheMode = Literal["emulate", "passthrough", "disable"]
MemoryAccess = Literal["shared", "private"]
MemoryLatencyType = Literal["access", "read", "write"]


@element(kw_only=True)
class CpuModel(Element):
    """The CPU model: ``<model fallback='allow'>EPYC</model>``."""

    fallback: Fallback | None = attr(choices(Fallback))
    vendor_id: str | None = attr()
    name: str | None = text()


@element(kw_only=True)
class CpuTopology(Element):
    """Sockets, dies, cores, threads."""

    sockets: int | None = attr(UINT)
    dies: int | None = attr(UINT)
    clusters: int | None = attr(UINT)
    cores: int | None = attr(UINT)
    threads: int | None = attr(UINT)


@element(kw_only=True)
class CpuCache(Element):
    """How the guest sees the CPU's cache."""

    level: int | None = attr(UINT)
    mode: CacheMode | None = attr(choices(CacheMode))


@element(kw_only=True)
class MaxPhysAddr(Element):
    """Width of physical addresses."""

    mode: Literal["emulate", "passthrough"] | None = attr(
        choices(Literal["emulate", "passthrough"])
    )
    bits: int | None = attr(UINT)


@element(kw_only=True)
class CpuFeature(Element):
    """One CPU feature."""

    policy: FeaturePolicy | None = attr(choices(FeaturePolicy))
    name: str | None = attr()


@element(kw_only=True)
class Distance(Element):
    """How far another cell is."""

    id: int | None = attr(UINT)
    value: int | None = attr(UINT)


@element(kw_only=True)
class Distances(Element):
    """How far the other cells are."""

    siblings: tuple[Distance, ...] = children(Distance, "sibling")


@element(kw_only=True)
class MemoryCacheSize(Element):
    """A size of a memory side cache."""

    value: int | None = attr(UINT)
    unit: str | None = attr()


@element(kw_only=True)
class MemoryCache(Element):
    """A memory side cache of a cell."""

    level: int | None = attr(UINT)
    associativity: Literal["none", "direct", "full"] | None = attr(
        choices(Literal["none", "direct", "full"])
    )
    policy: Literal["none", "writeback", "writethrough"] | None = attr(
        choices(Literal["none", "writeback", "writethrough"])
    )
    size: MemoryCacheSize | None = child(MemoryCacheSize)
    line: MemoryCacheSize | None = child(MemoryCacheSize)


@element(kw_only=True)
class MemoryLatency(Element):
    """How long an access from one cell to another takes, in nanoseconds."""

    initiator: int | None = attr(UINT)
    target: int | None = attr(UINT)
    cache: int | None = attr(UINT)
    type: MemoryLatencyType | None = attr(choices(MemoryLatencyType))
    value: int | None = attr(ULONG)


@element(kw_only=True)
class MemoryBandwidth(Element):
    """How much goes from one cell to another in a second."""

    initiator: int | None = attr(UINT)
    target: int | None = attr(UINT)
    cache: int | None = attr(UINT)
    type: MemoryLatencyType | None = attr(choices(MemoryLatencyType))
    value: int | None = attr(ULONG)
    unit: str | None = attr()


@element(kw_only=True)
class Interconnects(Element):
    """How fast cells reach each other's memory."""

    latencies: tuple[MemoryLatency, ...] = children(MemoryLatency, "latency")
    bandwidths: tuple[MemoryBandwidth, ...] = children(MemoryBandwidth, "bandwidth")


@element(kw_only=True)
class NumaCell(Element):
    """One NUMA cell of the guest."""

    id: int | None = attr(UINT)
    cpus: str | None = attr(CPUSET)
    #: In the unit of ``unit``.
    memory: int | None = attr(ULONG)
    unit: str | None = attr()
    mem_access: MemoryAccess | None = attr(choices(MemoryAccess), name="memAccess")
    discard: bool | None = attr(YES_NO)
    distances: Distances | None = child(Distances)
    caches: tuple[MemoryCache, ...] = children(MemoryCache, "cache")


@element(kw_only=True)
class Numa(Element):
    """The guest's NUMA cells."""

    cells: tuple[NumaCell, ...] = children(NumaCell, "cell")
    interconnects: Interconnects | None = child(Interconnects)


@element(kw_only=True)
class Cpu(Document):
    """The guest's CPU, in a domain or as a document of its own: libvirt's ``<cpu>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "cpu"
    XML_TITLE: ClassVar[str] = "CPU"

    mode: CpuMode | None = attr(choices(CpuMode))
    match: CpuMatch | None = attr(choices(CpuMatch))
    check: CpuCheck | None = attr(choices(CpuCheck))
    migratable: bool | None = attr(ON_OFF)
    model: CpuModel | None = child(CpuModel)
    vendor: str | None = value()
    topology: CpuTopology | None = child(CpuTopology)
    cache: CpuCache | None = child(CpuCache)
    maxphysaddr: MaxPhysAddr | None = child(MaxPhysAddr)
    features: tuple[CpuFeature, ...] = children(CpuFeature, "feature")
    numa: Numa | None = child(Numa)
