"""Virtual networks of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import (
    HEX,
    NAME,
    ON_OFF,
    UINT,
    ULONG,
    UUID_TEXT,
    YES_NO,
    Fault,
    choices,
)
from polyvisor.model._net_codecs import IP, UNICAST_MAC, bits_of, masked
from polyvisor.model._network_rules import check_bandwidth, check_virtualport, check_vlan
from polyvisor.model.binding import (
    Element,
    RawXml,
    attr,
    child,
    children,
    element,
    inner,
    inners,
    subtree,
    value,
)
from polyvisor.model.document import Document
from polyvisor.model.storage import set_defaults

if TYPE_CHECKING:
    from polyvisor.model.devices.interface import Bandwidth, VirtualPort, Vlan
    from polyvisor.model.network_dns import NetworkDns
    from polyvisor.model.network_ip import NetworkIp, NetworkRoute

__all__ = [
    "DnsmasqOptions",
    "Forward",
    "ForwardAddress",
    "ForwardInterface",
    "ForwardNat",
    "NatAddresses",
    "NatPorts",
    "NetworkBridge",
    "NetworkDomain",
    "NetworkSpec",
    "PortGroup",
]

ForwardMode = Literal[
    "none", "nat", "route", "open", "bridge", "private", "vepa", "passthrough", "hostdev"
]
#: Modes in which libvirt makes the bridge itself.
_OWN_BRIDGE = ("none", "nat", "route", "open")
MacTableManager = Literal["kernel", "libvirt"]


@element(kw_only=True)
class NatAddresses(Element):
    """The addresses behind which guests are hidden."""

    start: str = attr(IP, required=True)
    end: str = attr(IP, required=True)

    def _refuse(self) -> None:
        if bits_of(self.start) != 32 or bits_of(self.end) != 32:
            raise Fault("addresses for NAT are IPv4", "give an IPv4 address")


@element(kw_only=True)
class NatPorts(Element):
    """The ports from which guests' connections come."""

    start: int = attr(UINT, required=True)
    end: int = attr(UINT, required=True)

    def _refuse(self) -> None:
        if not self.start <= self.end <= 65535:
            raise Fault(f"ports {self.start} to {self.end} are no range", "use 1024 to 65535")


@element(kw_only=True)
class ForwardNat(Element):
    """How addresses are translated."""

    ipv6: bool | None = attr(YES_NO)
    address: NatAddresses | None = child(NatAddresses)
    port: NatPorts | None = child(NatPorts)


@element(kw_only=True)
class ForwardInterface(Element):
    """An interface of the host that guests are connected to."""

    dev: str = attr(required=True)
    #: How many guests use it; known of a running network only.
    connections: int | None = attr(UINT)


@element(kw_only=True)
class ForwardAddress(Element):
    """A PCI device of the host that guests get."""

    type: Literal["pci"] = attr(choices(Literal["pci"]), required=True)
    domain: int | None = attr(HEX(4))
    bus: int | None = attr(HEX(2))
    slot: int | None = attr(HEX(2))
    function: int | None = attr(HEX(1))
    multifunction: bool | None = attr(ON_OFF)
    #: How many guests use it; known of a running network only.
    connections: int | None = attr(UINT)


