"""Memory shared between guests."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, choices
from polyvisor.model.binding import Element, attr, child, element, inner, size
from polyvisor.model.devices import Device

__all__ = ["Shmem", "ShmemMsi", "ShmemServer"]

ShmemModel = Literal["ivshmem", "ivshmem-plain", "ivshmem-doorbell"]


@element(kw_only=True)
class ShmemServer(Element):
    """The server that hands the memory out."""

    path: str | None = attr()


@element(kw_only=True)
class ShmemMsi(Element):
    """Interrupts between the guests."""

    vectors: int | None = attr(UINT)
    ioeventfd: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Shmem(Device):
    """Memory shared with other guests, or with processes of the host."""

    name: str = attr(required=True)
    role: Literal["master", "peer"] | None = attr(choices(Literal["master", "peer"]))
    model: ShmemModel | None = inner("model", "type", choices(ShmemModel))
    #: In bytes.
    size: int | None = size(unit="M", scale=1)
    server: ShmemServer | None = child(ShmemServer)
    msi: ShmemMsi | None = child(ShmemMsi)
