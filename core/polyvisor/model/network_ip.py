"""Addresses, DHCP and routes of a virtual network."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from polyvisor.model._codecs import UINT, ULONG, YES_NO, Fault, choices
from polyvisor.model._net_codecs import (
    IP,
    UNICAST_MAC_TEXT,
    bits_of,
    ip_number,
    masked,
    prefix_of,
)
from polyvisor.model.binding import Element, attr, child, children, element, inner
from polyvisor.model.storage import set_defaults

__all__ = ["Bootp", "Dhcp", "DhcpHost", "DhcpRange", "Lease", "NetworkIp", "NetworkRoute"]

LeaseUnit = Literal["seconds", "minutes", "hours"]
Family = Literal["ipv4", "ipv6"]

_duid = re.compile(r"[0-9a-fA-F:]*").fullmatch


@element(kw_only=True)
class Lease(Element):
    """How long an address is lent; 0: for ever."""

    expiry: int = attr(ULONG, required=True)
    unit: LeaseUnit | None = attr(choices(LeaseUnit))

    def __attrs_post_init__(self) -> None:
        if self.unit is None and self.expiry:
            set_defaults(self, unit="minutes")

    def _refuse(self) -> None:
        seconds = self.expiry * {"seconds": 1, "hours": 3600}.get(self.unit or "", 60)
        # dnsmasq knows no shorter lease.
        if 0 < seconds < 120:
            raise Fault(f"a lease of {seconds} seconds is too short", "use two minutes or more")


@element(kw_only=True)
class DhcpRange(Element):
    """Addresses to lend."""

    start: str = attr(IP, required=True)
    end: str = attr(IP, required=True)
    lease: Lease | None = child(Lease)


@element(kw_only=True)
class DhcpHost(Element):
    """An address kept for one guest."""

    mac: str | None = attr(UNICAST_MAC_TEXT)
    #: DHCP unique identifier, for IPv6.
    id: str | None = attr()
    name: str | None = attr()
    ip: str = attr(IP, required=True)
    lease: Lease | None = child(Lease)

    def _refuse(self) -> None:
        if self.id is not None and _duid(self.id) is None:
            raise Fault(f"{self.id!r} is not a DHCP identifier", "use hex digits and colons")
        if self.name is not None and not (self.name[:1].isascii() and self.name[:1].isalnum()):
            raise Fault(f"{self.name!r} is not a host name", "start with a letter or digit")


@element(kw_only=True)
class Bootp(Element):
    """What guests boot from the network."""

    file: str = attr(required=True)
    server: str | None = attr(IP)


@element(kw_only=True)
class Dhcp(Element):
    """What the DHCP server hands out."""

    ranges: tuple[DhcpRange, ...] = children(DhcpRange, "range")
    hosts: tuple[DhcpHost, ...] = children(DhcpHost, "host")
    bootp: Bootp | None = child(Bootp)


@element(kw_only=True)
class NetworkIp(Element):
    """An address of the host in the network."""

    XML_OPEN: ClassVar = True

    family: Family | None = attr(choices(Family))
    address: str = attr(IP, required=True)
    netmask: str | None = attr(IP)
    prefix: int | None = attr(UINT)
    local_ptr: bool | None = attr(YES_NO, name="localPtr")
    tftp_root: str | None = inner("tftp", "root")
    dhcp: Dhcp | None = child(Dhcp)

    @property
    def prefix_length(self) -> int:
        """How many bits of the address are the network's."""
        return prefix_of(self.address, self.prefix, self.netmask)

    def _refuse(self) -> None:
        bits = bits_of(self.address)
        check_family(self.family, bits, self.netmask, self.prefix)
        if bits == 128 and self.tftp_root is not None:
            raise Fault("TFTP is for IPv4 only", "remove it").at("tftp")
        if self.dhcp is None:
            return
        for number, one in enumerate(self.dhcp.ranges, 1):
            self._refuse_range(one, f"range[{number}]")
        for number, host in enumerate(self.dhcp.hosts, 1):
            step = f"host[{number}]"
            if bits == 128 and host.mac is not None:
                raise Fault("with IPv6 a host has no mac", "use id").at("dhcp", step)
            if bits == 128 and host.id is None and host.name is None:
                raise Fault("a host has neither id nor name", "give one").at("dhcp", step)
            if bits == 32 and host.mac is None and host.name is None:
                raise Fault("a host has neither mac nor name", "give one").at("dhcp", step)

    def _refuse_range(self, one: DhcpRange, step: str) -> None:
        bits, first = ip_number(one.start)
        end_bits, last = ip_number(one.end)
        prefix, shown = self.prefix_length, f"{one.start} to {one.end}"
        network = masked(self.address, prefix)
        fault = ""
        if not bits == end_bits == network[0] or not (
            network == masked(one.start, prefix) == masked(one.end, prefix)
        ):
            fault = f"{shown} is not in the network of {self.address}/{prefix}"
        elif first > last:
            fault = f"{shown} ends before it starts"
        elif last - first >= 65536:
            fault = f"{shown} is more than 65535 addresses"
        elif bits == 32 and prefix < 31 and first == network[1]:
            fault = f"{one.start} is the network's own address"
        elif bits == 32 and prefix < 31 and last == network[1] + 2 ** (32 - prefix) - 1:
            fault = f"{one.end} is the broadcast address"
        if fault:
            raise Fault(fault, "use another range").at("dhcp", step)


@element(kw_only=True)
class NetworkRoute(Element):
    """A network that is reached through a guest."""

    family: Family | None = attr(choices(Family))
    address: str = attr(IP, required=True)
    netmask: str | None = attr(IP)
    prefix: int | None = attr(UINT)
    gateway: str = attr(IP, required=True)
    metric: int | None = attr(UINT)

    def _refuse(self) -> None:
        bits = bits_of(self.address)
        check_family(self.family, bits, self.netmask, self.prefix)
        if bits_of(self.gateway) != bits:
            raise Fault(f"the gateway {self.gateway} is of another family", "use one of the same")
        if self.metric == 0:
            raise Fault("the metric 0 is out of range", "use 1 or more")
        number = ip_number(self.address)
        prefix = prefix_of(self.address, self.prefix, self.netmask)
        if number[1] and masked(self.address, prefix) != number:
            raise Fault(f"{self.address}/{prefix} is not a network", "clear the host's part")


def check_family(family: str | None, bits: int, netmask: str | None, prefix: int | None) -> None:
    """Refuse what does not fit an address of so many bits."""
    if (family == "ipv6") is not (bits == 128):
        shown = "no family" if family is None else f"family {family!r}"
        right = "ipv6" if bits == 128 else "ipv4"
        raise Fault(f"{shown} is given for an {right} address", f"use family='{right}'")
    if netmask is not None:
        if bits == 128:
            raise Fault("an IPv6 address has no netmask", "use prefix")
        if bits_of(netmask) != 32:
            raise Fault(f"{netmask} is not an IPv4 netmask", "use one such as 255.255.255.0")
        if prefix:
            raise Fault("both netmask and prefix are given", "remove one")
    elif prefix is not None and prefix > bits:
        raise Fault(f"the prefix {prefix} is out of range", f"use 1 to {bits}")
