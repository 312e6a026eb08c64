"""What a simulated host has beside domains and pools: networks, interfaces, devices.

Starting a network or an interface changes nothing but what is said of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.driver import NodeDevices
from polyvisor.errors import NotFound
from polyvisor.local.objects import LocalInterfaces, LocalNetworks
from polyvisor.objects import ObjectSummary

if TYPE_CHECKING:
    from polyvisor.state import Home, ObjectRecord

__all__ = ["SimInterfaces", "SimNetworks", "SimNodeDevices"]


class SimNetworks(LocalNetworks):
    """Networks that are only written down."""


class SimInterfaces(LocalInterfaces):
    """Interfaces that are only written down."""

    outlives_definition = False


class SimNodeDevices(NodeDevices):
    """Devices that a host began with.

    Args:
        home: where they are written down.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def summaries(self) -> Sequence[ObjectSummary]:
        """Return a line for each device."""
        return [ObjectSummary(one.key, one.name) for one in self._home.store.objects(self.family)]

    def by_name(self, name: str) -> ObjectSummary:
        """Return the device called ``name``."""
        return self.get(name)

    def get(self, key: str) -> ObjectSummary:
        """Return the device called ``key``."""
        return ObjectSummary(key, self._record(key).name)

    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Return its document."""
        return self._record(key).live or ""

    def parent(self, key: str) -> str | None:
        """Return the name of the device that it hangs on."""
        parent: str | None = self._record(key).data.get("parent")
        return parent

    def capabilities(self, key: str) -> Sequence[str]:
        """Return what it is."""
        return list(self._record(key).data["capabilities"])

    def _record(self, key: str) -> ObjectRecord:
        record = self._home.store.object(self.family, key)
        if record is None:
            raise NotFound(f"no node device is called {key!r}", kind="node device", key=key)
        return record
