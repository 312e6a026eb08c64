"""Devices while their addresses are being chosen: lists instead of frozen values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.model.devices import Devices

__all__ = ["Draft"]


class Draft:
    """The devices of a domain by the fields that hold them.

    Args:
        devices: the devices.
    """

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.lists: dict[str, list[Any]] = {}
        for field in attrs.fields(type(devices)):
            held = getattr(devices, field.name)
            if isinstance(held, Device):
                self.lists[field.name] = [held]
            elif isinstance(held, tuple):
                self.lists[field.name] = list(held)

    def of(self, *kinds: str) -> Iterator[tuple[str, int, Any]]:
        """Go through devices: the field that holds one, its place there, and the device."""
        for kind in kinds:
            for number, device in enumerate(self.lists.get(kind, ())):
                yield kind, number, device

    def put(self, kind: str, number: int, **fields: Any) -> None:
        """Change a device."""
        self.lists[kind][number] = attrs.evolve(self.lists[kind][number], **fields)

    def done(self) -> Devices:
        """Return the devices as they are now."""
        fields: dict[str, Any] = {}
        for name, held in self.lists.items():
            single = isinstance(getattr(self.devices, name), Device)
            fields[name] = held[0] if single else tuple(held)
        return attrs.evolve(self.devices, **fields)
