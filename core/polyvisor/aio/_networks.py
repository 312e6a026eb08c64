"""Networks, the host's interfaces, and network filters, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._families import Collection, Defined, Started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from polyvisor.model import InterfaceSpec, NetworkSpec, NwFilterSpec
    from polyvisor.networks import HostInterface as SyncHostInterface
    from polyvisor.networks import InterfaceCollection as SyncInterfaceCollection
    from polyvisor.networks import Network as SyncNetwork
    from polyvisor.networks import NetworkCollection as SyncNetworkCollection
    from polyvisor.networks import NwFilter as SyncNwFilter
    from polyvisor.networks import NwFilterCollection as SyncNwFilterCollection
    from polyvisor.objects import DhcpLease

__all__ = [
    "HostInterface",
    "InterfaceCollection",
    "Network",
    "NetworkCollection",
    "NwFilter",
    "NwFilterCollection",
]


class Network(Started):
    """A handle of a virtual network."""

    __slots__ = ()

    sync: SyncNetwork

    async def spec(self, *, inactive: bool = False) -> NetworkSpec:
        """Return its definition."""
        return await self._run(self.sync.spec, inactive=inactive)

    async def bridge(self) -> str:
        """Return the name of its bridge on the host."""
        return await self._run(self.sync.bridge)

    async def leases(self, mac: str | None = None) -> Sequence[DhcpLease]:
        """Return the addresses that it gave out."""
        return await self._run(self.sync.leases, mac)


class NetworkCollection(Collection[Network]):
    """The virtual networks of a connection."""

    __slots__ = ()

    sync: SyncNetworkCollection

    def _wrap(self, sync: Any) -> Network:
        return Network(self._host, sync)


class HostInterface(Defined):
    """A handle of a network interface of the host."""

    __slots__ = ()

    sync: SyncHostInterface

    async def spec(self, *, inactive: bool = False) -> InterfaceSpec:
        """Return its definition."""
        return await self._run(self.sync.spec, inactive=inactive)

    @property
    def mac(self) -> Awaitable[str | None]:
        """Its MAC address, if it has one; to be awaited."""
        return self._get("mac")

    async def start(self) -> None:
        """Bring it up."""
        await self._run(self.sync.start)

    async def destroy(self) -> None:
        """Take it down."""
        await self._run(self.sync.destroy)


class InterfaceCollection(Collection[HostInterface]):
    """The host's network interfaces."""

    __slots__ = ()

    sync: SyncInterfaceCollection

    def _wrap(self, sync: Any) -> HostInterface:
        return HostInterface(self._host, sync)


class NwFilter(Defined):
    """A handle of a network filter."""

    __slots__ = ()

    sync: SyncNwFilter

    async def spec(self) -> NwFilterSpec:
        """Return its definition."""
        return await self._run(self.sync.spec)


class NwFilterCollection(Collection[NwFilter]):
    """The network filters of a connection."""

    __slots__ = ()

    sync: SyncNwFilterCollection

    def _wrap(self, sync: Any) -> NwFilter:
        return NwFilter(self._host, sync)
