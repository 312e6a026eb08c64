"""Interfaces of the host and how they are set up.

Those of guests are in :mod:`polyvisor.model.devices.interface`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from polyvisor.model._codecs import ON_OFF, STR, UINT, YES_NO, Codec, Fault, choices
from polyvisor.model.binding import Element, attr, child, children, element, flag, inner
from polyvisor.model.document import Document

__all__ = [
    "ArpMonitor",
    "Bond",
    "InterfaceBridge",
    "InterfaceDhcp",
    "InterfaceLink",
    "InterfacePart",
    "InterfaceSpec",
    "InterfaceVlan",
    "IpProtocol",
    "MiiMonitor",
    "ProtocolIp",
    "VlanInterface",
]

HostInterfaceType = Literal["ethernet", "bridge", "bond", "vlan"]
StartMode = Literal["onboot", "none", "hotplug"]
LinkState = Literal["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"]
BondMode = Literal[
    "balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb",
    "balance-alb",
]  # fmt: skip
Carrier = Literal["ioctl", "netif"]
Validation = Literal["none", "active", "backup", "all"]
IpFamily = Literal["ipv4", "ipv6"]

_seconds = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+").fullmatch


def _read_seconds(text: str | None) -> str:
    if not isinstance(text, str) or _seconds(text) is None:
        raise Fault(f"{text or ''!r} is not a time", "use seconds, as in 0.01")
    return text


#: Seconds as they stand, since libvirt keeps the text.
SECONDS = Codec(_read_seconds, lambda text: STR.write(_read_seconds(text)))


@element(kw_only=True)
class InterfaceLink(Element):
    """What its cable says; known of a running interface only."""

    #: In Mbit/s.
    speed: int | None = attr(UINT)
    state: LinkState | None = attr(choices(LinkState))


@element(kw_only=True)
class InterfaceDhcp(Element):
    """That the address comes by DHCP."""

    #: Whether name servers are taken from it too.
    peerdns: bool | None = attr(YES_NO)


@element(kw_only=True)
class ProtocolIp(Element):
    """A fixed address."""

    address: str | None = attr()
    prefix: int | None = attr(UINT)


@element(kw_only=True)
class IpProtocol(Element):
    """How the interface gets addresses of one family."""

    XML_OPEN: ClassVar = True

    family: IpFamily = attr(choices(IpFamily), required=True)
    autoconf: bool = flag()
    dhcp: InterfaceDhcp | None = child(InterfaceDhcp)
    ips: tuple[ProtocolIp, ...] = children(ProtocolIp, "ip")
    gateway: str | None = inner("route", "gateway")


@element(kw_only=True)
class MiiMonitor(Element):
    """How the links of a bond are watched; times in milliseconds."""

    freq: int = attr(UINT, required=True)
    downdelay: int | None = attr(UINT)
    updelay: int | None = attr(UINT)
    carrier: Carrier | None = attr(choices(Carrier))


@element(kw_only=True)
class ArpMonitor(Element):
    """How the links of a bond are watched by asking another host; times in milliseconds."""

    interval: int = attr(UINT, required=True)
    target: str = attr(required=True)
    validate: Validation | None = attr(choices(Validation))


@element(kw_only=True)
class VlanInterface(Element):
    """The interface below a VLAN."""

    name: str = attr(required=True)


@element(kw_only=True)
class InterfaceVlan(Element):
    """The VLAN that an interface is in."""

    tag: int = attr(UINT, required=True)
    interface: VlanInterface = child(VlanInterface, required=True)

    def _refuse(self) -> None:
        if self.tag > 4095:
            raise Fault(f"the tag {self.tag} is out of range", "use 0 to 4095")


@element(kw_only=True)
class Bond(Element):
    """Several interfaces that act as one."""

    mode: BondMode | None = attr(choices(BondMode))
    miimon: MiiMonitor | None = child(MiiMonitor)
    arpmon: ArpMonitor | None = child(ArpMonitor)
    interfaces: tuple[InterfacePart, ...] = children(".interface:InterfacePart", "interface")

    def _refuse(self) -> None:
        for number, one in enumerate(self.interfaces, 1):
            if one.type != "ethernet":
                raise Fault(
                    f"an interface of type {one.type!r} is not part of a bond", "use ethernet"
                ).at(f"interface[{number}]")


@element(kw_only=True)
class InterfaceBridge(Element):
    """A bridge and what is plugged into it."""

    XML_OPEN: ClassVar = True

    stp: bool | None = attr(ON_OFF)
    #: Seconds until a port forwards, as text.
    delay: str | None = attr(SECONDS)
    interfaces: tuple[InterfacePart, ...] = children(".interface:InterfacePart", "interface")


def refuse_parts(interface: InterfaceSpec | InterfacePart) -> None:
    """Refuse an interface without what its type needs."""
    kind = interface.type
    if kind != "ethernet" and getattr(interface, kind) is None:
        raise Fault(f"an interface of type {kind!r} has no <{kind}>", "add it")


@element(kw_only=True)
class InterfacePart(Element):
    """An interface in a bridge or bond, which has no addresses of its own."""

    XML_OPEN: ClassVar = True

    type: HostInterfaceType = attr(choices(HostInterfaceType), required=True)
    name: str = attr(required=True)
    link: InterfaceLink | None = child(InterfaceLink)
    mac: str | None = inner("mac", "address")
    bond: Bond | None = child(Bond)
    vlan: InterfaceVlan | None = child(InterfaceVlan)

    def _refuse(self) -> None:
        if self.type == "bridge":
            raise Fault("a bridge is not part of another interface", "use another type")
        refuse_parts(self)


@element(kw_only=True)
class InterfaceSpec(Document):
    """An interface of the host: libvirt's ``<interface>`` outside of a domain.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "interface"
    XML_TITLE: ClassVar[str] = "host interface"

    type: HostInterfaceType = attr(choices(HostInterfaceType), required=True)
    name: str = attr(required=True)
    start: StartMode | None = inner("start", "mode", choices(StartMode))
    mtu: int | None = inner("mtu", "size", UINT)
    protocols: tuple[IpProtocol, ...] = children(IpProtocol, "protocol")
    link: InterfaceLink | None = child(InterfaceLink)
    mac: str | None = inner("mac", "address")
    bridge: InterfaceBridge | None = child(InterfaceBridge)
    bond: Bond | None = child(Bond)
    vlan: InterfaceVlan | None = child(InterfaceVlan)

    def _refuse(self) -> None:
        refuse_parts(self)
