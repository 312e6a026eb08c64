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
    from collections.abc import Callable
    from typing import Any

    from polyvisor.model._xml import escape_attribute, escape_text
    from polyvisor.model.backup import BackupSpec
    from polyvisor.model.binding import Element, Extra, RawXml
    from polyvisor.model.capabilities import Capabilities
    from polyvisor.model.checkpoint import CheckpointSpec
    from polyvisor.model.cpu import Cpu
    from polyvisor.model.devices import Device, Devices
    from polyvisor.model.domain import DomainSpec, MetadataElement, Vcpu
    from polyvisor.model.domain_capabilities import DomainCapabilities
    from polyvisor.model.forms import schema
    from polyvisor.model.host_cpu import HostCpu
    from polyvisor.model.interface import InterfaceSpec
    from polyvisor.model.network import NetworkSpec
    from polyvisor.model.network_port import NetworkPortSpec
    from polyvisor.model.node_device import NodeDeviceSpec
    from polyvisor.model.nwfilter import NwFilterSpec
    from polyvisor.model.os import Os
    from polyvisor.model.secret import SecretSpec
    from polyvisor.model.snapshot import SnapshotSpec
    from polyvisor.model.storage_pool import StoragePoolSpec
    from polyvisor.model.storage_volume import StorageVolumeSpec

__all__ = [
    "BackupSpec",
    "Capabilities",
    "CheckpointSpec",
    "Cpu",
    "Device",
    "Devices",
    "DomainCapabilities",
    "DomainSpec",
    "Element",
    "Extra",
    "HostCpu",
    "InterfaceSpec",
    "MetadataElement",
    "NetworkPortSpec",
    "NetworkSpec",
    "NodeDeviceSpec",
    "NwFilterSpec",
    "Os",
    "RawXml",
    "SecretSpec",
    "SnapshotSpec",
    "StoragePoolSpec",
    "StorageVolumeSpec",
    "Vcpu",
    "escape_attribute",
    "escape_text",
    "schema",
]

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "BackupSpec": "backup",
        "Capabilities": "capabilities",
        "CheckpointSpec": "checkpoint",
        "Cpu": "cpu",
        "Device": "devices",
        "Devices": "devices",
        "DomainCapabilities": "domain_capabilities",
        "DomainSpec": "domain",
        "Element": "binding",
        "Extra": "binding",
        "HostCpu": "host_cpu",
        "InterfaceSpec": "interface",
        "MetadataElement": "domain",
        "NetworkPortSpec": "network_port",
        "NetworkSpec": "network",
        "NodeDeviceSpec": "node_device",
        "NwFilterSpec": "nwfilter",
        "Os": "os",
        "RawXml": "binding",
        "SecretSpec": "secret",
        "SnapshotSpec": "snapshot",
        "StoragePoolSpec": "storage_pool",
        "StorageVolumeSpec": "storage_volume",
        "Vcpu": "domain",
        "escape_attribute": "_xml",
        "escape_text": "_xml",
        "schema": "forms",
    },
)
