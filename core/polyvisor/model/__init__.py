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
    from polyvisor.model.interface import InterfaceSpec
    from polyvisor.model.network import NetworkSpec
    from polyvisor.model.network_port import NetworkPortSpec
    from polyvisor.model.nwfilter import NwFilterSpec
    from polyvisor.model.os import Os
    from polyvisor.model.secret import SecretSpec
    from polyvisor.model.storage_pool import StoragePoolSpec
    from polyvisor.model.storage_volume import StorageVolumeSpec

__all__ = [
    "Device",
    "Devices",
    "DomainSpec",
    "Element",
    "Extra",
    "InterfaceSpec",
    "MetadataElement",
    "NetworkPortSpec",
    "NetworkSpec",
    "NwFilterSpec",
    "Os",
    "RawXml",
    "SecretSpec",
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
        "InterfaceSpec": "interface",
        "MetadataElement": "domain",
        "NetworkPortSpec": "network_port",
        "NetworkSpec": "network",
        "NwFilterSpec": "nwfilter",
        "Os": "os",
        "RawXml": "binding",
        "SecretSpec": "secret",
        "StoragePoolSpec": "storage_pool",
        "StorageVolumeSpec": "storage_volume",
        "Vcpu": "domain",
        "schema": "forms",
    },
)