@element(kw_only=True)
class Forward(Element):
    """How the network is connected to the host's."""

    dev: str | None = attr()
    mode: ForwardMode = attr(choices(ForwardMode), default="nat")
    managed: bool | None = attr(YES_NO)
    driver: Literal["kvm", "vfio"] | None = inner("driver", "name", choices(Literal["kvm", "vfio"]))
    nat: ForwardNat | None = child(ForwardNat)
    #: The physical function whose virtual functions guests get.
    pf: str | None = inner("pf", "dev")
    interfaces: tuple[ForwardInterface, ...] = children(ForwardInterface, "interface")
    addresses: tuple[ForwardAddress, ...] = children(ForwardAddress, "address")

    def __attrs_post_init__(self) -> None:
        if self.dev is not None and not self.interfaces:
            set_defaults(self, interfaces=(ForwardInterface(dev=self.dev),))
        elif self.dev is None and self.pf is None and self.interfaces:
            set_defaults(self, dev=self.interfaces[0].dev)
        if self.mode == "hostdev" and self.managed is None:
            set_defaults(self, managed=False)

    def _refuse(self) -> None:
        if self.nat is not None and self.mode != "nat":
            raise Fault(f"<nat> is for mode 'nat', not {self.mode!r}", "remove it").at("nat")
        if self.dev is not None and (self.addresses or self.pf is not None):
            raise Fault("dev cannot stand beside <address> or <pf>", "remove one of them")
        if self.dev is not None and self.dev != self.interfaces[0].dev:
            first = self.interfaces[0].dev
            raise Fault(
                f"dev {self.dev!r} is not the first interface, {first!r}", "make them the same"
            ).at("interface")
        names = [one.dev for one in self.interfaces]
        for number, name in enumerate(names):
            if name in names[:number]:
                step = f"interface[{number + 1}]"
                raise Fault(f"the interface {name!r} is listed twice", "remove it").at(step)
        places = [(one.domain or 0, one.bus, one.slot, one.function) for one in self.addresses]
        for number, place in enumerate(places):
            if place in places[:number]:
                step = f"address[{number + 1}]"
                raise Fault("the PCI device is listed twice", "remove it").at(step)


@element(kw_only=True)
class NetworkBridge(Element):
    """The bridge of the host that guests are plugged into."""

    name: str | None = attr()
    #: The firewall's zone.
    zone: str | None = attr()
    stp: bool | None = attr(ON_OFF)
    #: Seconds until a port forwards.
    delay: int | None = attr(ULONG)
    mac_table_manager: MacTableManager | None = attr(
        choices(MacTableManager), name="macTableManager"
    )


@element(kw_only=True)
class NetworkDomain(Element):
    """The DNS domain of the network."""

    name: str | None = attr()
    #: Whether the host's resolver is not asked for names of this domain.
    local_only: bool | None = attr(YES_NO, name="localOnly")


@element(kw_only=True)
class PortGroup(Element):
    """Settings that interfaces of guests can name."""

    XML_OPEN: ClassVar = True

    name: str = attr(required=True)
    default: bool | None = attr(YES_NO)
    trust_guest_rx_filters: bool | None = attr(YES_NO, name="trustGuestRxFilters")
    vlan: Vlan | None = child(".devices.interface:Vlan")
    virtualport: VirtualPort | None = child(".devices.interface:VirtualPort")
    bandwidth: Bandwidth | None = child(".devices.interface:Bandwidth")

    def _refuse(self) -> None:
        check_vlan(self.vlan)
        check_virtualport(self.virtualport)
        check_bandwidth(self.bandwidth)


@element(kw_only=True)
class DnsmasqOptions(Element):
    """Lines for dnsmasq's configuration: ``<dnsmasq:options>``."""

    values: tuple[str, ...] = inners("dnsmasq:option", "value")


