"""Memory modules that can be plugged."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from polyvisor.model._codecs import UINT, UUID_TEXT, YES_NO, choices
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import Element, attr, child, element, flag, value
from polyvisor.model.binding import size as sized
from polyvisor.model.devices import Device

__all__ = ["Memory", "MemoryLabel", "MemorySource", "MemoryTarget"]

MemoryModel = Literal["dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc"]


@element(kw_only=True)
class MemorySource(Element):
    """What the module is made of on the host; sizes in bytes."""

    nodemask: str | None = value(CPUSET)
    pagesize: int | None = sized()
    path: str | None = value()
    alignsize: int | None = sized()
    pmem: bool = flag()


@element(kw_only=True)
class MemoryLabel(Element):
    """The part of an NVDIMM that is kept for its label."""

    #: In bytes.
    size: int | None = sized(required=True)


@element(kw_only=True)
class MemoryTarget(Element):
    """What the guest sees; sizes in bytes."""

    size: int = sized(required=True)
    node: int | None = value(UINT)
    label: MemoryLabel | None = child(MemoryLabel)
    readonly: bool = flag()
    block: int | None = sized()
    requested: int | None = sized()
    current: int | None = sized()


@element(kw_only=True)
class Memory(Device):
    """A memory module."""

    model: MemoryModel = attr(choices(MemoryModel), required=True)
    access: Literal["shared", "private"] | None = attr(choices(Literal["shared", "private"]))
    discard: bool | None = attr(YES_NO)
    uuid: UUID | None = value(UUID_TEXT)
    source: MemorySource | None = child(MemorySource)
    target: MemoryTarget | None = child(MemoryTarget)
