"""PCI devices of the host."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

import attrs

from polyvisor.model._codecs import HEX, INT, STR, UINT, Codec, Fault, choices
from polyvisor.model.binding import (
    Choice,
    Element,
    attr,
    child,
    children,
    element,
    inner,
    text,
    value,
)
from polyvisor.model.node_device_capability import Capability, DeviceId

if TYPE_CHECKING:
    from polyvisor.model.devices.hostdev import HostPciAddress
    from polyvisor.model.node_device_mdev import MdevTypesCapability

__all__ = [
    "BridgeCapability",
    "IommuGroup",
    "PciCapability",
    "PciExpress",
    "PciExpressLink",
    "PhysFunctionCapability",
    "VirtFunctionsCapability",
    "VpdCapability",
    "VpdField",
    "VpdFields",
]

_HERE = ".node_device_pci"

_plain = re.compile(r"[0-9a-zA-F -_,.:;=]{0,255}").fullmatch


def _read_vpd(text: str) -> str:
    if _plain(text) is None:
        raise Fault(f"{text[:60]!r} is not a value of vital product data", "use plain text")
    return text


#: A value of vital product data (vpdFieldValueFormat, nodedev.rng).
VPD_TEXT = Codec(_read_vpd, lambda text: STR.write(_read_vpd(text)), STR.write_text)


@element(kw_only=True)
class IommuGroup(Element):
    """The devices that can only be given to one guest together."""

    number: int = attr(UINT, required=True)
    addresses: tuple[HostPciAddress, ...] = children(".devices.hostdev:HostPciAddress", "address")


@element(kw_only=True)
class PhysFunctionCapability(Capability):
    """Of a virtual function: which physical one it belongs to."""

    type: Literal["phys_function"] = attr(
        choices(Literal["phys_function"]), default="phys_function"
    )
    address: HostPciAddress | None = child(".devices.hostdev:HostPciAddress")


@element(kw_only=True)
class VirtFunctionsCapability(Capability):
    """Of a physical function: its virtual ones."""

    type: Literal["virt_functions"] = attr(
        choices(Literal["virt_functions"]), default="virt_functions"
    )
    max_count: int | None = attr(UINT, name="maxCount")
    addresses: tuple[HostPciAddress, ...] = children(".devices.hostdev:HostPciAddress", "address")


@element(kw_only=True)
class BridgeCapability(Capability):
    """A bridge to another bus."""

    type: Literal["pci-bridge", "cardbus-bridge"] = attr(
        choices(Literal["pci-bridge", "cardbus-bridge"]), required=True
    )


@element(kw_only=True)
class VpdField(Element):
    """One field of a vendor's or the system's own."""

    index: str = attr(required=True)
    value: str | None = text(VPD_TEXT)


@element(kw_only=True)
class VpdFields(Element):
    """Fields that can be read only, or written too."""

    access: Literal["readonly", "readwrite"] = attr(
        choices(Literal["readonly", "readwrite"]), required=True
    )
    change_level: str | None = value(VPD_TEXT)
    manufacture_id: str | None = value(VPD_TEXT)
    part_number: str | None = value(VPD_TEXT)
    serial_number: str | None = value(VPD_TEXT)
    asset_tag: str | None = value(VPD_TEXT)
    vendor_fields: tuple[VpdField, ...] = children(VpdField, "vendor_field")
    system_fields: tuple[VpdField, ...] = children(VpdField, "system_field")


@element(kw_only=True)
class VpdCapability(Capability):
    """Vital product data: what the card says of itself."""

    type: Literal["vpd"] = attr(choices(Literal["vpd"]), default="vpd")
    name: str | None = value(VPD_TEXT)
    fields: tuple[VpdFields, ...] = children(VpdFields, "fields")


@element(kw_only=True)
class PciExpressLink(Element):
    """What a link could do, ``cap``, or does, ``sta``."""

    validity: Literal["cap", "sta"] = attr(choices(Literal["cap", "sta"]), required=True)
    port: int | None = attr(UINT)
    #: In GT/s.
    speed: str | None = attr()
    width: int | None = attr(UINT)


@element(kw_only=True)
class PciExpress(Element):
    """The device's links."""

    links: tuple[PciExpressLink, ...] = children(PciExpressLink, "link")


#: In libvirt's order (virNodeDeviceCapPCIDefFormat).
PCI_CAPABILITY = Choice(
    "type",
    {
        "phys_function": PhysFunctionCapability,
        "virt_functions": VirtFunctionsCapability,
        "pci-bridge": BridgeCapability,
        "cardbus-bridge": BridgeCapability,
        "mdev_types": ".node_device_mdev:MdevTypesCapability",
        "vpd": VpdCapability,
    },
)


@element(kw_only=True)
class PciCapability(Capability):
    """A PCI device."""

    type: Literal["pci"] = attr(choices(Literal["pci"]), default="pci")
    pci_class: int | None = value(HEX(6), name="class")
    domain: int = value(UINT, required=True)
    bus: int = value(UINT, required=True)
    slot: int = value(UINT, required=True)
    function: int = value(UINT, required=True)
    product: DeviceId | None = child(DeviceId)
    vendor: DeviceId | None = child(DeviceId)
    capabilities: tuple[
        PhysFunctionCapability
        | VirtFunctionsCapability
        | BridgeCapability
        | MdevTypesCapability
        | VpdCapability,
        ...,
    ] = children(PCI_CAPABILITY, "capability")
    iommu_group: IommuGroup | None = child(IommuGroup, "iommuGroup")
    numa_node: int | None = inner("numa", "node", INT)
    pci_express: PciExpress | None = child(PciExpress, "pci-express")

    def kept(self) -> Self:
        """Return what libvirt keeps of it: what it can do in libvirt's order."""
        order = list(PCI_CAPABILITY.refs)
        capabilities = sorted(self.capabilities, key=lambda one: order.index(one.type))
        return attrs.evolve(self, capabilities=tuple(capabilities))