@element(kw_only=True)
class NetworkSpec(Document):
    """A virtual network: libvirt's ``<network>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "network"
    XML_TITLE: ClassVar[str] = "network"
    XML_NAMESPACES: ClassVar = {"dnsmasq": "http://libvirt.org/schemas/network/dnsmasq/1.0"}

    #: How many guests use it; known of a running network only.
    connections: int | None = attr(UINT)
    #: Whether guests reach each other by IPv6 though the network has no such address.
    ipv6: bool | None = attr(YES_NO)
    trust_guest_rx_filters: bool | None = attr(YES_NO, name="trustGuestRxFilters")
    name: str = value(NAME, required=True)
    uuid: UUID | None = value(UUID_TEXT)
    title: str | None = value()
    description: str | None = value()
    metadata: RawXml | None = subtree()
    #: None: guests reach each other and the host only.
    forward: Forward | None = child(Forward)
    bridge: NetworkBridge | None = child(NetworkBridge)
    mtu: int | None = inner("mtu", "size", UINT)
    mac: str | None = inner("mac", "address", UNICAST_MAC)
    domain: NetworkDomain | None = child(NetworkDomain)
    dns: NetworkDns | None = child(".network_dns:NetworkDns")
    vlan: Vlan | None = child(".devices.interface:Vlan")
    bandwidth: Bandwidth | None = child(".devices.interface:Bandwidth")
    #: Whether guests cannot reach each other.
    port_isolated: bool | None = inner("port", "isolated", YES_NO)
    ips: tuple[NetworkIp, ...] = children(".network_ip:NetworkIp", "ip")
    routes: tuple[NetworkRoute, ...] = children(".network_ip:NetworkRoute", "route")
    virtualport: VirtualPort | None = child(".devices.interface:VirtualPort")
    portgroups: tuple[PortGroup, ...] = children(PortGroup, "portgroup")
    dnsmasq_options: DnsmasqOptions | None = child(DnsmasqOptions, "dnsmasq:options")

    @property
    def mode(self) -> ForwardMode:
        """How the network is connected to the host's; ``"none"``: not at all."""
        return "none" if self.forward is None else self.forward.mode

    def __attrs_post_init__(self) -> None:
        if self.mode in _OWN_BRIDGE:
            bridge = self.bridge or NetworkBridge()
            if bridge.stp is None or bridge.delay is None:
                bridge = attrs.evolve(
                    bridge,
                    stp=True if bridge.stp is None else bridge.stp,
                    delay=bridge.delay or 0,
                )
            set_defaults(self, bridge=bridge)

    def _refuse(self) -> None:
        check_vlan(self.vlan)
        check_virtualport(self.virtualport, typed=True)
        check_bandwidth(self.bandwidth)
        self._refuse_routes()
        mode, forward, bridge = self.mode, self.forward or Forward(mode="none"), self.bridge
        if mode in _OWN_BRIDGE:
            if mode != "none" and not self.ips:
                raise Fault(f"mode {mode!r} needs an address", "add <ip>").at("forward")
            if mode != "none" and len(forward.interfaces) + len(forward.addresses) > 1:
                raise Fault(f"mode {mode!r} has one interface at most", "remove others").at(
                    "forward"
                )
            if mode == "open" and (forward.interfaces or forward.addresses):
                raise Fault("mode 'open' takes no dev", "remove it").at("forward")
            return
        if self.mtu is not None:
            raise Fault(f"an mtu cannot be set in mode {mode!r}", "remove it").at("mtu")
        if bridge is None:
            return
        if mode != "bridge" and (
            bridge.name is not None or bridge.zone is not None or bridge.mac_table_manager
        ):
            raise Fault(f"there is no bridge in mode {mode!r}", "remove it").at("bridge")
        if bridge.stp is not None or bridge.delay or bridge.zone is not None:
            raise Fault(
                f"in mode {mode!r} the bridge is not libvirt's to set stp, delay or zone of",
                "remove them",
            ).at("bridge")
        if bridge.name is not None and (
            forward.interfaces or forward.addresses or forward.pf is not None
        ):
            raise Fault("there is either a bridge or a forward dev", "remove one").at("bridge")

    def _refuse_routes(self) -> None:
        for number, route in enumerate(self.routes, 1):
            if not any(
                bits_of(ip.address) == bits_of(route.gateway)
                and masked(ip.address, ip.prefix_length) == masked(route.gateway, ip.prefix_length)
                for ip in self.ips
            ):
                raise Fault(
                    f"the gateway {route.gateway} cannot be reached from the network",
                    "use an address in a network of one <ip>",
                ).at(f"route[{number}]")

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined.

        That is without counts of guests, which are a running network's, and without what is
        as good as absent.
        """
        spec = super().definition()
        forward = spec.forward
        if forward is not None:
            forward = attrs.evolve(
                forward,
                interfaces=tuple(attrs.evolve(i, connections=None) for i in forward.interfaces),
                addresses=tuple(attrs.evolve(a, connections=None) for a in forward.addresses),
            )
        groups = tuple(
            attrs.evolve(group, default=group.default or None) for group in spec.portgroups
        )
        return attrs.evolve(
            spec, connections=None, ipv6=spec.ipv6 or None, forward=forward, portgroups=groups
        )
