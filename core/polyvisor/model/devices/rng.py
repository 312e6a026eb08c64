"""Random number generators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import ON_OFF, UINT, choices
from polyvisor.model.binding import Element, attr, child, children, element, inner, text
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.chardev import ChardevLog, ChardevSource

__all__ = ["Rng", "RngBackend", "RngDriver", "RngRate"]


@element(kw_only=True)
class RngRate(Element):
    """At most so many bytes per period in milliseconds."""

    bytes: int | None = attr(UINT)
    period: int | None = attr(UINT)


@element(kw_only=True)
class RngBackend(Element):
    """Where the randomness comes from."""

    model: Literal["random", "egd", "builtin"] | None = attr(
        choices(Literal["random", "egd", "builtin"])
    )
    type: str | None = attr()
    #: For ``random``.
    path: str | None = text()
    sources: tuple[ChardevSource, ...] = children(".devices.chardev:ChardevSource", "source")
    protocol: str | None = inner("protocol", "type")
    log: ChardevLog | None = child(".devices.chardev:ChardevLog")


@element(kw_only=True)
class RngDriver(Element):
    """Options of the virtio driver."""

    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class Rng(Device):
    """A random number generator."""

    model: str | None = attr()
    rate: RngRate | None = child(RngRate)
    backend: RngBackend | None = child(RngBackend)
    driver: RngDriver | None = child(RngDriver)
