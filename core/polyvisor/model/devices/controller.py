"""Controllers that other devices hang on."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import INT, ON_OFF, UINT, choices, integer
from polyvisor.model.binding import Element, attr, child, element, inner, size, value
from polyvisor.model.devices import Device

__all__ = ["Controller", "ControllerDriver", "ControllerTarget"]

ControllerType = Literal[
    "ide", "fdc", "scsi", "sata", "virtio-serial", "ccid", "usb", "pci", "xenbus", "isa"
]


@element(kw_only=True)
class ControllerDriver(Element):
    """Options of the controller's driver."""

    queues: int | None = attr(UINT)
    cmd_per_lun: int | None = attr(UINT)
    max_sectors: int | None = attr(UINT)
    ioeventfd: bool | None = attr(ON_OFF)
    iothread: int | None = attr(UINT)
    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class ControllerTarget(Element):
    """Numbers by which the guest knows a PCI controller."""

    chassis_nr: int | None = attr(UINT, name="chassisNr")
    chassis: int | None = attr(UINT)
    port: int | None = attr(integer(0, 255, "#x"))
    bus_nr: int | None = attr(INT, name="busNr")
    index: int | None = attr(INT)
    hotplug: bool | None = attr(ON_OFF)
    node: int | None = value(INT)


@element(kw_only=True)
class Controller(Device):
    """A controller."""

    type: ControllerType | None = attr(choices(ControllerType))
    index: int | None = attr(UINT)
    model: str | None = attr()
    ports: int | None = attr(INT)
    vectors: int | None = attr(INT)
    max_grant_frames: int | None = attr(INT, name="maxGrantFrames")
    max_event_channels: int | None = attr(INT, name="maxEventChannels")
    model_name: str | None = inner("model", "name")
    target: ControllerTarget | None = child(ControllerTarget)
    driver: ControllerDriver | None = child(ControllerDriver)
    #: In bytes.
    pcihole64: int | None = size()
    #: For companions of a USB controller.
    master_startport: int | None = inner("master", "startport", UINT)
