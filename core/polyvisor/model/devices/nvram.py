"""The pSeries NVRAM device."""

from __future__ import annotations

from polyvisor.model.binding import element
from polyvisor.model.devices import Device

__all__ = ["NvramDevice"]


@element(kw_only=True)
class NvramDevice(Device):
    """The NVRAM of a pSeries machine."""
