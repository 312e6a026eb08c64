"""Devices of the host: where they are in its tree and what they can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import attrs

from polyvisor.model._codecs import choices
from polyvisor.model.binding import Choice, Element, attr, child, children, element, text, value
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.node_device_capability import Capability

__all__ = ["DevNode", "NodeDeviceParent", "NodeDeviceSpec", "NodeDriver"]

_HERE = ".node_device_capability"

#: What a device can do; the type decides the class.
CAPABILITY = Choice(
    "type",
    {
        "system": f"{_HERE}:SystemCapability",
        "pci": ".node_device_pci:PciCapability",
        "usb_device": f"{_HERE}:UsbDeviceCapability",
        "usb": f"{_HERE}:UsbInterfaceCapability",
        "net": f"{_HERE}:NetCapability",
        "scsi_generic": f"{_HERE}:ScsiGenericCapability",
        "scsi_host": f"{_HERE}:ScsiHostCapability",
        "scsi_target": f"{_HERE}:ScsiTargetCapability",
        "scsi": f"{_HERE}:ScsiCapability",
        "storage": f"{_HERE}:StorageCapability",
        "drm": f"{_HERE}:DrmCapability",
        "mdev": ".node_device_mdev:MdevCapability",
        "ccw": ".node_device_mdev:CcwCapability",
        "css": ".node_device_mdev:CssCapability",
        "vdpa": f"{_HERE}:VdpaCapability",
        "ap_card": ".node_device_mdev:ApCardCapability",
        "ap_queue": ".node_device_mdev:ApQueueCapability",
        "ap_matrix": ".node_device_mdev:ApMatrixCapability",
    },
)


@element(kw_only=True)
class DevNode(Element):
    """A file below /dev, or a link to it."""

    type: Literal["dev", "link"] = attr(choices(Literal["dev", "link"]), required=True)
    path: str | None = text()


@element(kw_only=True)
class NodeDeviceParent(Element):
    """The device that it hangs on: by name, or, for a virtual HBA, by world wide names."""

    wwnn: str | None = attr()
    wwpn: str | None = attr()
    fabric_wwn: str | None = attr()
    name: str | None = text()


@element(kw_only=True)
class NodeDriver(Element):
    """The host's driver that it is bound to."""

    name: str | None = value()


@element(kw_only=True)
class NodeDeviceSpec(Document):
    """A device of the host: libvirt's ``<device>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "device"
    XML_TITLE: ClassVar[str] = "node device"

    #: None: of a device to be made, libvirt chooses it.
    name: str | None = value()
    #: Where it is below /sys.
    path: str | None = value()
    devnodes: tuple[DevNode, ...] = children(DevNode, "devnode")
    parent: NodeDeviceParent | None = child(NodeDeviceParent)
    driver: NodeDriver | None = child(NodeDriver)
    capabilities: tuple[Capability, ...] = children(CAPABILITY, "capability")

    @property
    def parent_name(self) -> str | None:
        """The name of the device that it hangs on."""
        return None if self.parent is None else self.parent.name

    def definition(self) -> Self:
        """Return what libvirt keeps of it: without what is asked of the hardware anew."""
        spec = super().definition()
        nodes = sorted(spec.devnodes, key=lambda node: node.type == "link")
        return attrs.evolve(
            spec,
            devnodes=tuple(nodes),
            capabilities=tuple(one.kept() for one in spec.capabilities),
        )
