"""A definition as libvirt would keep it: what is implied made explicit, in libvirt's order.

Reading keeps what its author wrote.  :func:`normalised` does what libvirt's generic parser
does besides, before any hypervisor's driver has a say (virDomainDefPostParse and what it
calls, domain_postparse.c; defaults that the parsers of single elements set, domain_conf.c).
What libvirt makes up is left out: UUIDs and MAC addresses.

Each step takes and returns a whole definition; the steps are kept by subject.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from polyvisor.model.normal.chardevs import chardevs
from polyvisor.model.normal.controllers import controllers
from polyvisor.model.normal.devices import devices
from polyvisor.model.normal.disks import disks
from polyvisor.model.normal.displays import displays
from polyvisor.model.normal.interfaces import interfaces
from polyvisor.model.normal.machine import machine
from polyvisor.model.normal.processors import processors
from polyvisor.model.normal.stored import stored

if TYPE_CHECKING:
    from polyvisor.model.domain import DomainSpec

__all__ = ["STEPS", "normalised"]

_D = TypeVar("_D", bound="DomainSpec")

#: What is done, in this order: devices must be known before controllers are added for them.
STEPS: tuple[Callable[[DomainSpec], DomainSpec], ...] = (
    machine,
    processors,
    disks,
    chardevs,
    interfaces,
    displays,
    devices,
    controllers,
)


def normalised(spec: _D, *, live: bool = False) -> _D:
    """Return a definition with all that libvirt's generic parser makes explicit.

    Args:
        spec: the definition.
        live: keep what only a running domain has.

    Raises:
        SchemaError: it says something that libvirt's parser cannot follow.
    """
    result: DomainSpec = spec if live else stored(spec)
    for step in STEPS:
        result = step(result)
    return cast("_D", result)
