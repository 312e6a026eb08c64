"""Ports of virtual networks: where one interface of a guest is plugged in."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal
from uuid import UUID

from polyvisor.model._codecs import NAME, UUID_TEXT, YES_NO, Fault, choices
from polyvisor.model._net_codecs import MAC
from polyvisor.model._network_rules import check_bandwidth, check_virtualport, check_vlan
from polyvisor.model.binding import Choice, Element, attr, child, element, inner, value
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.devices.hostdev import HostPciAddress
    from polyvisor.model.devices.interface import Bandwidth, VirtualPort, Vlan

__all__ = [
    "BridgePlug",
    "DirectPlug",
    "HostdevPciPlug",
    "NetworkPlug",
    "NetworkPortSpec",
    "PortOwner",
]

MacTableManager = Literal["kernel", "libvirt"]
DirectMode = Literal["bridge", "passthrough", "private", "vepa"]


@element(kw_only=True)
class PortOwner(Element):
    """The domain whose interface it is."""

    name: str = value(NAME, required=True)
    uuid: UUID = value(UUID_TEXT, required=True)


@element(kw_only=True)
class NetworkPlug(Element):
    """Into the bridge that libvirt made for the network."""

    type: Literal["network"] = attr(choices(Literal["network"]), default="network")
    bridge: str = attr(required=True)
    mac_table_manager: MacTableManager | None = attr(
        choices(MacTableManager), name="macTableManager"
    )


@element(kw_only=True)
class BridgePlug(Element):
    """Into a bridge of the host."""

    type: Literal["bridge"] = attr(choices(Literal["bridge"]), default="bridge")
    bridge: str = attr(required=True)
    mac_table_manager: MacTableManager | None = attr(
        choices(MacTableManager), name="macTableManager"
    )


@element(kw_only=True)
class DirectPlug(Element):
    """Onto an interface of the host."""

    type: Literal["direct"] = attr(choices(Literal["direct"]), default="direct")
    dev: str = attr(required=True)
    mode: DirectMode = attr(choices(DirectMode), default="vepa")


@element(kw_only=True)
class HostdevPciPlug(Element):
    """A PCI device of the host."""

    type: Literal["hostdev-pci"] = attr(choices(Literal["hostdev-pci"]), default="hostdev-pci")
    managed: bool | None = attr(YES_NO)
    driver: Literal["kvm", "vfio"] | None = inner("driver", "name", choices(Literal["kvm", "vfio"]))
    address: HostPciAddress = child(".devices.hostdev:HostPciAddress", required=True)


@element(kw_only=True)
class NetworkPortSpec(Document):
    """A port of a virtual network: libvirt's ``<networkport>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "networkport"
    XML_TITLE: ClassVar[str] = "network port"

    uuid: UUID = value(UUID_TEXT, required=True)
    owner: PortOwner = child(PortOwner, required=True)
    #: The group of ports whose settings it took.
    group: str | None = value()
    mac: str = inner("mac", "address", MAC)
    virtualport: VirtualPort | None = child(".devices.interface:VirtualPort")
    bandwidth: Bandwidth | None = child(".devices.interface:Bandwidth")
    vlan: Vlan | None = child(".devices.interface:Vlan")
    #: Whether it cannot reach the network's other ports.
    port_isolated: bool | None = inner("port", "isolated", YES_NO)
    #: Whether the host's filters follow what the guest asks for.
    trust_guest_rx_filters: bool | None = inner("rxfilters", "trustGuest", YES_NO)
    plug: NetworkPlug | BridgePlug | DirectPlug | HostdevPciPlug | None = child(
        Choice(
            "type",
            {
                "network": NetworkPlug,
                "bridge": BridgePlug,
                "direct": DirectPlug,
                "hostdev-pci": HostdevPciPlug,
            },
        )
    )

    def _refuse(self) -> None:
        if self.mac is None:
            raise Fault("the port has no <mac>", "add it")
        check_virtualport(self.virtualport)
        check_bandwidth(self.bandwidth, floor=True)
        check_vlan(self.vlan)
