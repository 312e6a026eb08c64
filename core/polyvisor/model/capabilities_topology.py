"""The host's NUMA cells, CPUs, caches and memory bandwidth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import UINT, choices
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import Element, attr, child, children, element, inners, size, text

if TYPE_CHECKING:
    from polyvisor.model.cpu import Distances, Interconnects, MemoryCache

__all__ = [
    "AllocationMonitor",
    "BandwidthControl",
    "CacheBank",
    "CacheBanks",
    "CacheControl",
    "CellCpus",
    "CellPages",
    "HostCell",
    "HostCells",
    "HostThread",
    "MemoryBandwidthNode",
    "MemoryBandwidthNodes",
    "Topology",
]

CacheType = Literal["both", "code", "data"]


@element(kw_only=True)
class CellPages(Element):
    """How many pages of one size a cell has."""

    unit: str | None = attr()
    #: In that unit.
    size: int = attr(UINT, required=True)
    count: int = text(UINT, required=True)


@element(kw_only=True)
class HostThread(Element):
    """One CPU of the host."""

    id: int = attr(UINT, required=True)
    socket_id: int | None = attr(UINT)
    die_id: int | None = attr(UINT)
    core_id: int | None = attr(UINT)
    #: CPUs of the same core.
    siblings: str | None = attr(CPUSET)


@element(kw_only=True)
class CellCpus(Element):
    """The CPUs of a cell."""

    num: int = attr(UINT, required=True)
    cpus: tuple[HostThread, ...] = children(HostThread, "cpu")


@element(kw_only=True)
class HostCell(Element):
    """One NUMA cell of the host."""

    id: int = attr(UINT, required=True)
    #: In bytes.
    memory: int | None = size()
    pages: tuple[CellPages, ...] = children(CellPages, "pages")
    distances: Distances | None = child(".cpu:Distances")
    caches: tuple[MemoryCache, ...] = children(".cpu:MemoryCache", "cache")
    cpus: CellCpus | None = child(CellCpus)


@element(kw_only=True)
class HostCells(Element):
    """NUMA cells."""

    num: int = attr(UINT, required=True)
    cells: tuple[HostCell, ...] = children(HostCell, "cell")


@element(kw_only=True)
class Topology(Element):
    """NUMA cells and how fast they reach each other."""

    cells: HostCells | None = child(HostCells)
    interconnects: Interconnects | None = child(".cpu:Interconnects")


@element(kw_only=True)
class CacheControl(Element):
    """How finely a cache can be divided among guests."""

    granularity: int | None = attr(UINT)
    min: int | None = attr(UINT)
    unit: str | None = attr()
    type: CacheType | None = attr(choices(CacheType))
    max_allocs: int | None = attr(UINT, name="maxAllocs")


@element(kw_only=True)
class CacheBank(Element):
    """A cache and the CPUs that share it."""

    id: int = attr(UINT, required=True)
    level: int | None = attr(UINT)
    type: CacheType | None = attr(choices(CacheType))
    #: In its unit.
    size: int | None = attr(UINT)
    unit: str | None = attr()
    cpus: str | None = attr(CPUSET)
    controls: tuple[CacheControl, ...] = children(CacheControl, "control")


@element(kw_only=True)
class AllocationMonitor(Element):
    """What can be watched, and by how many monitors."""

    level: int | None = attr(UINT)
    reuse_threshold: int | None = attr(UINT, name="reuseThreshold")
    max_monitors: int | None = attr(UINT, name="maxMonitors")
    features: tuple[str, ...] = inners("feature", "name")


@element(kw_only=True)
class CacheBanks(Element):
    """Caches."""

    banks: tuple[CacheBank, ...] = children(CacheBank, "bank")
    monitor: AllocationMonitor | None = child(AllocationMonitor)


@element(kw_only=True)
class BandwidthControl(Element):
    """How finely memory bandwidth can be divided among guests, in percent."""

    granularity: int | None = attr(UINT)
    min: int | None = attr(UINT)
    max_allocs: int | None = attr(UINT, name="maxAllocs")


@element(kw_only=True)
class MemoryBandwidthNode(Element):
    """A memory controller and the CPUs that share it."""

    id: int = attr(UINT, required=True)
    cpus: str | None = attr(CPUSET)
    controls: tuple[BandwidthControl, ...] = children(BandwidthControl, "control")


@element(kw_only=True)
class MemoryBandwidthNodes(Element):
    """Memory controllers."""

    nodes: tuple[MemoryBandwidthNode, ...] = children(MemoryBandwidthNode, "node")
    monitor: AllocationMonitor | None = child(AllocationMonitor)
