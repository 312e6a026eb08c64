"""The DNS server of a virtual network."""

from __future__ import annotations

import re

from polyvisor.model._codecs import UINT, YES_NO, Fault
from polyvisor.model._net_codecs import IP
from polyvisor.model.binding import Element, attr, children, element, values

__all__ = ["DnsForwarder", "DnsHost", "DnsSrv", "DnsTxt", "NetworkDns"]

# Characters of names in /etc/services and /etc/protocols (virNetworkDNSSrvDefParseXML).
_service = re.compile(r"[a-zA-Z0-9_+/*-]{1,63}").fullmatch
_protocol = re.compile(r"[a-zA-Z0-9+/-]+").fullmatch


@element(kw_only=True)
class DnsForwarder(Element):
    """A server that is asked what this one does not know."""

    domain: str | None = attr()
    addr: str | None = attr(IP)

    def _refuse(self) -> None:
        if self.domain is None and self.addr is None:
            raise Fault("a forwarder has neither domain nor addr", "give one of them")


@element(kw_only=True)
class DnsTxt(Element):
    """A TXT record."""

    name: str = attr(required=True)
    value: str = attr(required=True)

    def _refuse(self) -> None:
        if " " in self.name or "," in self.name:
            raise Fault(f"the name {self.name!r} holds a blank or a comma", "remove it")


@element(kw_only=True)
class DnsSrv(Element):
    """An SRV record."""

    service: str = attr(required=True)
    protocol: str = attr(required=True)
    domain: str | None = attr()
    target: str | None = attr()
    port: int | None = attr(UINT)
    priority: int | None = attr(UINT)
    weight: int | None = attr(UINT)

    def _refuse(self) -> None:
        if _service(self.service) is None:
            raise Fault(
                f"{self.service!r} is not a service",
                "use up to 63 letters, digits and _ - + / *",
            )
        if _protocol(self.protocol) is None:
            raise Fault(f"{self.protocol!r} is not a protocol", "use tcp or udp")
        for name, low in (("port", 1), ("priority", 0), ("weight", 0)):
            number = getattr(self, name)
            if number is None:
                continue
            if self.target is None:
                raise Fault(f"{name} says nothing without a target", "add target")
            if not low <= number <= 65535:
                raise Fault(f"{name} {number} is out of range", f"use {low} to 65535")


@element(kw_only=True)
class DnsHost(Element):
    """Names of one address."""

    ip: str = attr(IP, required=True)
    hostnames: tuple[str, ...] = values(name="hostname")

    def _refuse(self) -> None:
        if not self.hostnames or not all(self.hostnames):
            raise Fault("a host has no name", "add <hostname>")


@element(kw_only=True)
class NetworkDns(Element):
    """What the network's DNS server knows."""

    enable: bool | None = attr(YES_NO)
    forward_plain_names: bool | None = attr(YES_NO, name="forwardPlainNames")
    forwarders: tuple[DnsForwarder, ...] = children(DnsForwarder, "forwarder")
    txts: tuple[DnsTxt, ...] = children(DnsTxt, "txt")
    srvs: tuple[DnsSrv, ...] = children(DnsSrv, "srv")
    hosts: tuple[DnsHost, ...] = children(DnsHost, "host")

    def _refuse(self) -> None:
        if self.enable is False and (self.forwarders or self.txts or self.srvs or self.hosts):
            raise Fault("DNS is off and yet has records", "remove them or enable='no'")
