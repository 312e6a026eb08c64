"""What rules of network filters look at: one class per protocol.

Values are text in libvirt's form or, where they are numbers, ``int``; each may be a variable of
the filter such as ``"$IP"``.
"""

from __future__ import annotations

from typing import TypeAlias

from polyvisor.model._codecs import YES_NO, Fault
from polyvisor.model._nwfilter_codecs import (
    ARP_OPCODE,
    DSCP,
    ETHER_TYPE,
    ETHER_TYPE_IN_VLAN,
    GRATUITOUS,
    IP4,
    IP4_MASK,
    IP6,
    IP6_MASK,
    IP_PROTOCOL,
    IPSET,
    IPSET_FLAGS,
    MAC_ADDRESS,
    MAC_MASK,
    STATES,
    TCP_FLAGS,
    U8,
    U16,
    U32,
    VLAN_ID,
)
from polyvisor.model.binding import Element, attr, element

__all__ = [
    "MATCHES",
    "AhIpv6Match",
    "AhMatch",
    "AllIpv6Match",
    "AllMatch",
    "ArpMatch",
    "EspIpv6Match",
    "EspMatch",
    "IcmpMatch",
    "Icmpv6Match",
    "IgmpMatch",
    "IpMatch",
    "Ipv6Match",
    "MacMatch",
    "Match",
    "RarpMatch",
    "SctpIpv6Match",
    "SctpMatch",
    "StpMatch",
    "TcpIpv6Match",
    "TcpMatch",
    "UdpIpv6Match",
    "UdpMatch",
    "UdpliteIpv6Match",
    "UdpliteMatch",
    "VlanMatch",
]  # fmt: skip

#: A number, or text: hex digits or a variable.
Number: TypeAlias = "int | str | None"


@element(kw_only=True)
class Match(Element):
    """Base of all: False means that packets must not be like this."""

    match: bool | None = attr(YES_NO)


@element(kw_only=True)
class _EthernetMatch(Match):
    srcmacaddr: str | None = attr(MAC_ADDRESS)
    srcmacmask: str | None = attr(MAC_MASK)
    dstmacaddr: str | None = attr(MAC_ADDRESS)
    dstmacmask: str | None = attr(MAC_MASK)


@element(kw_only=True)
class MacMatch(_EthernetMatch):
    """Ethernet frames."""

    protocolid: Number = attr(ETHER_TYPE)
    comment: str | None = attr()


@element(kw_only=True)
class VlanMatch(_EthernetMatch):
    """Frames of a VLAN."""

    vlanid: Number = attr(VLAN_ID)
    encap_protocol: Number = attr(ETHER_TYPE_IN_VLAN, name="encap-protocol")
    comment: str | None = attr()


@element(kw_only=True)
class StpMatch(Match):
    """Frames of the spanning tree protocol; each range goes up to the field with ``_hi``."""

    srcmacaddr: str | None = attr(MAC_ADDRESS)
    srcmacmask: str | None = attr(MAC_MASK)
    type: Number = attr(U8)
    flags: Number = attr(U8)
    root_priority: Number = attr(U16, name="root-priority")
    root_priority_hi: Number = attr(U16, name="root-priority-hi")
    root_address: str | None = attr(MAC_ADDRESS, name="root-address")
    root_address_mask: str | None = attr(MAC_MASK, name="root-address-mask")
    root_cost: Number = attr(U32, name="root-cost")
    root_cost_hi: Number = attr(U32, name="root-cost-hi")
    sender_priority: Number = attr(U16, name="sender-priority")
    sender_priority_hi: Number = attr(U16, name="sender-priority-hi")
    sender_address: str | None = attr(MAC_ADDRESS, name="sender-address")
    sender_address_mask: str | None = attr(MAC_MASK, name="sender-address-mask")
    port: Number = attr(U16)
    port_hi: Number = attr(U16, name="port-hi")
    age: Number = attr(U16)
    age_hi: Number = attr(U16, name="age-hi")
    max_age: Number = attr(U16, name="max-age")
    max_age_hi: Number = attr(U16, name="max-age-hi")
    hello_time: Number = attr(U16, name="hello-time")
    hello_time_hi: Number = attr(U16, name="hello-time-hi")
    forward_delay: Number = attr(U16, name="forward-delay")
    forward_delay_hi: Number = attr(U16, name="forward-delay-hi")
    comment: str | None = attr()


