"""What a domain is: typed, immutable values, read from and written to libvirt's XML.

A class is named after its element; nothing is imported before it is asked for::

    spec = DomainSpec.from_xml(Path("guest.xml"))
    spec = attrs.evolve(spec, name="copy")
    print(spec.to_xml())

How a class is bound to XML is told in :mod:`polyvisor.model.binding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from polyvisor.model.binding import Element, Extra, RawXml
    from polyvisor.model.devices import Device, Devices
    from polyvisor.model.domain import DomainSpec, MetadataElement, Vcpu
    from polyvisor.model.forms import schema
    from polyvisor.model.network import NetworkSpec
    from polyvisor.model.os import Os
    from polyvisor.model.storage_pool import StoragePoolSpec
    from polyvisor.model.storage_volume import StorageVolumeSpec

__all__ = [
    "Device",
    "Devices",
    "DomainSpec",
    "Element",
    "Extra",
    "MetadataElement",
    "NetworkSpec",
    "Os",
    "RawXml",
    "StoragePoolSpec",
    "StorageVolumeSpec",
    "Vcpu",
    "schema",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Device": "devices",
        "Devices": "devices",
        "DomainSpec": "domain",
        "Element": "binding",
        "Extra": "binding",
        "MetadataElement": "domain",
        "NetworkSpec": "network",
        "Os": "os",
        "RawXml": "binding",
        "StoragePoolSpec": "storage_pool",
        "StorageVolumeSpec": "storage_volume",
        "Vcpu": "domain",
        "schema": "forms",
    },
)
