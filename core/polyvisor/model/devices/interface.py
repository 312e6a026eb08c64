"""Network interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from polyvisor.model._codecs import HEX, ON_OFF, UINT, ULONG, YES_NO, choices
from polyvisor.model.binding import (
    Choice,
    Element,
    attr,
    beside,
    child,
    children,
    element,
    inner,
    value,
)
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Reconnect

__all__ = [
    "Backend",
    "Bandwidth",
    "BandwidthLimit",
    "Coalesce",
    "CoalesceFrames",
    "CoalesceRx",
    "FilterRef",
    "GuestName",
    "Interface",
    "InterfaceDriver",
    "InterfaceIp",
    "InterfaceRoute",
    "InterfaceSource",
    "InterfaceTune",
    "LocalAddress",
    "Mac",
    "Offload",
    "PortForward",
    "PortRange",
    "SourcePciAddress",
    "SourceUsbAddress",
    "Teaming",
    "VirtualPort",
    "VirtualPortParameters",
    "Vlan",
    "VlanTag",
]

InterfaceType = Literal[
    "ethernet", "vhostuser", "server", "client", "mcast", "udp", "network", "bridge", "internal",
    "direct", "hostdev", "vdpa", "user", "null", "vds",
]  # fmt: skip


@element(kw_only=True)
class Mac(Element):
    """The hardware address."""

    address: str | None = attr()
    type: Literal["generated", "static"] | None = attr(choices(Literal["generated", "static"]))
    check: bool | None = attr(YES_NO)


@element(kw_only=True)
class LocalAddress(Element):
    """The own end of a UDP tunnel."""

    address: str | None = attr()
    port: int | None = attr(UINT)


@element(kw_only=True)
class SourcePciAddress(Element):
    """A PCI device of the host."""

    type: Literal["pci"] = attr(default="pci")
    domain: int | None = attr(HEX(4))
    bus: int | None = attr(HEX(2))
    slot: int | None = attr(HEX(2))
    function: int | None = attr(HEX(1))
    multifunction: bool | None = attr(ON_OFF)


@element(kw_only=True)
class SourceUsbAddress(Element):
    """A USB device of the host."""

    type: Literal["usb"] = attr(default="usb")
    bus: int | None = attr(UINT)
    device: int | None = attr(UINT)


@element(kw_only=True)
class InterfaceSource(Element):
    """What it is plugged into on the host; what counts depends on the interface's type."""

    type: str | None = attr()
    path: str | None = attr()
    dev: str | None = attr()
    bridge: str | None = attr()
    network: str | None = attr()
    portgroup: str | None = attr()
    portid: str | None = attr()
    name: str | None = attr()
    mode: str | None = attr()
    mac_table_manager: Literal["kernel", "libvirt"] | None = attr(
        choices(Literal["kernel", "libvirt"]), name="macTableManager"
    )
    #: For ``hostdev``: that the device may be missing.
    missing: bool | None = attr(YES_NO)
    switchid: str | None = attr()
    portgroupid: str | None = attr()
    connectionid: str | None = attr()
    vendor_id: int | None = inner("vendor", "id", HEX(4))
    product_id: int | None = inner("product", "id", HEX(4))
    address_text: str | None = attr(name="address")
    port: int | None = attr(UINT)
    address: SourcePciAddress | SourceUsbAddress | None = child(
        Choice("type", {"pci": SourcePciAddress, "usb": SourceUsbAddress})
    )
    local: LocalAddress | None = child(LocalAddress)
    reconnect: Reconnect | None = child(".devices.disk_source:Reconnect")
    #: For ``ethernet``: addresses of the host's side.
    ips: tuple[InterfaceIp, ...] = children(".devices.interface:InterfaceIp", "ip")
    routes: tuple[InterfaceRoute, ...] = children(".devices.interface:InterfaceRoute", "route")


@element(kw_only=True)
class VlanTag(Element):
    """One VLAN."""

    id: int | None = attr(UINT)
    native_mode: str | None = attr(name="nativeMode")


@element(kw_only=True)
class Vlan(Element):
    """VLANs."""

    trunk: bool | None = attr(YES_NO)
    tags: tuple[VlanTag, ...] = children(VlanTag, "tag")


@element(kw_only=True)
class VirtualPortParameters(Element):
    """Parameters of a virtual port."""

    managerid: str | None = attr()
    typeid: str | None = attr()
    typeidversion: str | None = attr()
    instanceid: str | None = attr()
    profileid: str | None = attr()
    interfaceid: str | None = attr()


@element(kw_only=True)
class VirtualPort(Element):
    """A port of a virtual switch."""

    type: str | None = attr()
    parameters: VirtualPortParameters | None = child(VirtualPortParameters)


@element(kw_only=True)
class BandwidthLimit(Element):
    """Rates in KiB per second, burst in KiB."""

    average: int | None = attr(ULONG)
    peak: int | None = attr(ULONG)
    floor: int | None = attr(ULONG)
    burst: int | None = attr(ULONG)


@element(kw_only=True)
class Bandwidth(Element):
    """Limits of the traffic."""

    #: Which class of the host's traffic shaping it is, for a running network.
    class_id: int | None = attr(UINT, name="classID")
    inbound: BandwidthLimit | None = child(BandwidthLimit)
    outbound: BandwidthLimit | None = child(BandwidthLimit)


@element(kw_only=True)
class Offload(Element):
    """What one side does for the other."""

    csum: bool | None = attr(ON_OFF)
    gso: bool | None = attr(ON_OFF)
    tso4: bool | None = attr(ON_OFF)
    tso6: bool | None = attr(ON_OFF)
    ecn: bool | None = attr(ON_OFF)
    ufo: bool | None = attr(ON_OFF)
    mrg_rxbuf: bool | None = attr(ON_OFF)