@element(kw_only=True)
class ArpMatch(_EthernetMatch):
    """ARP: who has an IPv4 address."""

    hwtype: Number = attr(U16)
    protocoltype: Number = attr(U16)
    opcode: Number = attr(ARP_OPCODE)
    arpsrcmacaddr: str | None = attr(MAC_ADDRESS)
    arpdstmacaddr: str | None = attr(MAC_ADDRESS)
    arpsrcipaddr: str | None = attr(IP4)
    arpsrcipmask: Number = attr(IP4_MASK)
    arpdstipaddr: str | None = attr(IP4)
    arpdstipmask: Number = attr(IP4_MASK)
    #: Whether it was not asked for; text: a variable.
    gratuitous: bool | str | None = attr(GRATUITOUS)
    comment: str | None = attr()


@element(kw_only=True)
class RarpMatch(ArpMatch):
    """Reverse ARP: which IPv4 address one has."""


# --- by the bridge's tables -------------------------------------------------------------------

#: Protocols that have ports, by name and number.
_WITH_PORTS = {"tcp", "udp", "sctp", 33, "0x21"}


def _refuse_ports(match: IpMatch | Ipv6Match) -> None:
    ports = (match.srcportstart, match.srcportend, match.dstportstart, match.dstportend)
    if any(port is not None for port in ports) and match.protocol not in _WITH_PORTS:
        # A variable's value is not known here.
        if isinstance(match.protocol, str) and match.protocol.startswith("$"):
            return
        raise Fault("ports are of a protocol", "set protocol to tcp, udp, dccp (33) or sctp")


@element(kw_only=True)
class IpMatch(_EthernetMatch):
    """IPv4 packets, looked at as Ethernet frames."""

    srcipaddr: str | None = attr(IP4)
    srcipmask: Number = attr(IP4_MASK)
    dstipaddr: str | None = attr(IP4)
    dstipmask: Number = attr(IP4_MASK)
    protocol: Number = attr(IP_PROTOCOL)
    srcportstart: Number = attr(U16)
    srcportend: Number = attr(U16)
    dstportstart: Number = attr(U16)
    dstportend: Number = attr(U16)
    dscp: Number = attr(DSCP)
    comment: str | None = attr()

    def _refuse(self) -> None:
        _refuse_ports(self)


@element(kw_only=True)
class Ipv6Match(_EthernetMatch):
    """IPv6 packets, looked at as Ethernet frames."""

    srcipaddr: str | None = attr(IP6)
    srcipmask: Number = attr(IP6_MASK)
    dstipaddr: str | None = attr(IP6)
    dstipmask: Number = attr(IP6_MASK)
    protocol: Number = attr(IP_PROTOCOL)
    srcportstart: Number = attr(U16)
    srcportend: Number = attr(U16)
    dstportstart: Number = attr(U16)
    dstportend: Number = attr(U16)
    type: Number = attr(U8)
    typeend: Number = attr(U8)
    code: Number = attr(U8)
    codeend: Number = attr(U8)
    comment: str | None = attr()

    def _refuse(self) -> None:
        _refuse_ports(self)


# --- by the host's IPv4 tables ----------------------------------------------------------------


@element(kw_only=True)
class _Ipv4Match(Match):
    srcmacaddr: str | None = attr(MAC_ADDRESS)
    srcipaddr: str | None = attr(IP4)
    srcipmask: Number = attr(IP4_MASK)
    dstipaddr: str | None = attr(IP4)
    dstipmask: Number = attr(IP4_MASK)
    srcipfrom: str | None = attr(IP4)
    srcipto: str | None = attr(IP4)
    dstipfrom: str | None = attr(IP4)
    dstipto: str | None = attr(IP4)
    dscp: Number = attr(DSCP)
    #: More connections than so many.
    connlimit_above: Number = attr(U16, name="connlimit-above")
    state: str | None = attr(STATES)
    ipset: str | None = attr(IPSET)
    ipsetflags: str | None = attr(IPSET_FLAGS)


@element(kw_only=True)
class _Ipv4PortMatch(_Ipv4Match):
    srcportstart: Number = attr(U16)
    srcportend: Number = attr(U16)
    dstportstart: Number = attr(U16)
    dstportend: Number = attr(U16)


@element(kw_only=True)
class TcpMatch(_Ipv4PortMatch):
    """TCP over IPv4."""

    option: Number = attr(U8)
    flags: str | None = attr(TCP_FLAGS)
    comment: str | None = attr()


@element(kw_only=True)
class UdpMatch(_Ipv4PortMatch):
    """UDP over IPv4."""

    comment: str | None = attr()


