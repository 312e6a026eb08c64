"""Handles of virtual networks, of the host's network interfaces, and of network filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.families import Collection, Defined, Started

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.driver import Interfaces, Networks
    from polyvisor.model import InterfaceSpec, NetworkSpec, NwFilterSpec
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

    _part: Networks

    def spec(self, *, inactive: bool = False) -> NetworkSpec:
        """Return its definition."""
        from polyvisor.model import NetworkSpec

        return NetworkSpec.from_xml(self.xml(inactive=inactive))

    def bridge(self) -> str:
        """Return the name of its bridge on the host.

        Raises:
            OperationInvalid: it has none of its own.
        """
        return self._part.bridge(self.key)

    def leases(self, mac: str | None = None) -> Sequence[DhcpLease]:
        """Return the addresses that it gave out.

        Args:
            mac: only those given to this MAC address.

        Raises:
            Unsupported: the driver does not know them.
        """
        return self._part.leases(self.key, mac)


class NetworkCollection(Collection[Network]):
    """The virtual networks of a connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection, "networks", lambda: connection._driver.networks, Network, _network
        )


class HostInterface(Defined):
    """A handle of a network interface of the host."""

    __slots__ = ()

    _part: Interfaces

    def spec(self, *, inactive: bool = False) -> InterfaceSpec:
        """Return its definition."""
        from polyvisor.model import InterfaceSpec

        return InterfaceSpec.from_xml(self.xml(inactive=inactive))

    @property
    def mac(self) -> str | None:
        """Its MAC address, if it has one."""
        return self._part.mac(self.key)

    def start(self) -> None:
        """Bring it up."""
        self._connection._check_writable("start")
        self._part.start(self.key)

    def destroy(self) -> None:
        """Take it down."""
        self._connection._check_writable("destroy")
        self._part.destroy(self.key)


class InterfaceCollection(Collection[HostInterface]):
    """The host's network interfaces."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection,
            "interfaces",
            lambda: connection._driver.interfaces,
            HostInterface,
            _interface,
        )


class NwFilter(Defined):
    """A handle of a network filter."""

    __slots__ = ()

    def spec(self) -> NwFilterSpec:
        """Return its definition."""
        from polyvisor.model import NwFilterSpec

        return NwFilterSpec.from_xml(self.xml())


class NwFilterCollection(Collection[NwFilter]):
    """The network filters of a connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection, "nwfilters", lambda: connection._driver.nwfilters, NwFilter, _nwfilter
        )


def _network() -> type[NetworkSpec]:
    from polyvisor.model import NetworkSpec

    return NetworkSpec


def _interface() -> type[InterfaceSpec]:
    from polyvisor.model import InterfaceSpec

    return InterfaceSpec


def _nwfilter() -> type[NwFilterSpec]:
    from polyvisor.model import NwFilterSpec

    return NwFilterSpec
