"""What a domain is: typed, immutable values, read from and written to libvirt's XML.

A class is named after its element; nothing is imported before it is asked for::

    spec = DomainSpec.from_xml(Path("guest.xml"))
    spec = attrs.evolve(spec, name="copy")
    print(spec.to_xml())

How a class is bound to XML is told in :mod:`polyvisor.model.binding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor.model.binding import Element, Extra, RawXml
    from polyvisor.model.devices import Device, Devices
    from polyvisor.model.domain import DomainSpec, MetadataElement, Vcpu
    from polyvisor.model.os import Os

__all__ = [
    "Device",
    "Devices",
    "DomainSpec",
    "Element",
    "Extra",
    "MetadataElement",
    "Os",
    "RawXml",
    "Vcpu",
]

_HOMES = {
    "Device": "devices",
    "Devices": "devices",
    "DomainSpec": "domain",
    "Element": "binding",
    "Extra": "binding",
    "MetadataElement": "domain",
    "Os": "os",
    "RawXml": "binding",
    "Vcpu": "domain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