@element(kw_only=True)
class SctpMatch(_Ipv4PortMatch):
    """SCTP over IPv4."""

    comment: str | None = attr()


@element(kw_only=True)
class IcmpMatch(_Ipv4Match):
    """ICMP."""

    type: Number = attr(U8)
    code: Number = attr(U8)
    comment: str | None = attr()


@element(kw_only=True)
class IgmpMatch(_Ipv4Match):
    """IGMP."""

    comment: str | None = attr()


@element(kw_only=True)
class AllMatch(_Ipv4Match):
    """Everything over IPv4."""

    comment: str | None = attr()


@element(kw_only=True)
class EspMatch(_Ipv4Match):
    """ESP over IPv4."""

    comment: str | None = attr()


@element(kw_only=True)
class AhMatch(_Ipv4Match):
    """AH over IPv4."""

    comment: str | None = attr()


@element(kw_only=True)
class UdpliteMatch(_Ipv4Match):
    """UDP-Lite over IPv4."""

    comment: str | None = attr()


# --- by the host's IPv6 tables ----------------------------------------------------------------


@element(kw_only=True)
class _OverIpv6Match(Match):
    srcmacaddr: str | None = attr(MAC_ADDRESS)
    srcipaddr: str | None = attr(IP6)
    srcipmask: Number = attr(IP6_MASK)
    dstipaddr: str | None = attr(IP6)
    dstipmask: Number = attr(IP6_MASK)
    srcipfrom: str | None = attr(IP6)
    srcipto: str | None = attr(IP6)
    dstipfrom: str | None = attr(IP6)
    dstipto: str | None = attr(IP6)
    dscp: Number = attr(DSCP)
    #: More connections than so many.
    connlimit_above: Number = attr(U16, name="connlimit-above")
    state: str | None = attr(STATES)
    ipset: str | None = attr(IPSET)
    ipsetflags: str | None = attr(IPSET_FLAGS)


@element(kw_only=True)
class _Ipv6PortMatch(_OverIpv6Match):
    srcportstart: Number = attr(U16)
    srcportend: Number = attr(U16)
    dstportstart: Number = attr(U16)
    dstportend: Number = attr(U16)


@element(kw_only=True)
class TcpIpv6Match(_Ipv6PortMatch):
    """TCP over IPv6."""

    option: Number = attr(U8)
    flags: str | None = attr(TCP_FLAGS)
    comment: str | None = attr()


@element(kw_only=True)
class UdpIpv6Match(_Ipv6PortMatch):
    """UDP over IPv6."""

    comment: str | None = attr()


@element(kw_only=True)
class SctpIpv6Match(_Ipv6PortMatch):
    """SCTP over IPv6."""

    comment: str | None = attr()


@element(kw_only=True)
class Icmpv6Match(_OverIpv6Match):
    """ICMPv6."""

    type: Number = attr(U8)
    code: Number = attr(U8)
    comment: str | None = attr()


@element(kw_only=True)
class AllIpv6Match(_OverIpv6Match):
    """Everything over IPv6."""

    comment: str | None = attr()


@element(kw_only=True)
class EspIpv6Match(_OverIpv6Match):
    """ESP over IPv6."""

    comment: str | None = attr()


@element(kw_only=True)
class AhIpv6Match(_OverIpv6Match):
    """AH over IPv6."""

    comment: str | None = attr()


@element(kw_only=True)
class UdpliteIpv6Match(_OverIpv6Match):
    """UDP-Lite over IPv6."""

    comment: str | None = attr()


#: The class of each protocol's element.
MATCHES: dict[str, type[Element] | str] = {
    "arp": ArpMatch,
    "rarp": RarpMatch,
    "mac": MacMatch,
    "vlan": VlanMatch,
    "stp": StpMatch,
    "ip": IpMatch,
    "ipv6": Ipv6Match,
    "tcp": TcpMatch,
    "udp": UdpMatch,
    "udplite": UdpliteMatch,
    "esp": EspMatch,
    "ah": AhMatch,
    "sctp": SctpMatch,
    "icmp": IcmpMatch,
    "all": AllMatch,
    "igmp": IgmpMatch,
    "tcp-ipv6": TcpIpv6Match,
    "udp-ipv6": UdpIpv6Match,
    "udplite-ipv6": UdpliteIpv6Match,
    "esp-ipv6": EspIpv6Match,
    "ah-ipv6": AhIpv6Match,
    "sctp-ipv6": SctpIpv6Match,
    "icmpv6": Icmpv6Match,
    "all-ipv6": AllIpv6Match,
}