@element(kw_only=True)
class InterfaceDriver(Element):
    """Options of the driver."""

    name: Literal["qemu", "vhost", "vfio", "kvm", "xen"] | None = attr(
        choices(Literal["qemu", "vhost", "vfio", "kvm", "xen"])
    )
    txmode: Literal["iothread", "timer"] | None = attr(choices(Literal["iothread", "timer"]))
    ioeventfd: bool | None = attr(ON_OFF)
    event_idx: bool | None = attr(ON_OFF)
    queues: int | None = attr(UINT)
    rx_queue_size: int | None = attr(UINT)
    tx_queue_size: int | None = attr(UINT)
    rss: bool | None = attr(ON_OFF)
    rss_hash_report: bool | None = attr(ON_OFF)
    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)
    host: Offload | None = child(Offload)
    guest: Offload | None = child(Offload)


@element(kw_only=True)
class Backend(Element):
    """Devices of the host that serve it."""

    type: str | None = attr()
    tap: str | None = attr()
    vhost: str | None = attr()
    log_file: str | None = attr(name="logFile")


@element(kw_only=True)
class FilterParameter(Element):
    """A variable of a filter."""

    name: str | None = attr()
    value: str | None = attr()


@element(kw_only=True)
class FilterRef(Element):
    """The filter that its traffic goes through."""

    filter: str | None = attr()
    parameters: tuple[FilterParameter, ...] = children(FilterParameter, "parameter")


@element(kw_only=True)
class Teaming(Element):
    """A pair of interfaces that stand in for each other."""

    type: Literal["persistent", "transient"] | None = attr(
        choices(Literal["persistent", "transient"])
    )
    persistent: str | None = attr()


@element(kw_only=True)
class InterfaceIp(Element):
    """An address in the guest."""

    address: str | None = attr()
    family: Literal["ipv4", "ipv6"] | None = attr(choices(Literal["ipv4", "ipv6"]))
    prefix: int | None = attr(UINT)
    peer: str | None = attr()


@element(kw_only=True)
class InterfaceRoute(Element):
    """A route in the guest."""

    family: Literal["ipv4", "ipv6"] | None = attr(choices(Literal["ipv4", "ipv6"]))
    address: str | None = attr()
    netmask: str | None = attr()
    prefix: int | None = attr(UINT)
    gateway: str | None = attr()
    metric: int | None = attr(UINT)


@element(kw_only=True)
class PortRange(Element):
    """Ports of the host and, if others, of the guest."""

    start: int | None = attr(UINT)
    end: int | None = attr(UINT)
    to: int | None = attr(UINT)
    exclude: bool | None = attr(YES_NO)


@element(kw_only=True)
class PortForward(Element):
    """Ports of the host that lead into the guest."""

    proto: Literal["tcp", "udp"] | None = attr(choices(Literal["tcp", "udp"]))
    address: str | None = attr()
    dev: str | None = attr()
    ranges: tuple[PortRange, ...] = children(PortRange, "range")


@element(kw_only=True)
class GuestName(Element):
    """What the interface is called in a container."""

    dev: str | None = attr()
    actual: str | None = attr()


@element(kw_only=True)
class CoalesceFrames(Element):
    """How many frames are gathered."""

    max: int | None = attr(UINT)


@element(kw_only=True)
class CoalesceRx(Element):
    """Gathering of received frames."""

    frames: CoalesceFrames | None = child(CoalesceFrames)


@element(kw_only=True)
class Coalesce(Element):
    """Gathering of frames before the guest is interrupted."""

    rx: CoalesceRx | None = child(CoalesceRx)


@element(kw_only=True)
class InterfaceTune(Element):
    """Tuning of the host's side."""

    #: In bytes.
    sndbuf: int | None = value(ULONG)


@element(kw_only=True)
class Interface(Device):
    """A network interface."""

    #: As libvirt writes it for any device of the host (virDomainHostdevDefFormatSubsysPCI).
    XML_BEHIND_WHEN: ClassVar = ("type", "hostdev", {"driver": "mac"})

    type: InterfaceType = attr(choices(InterfaceType), default="network")
    managed: bool | None = attr(YES_NO)
    trust_guest_rx_filters: bool | None = attr(YES_NO, name="trustGuestRxFilters")
    mac: Mac | None = child(Mac)
    source: InterfaceSource | None = child(InterfaceSource)
    vlan: Vlan | None = child(Vlan)
    virtualport: VirtualPort | None = child(VirtualPort)
    bandwidth: Bandwidth | None = child(Bandwidth)
    port_isolated: bool | None = inner("port", "isolated", YES_NO)
    ips: tuple[InterfaceIp, ...] = children(InterfaceIp, "ip")
    routes: tuple[InterfaceRoute, ...] = children(InterfaceRoute, "route")
    port_forwards: tuple[PortForward, ...] = children(PortForward, "portForward")
    script: str | None = inner("script", "path")
    downscript: str | None = inner("downscript", "path")
    backenddomain: str | None = inner("backenddomain", "name")
    target: str | None = inner("target", "dev")
    #: False: the host's device is there already and stays.
    target_managed: bool | None = beside("target", "managed", YES_NO)
    guest: GuestName | None = child(GuestName)
    model: str | None = inner("model", "type")
    driver: InterfaceDriver | None = child(InterfaceDriver)
    backend: Backend | None = child(Backend)
    filterref: FilterRef | None = child(FilterRef)
    tune: InterfaceTune | None = child(InterfaceTune)
    link: Literal["up", "down"] | None = inner("link", "state", choices(Literal["up", "down"]))
    mtu: int | None = inner("mtu", "size", UINT)
    coalesce: Coalesce | None = child(Coalesce)
    teaming: Teaming | None = child(Teaming)
