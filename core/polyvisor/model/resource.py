"""Shares of the host's disks and caches, and the control group that a domain lives in."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import UINT, ULONG, choices
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import Element, attr, children, element, inner, value

__all__ = [
    "BlkioDevice",
    "BlkioTune",
    "CacheTune",
    "CpuMemoryTune",
    "Resource",
    "TuneCache",
    "TuneMonitor",
    "TuneNode",
]


@element(kw_only=True)
class BlkioDevice(Element):
    """A share of one block device of the host."""

    path: str = value(required=True)
    weight: int | None = value(UINT)
    read_iops_sec: int | None = value(UINT)
    write_iops_sec: int | None = value(UINT)
    read_bytes_sec: int | None = value(ULONG)
    write_bytes_sec: int | None = value(ULONG)


@element(kw_only=True)
class BlkioTune(Element):
    """Shares of the host's block devices: ``<blkiotune>``."""

    weight: int | None = value(UINT)
    devices: tuple[BlkioDevice, ...] = children(BlkioDevice, "device")


@element(kw_only=True)
class Resource(Element):
    """The control group that a domain lives in: ``<resource>``."""

    partition: str | None = value()
    #: By which the network's switches know the domain's traffic.
    fibrechannel_appid: str | None = inner("fibrechannel", "appid")


@element(kw_only=True)
class TuneCache(Element):
    """A part of one cache of the host."""

    id: int | None = attr(UINT)
    level: int | None = attr(UINT)
    type: Literal["both", "code", "data"] | None = attr(choices(Literal["both", "code", "data"]))
    #: In the unit of ``unit``.
    size: int | None = attr(ULONG)
    unit: str | None = attr()


@element(kw_only=True)
class TuneMonitor(Element):
    """Virtual CPUs whose use is measured together."""

    level: int | None = attr(UINT)
    vcpus: str | None = attr(CPUSET)


@element(kw_only=True)
class CacheTune(Element):
    """Parts of the host's caches for some virtual CPUs."""

    vcpus: str | None = attr(CPUSET)
    id: str | None = attr()
    caches: tuple[TuneCache, ...] = children(TuneCache, "cache")
    monitors: tuple[TuneMonitor, ...] = children(TuneMonitor, "monitor")


@element(kw_only=True)
class TuneNode(Element):
    """A share of the memory bandwidth of one node of the host, in per cent."""

    id: int | None = attr(UINT)
    bandwidth: int | None = attr(UINT)


@element(kw_only=True)
class CpuMemoryTune(Element):
    """Memory bandwidth for some virtual CPUs: ``<memorytune>``."""

    vcpus: str | None = attr(CPUSET)
    nodes: tuple[TuneNode, ...] = children(TuneNode, "node")
    monitors: tuple[TuneMonitor, ...] = children(TuneMonitor, "monitor")
