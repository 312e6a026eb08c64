"""A definition as libvirt would keep it: what is implied made explicit, in libvirt's order.

Reading keeps what its author wrote.  :func:`normalised` does what libvirt's generic parser
does besides, before any hypervisor's driver has a say (virDomainDefPostParse and what it
calls, domain_postparse.c; defaults that the parsers of single elements set, domain_conf.c).
What libvirt makes up is left out: UUIDs and MAC addresses.

Each step takes and returns a whole definition; the steps are kept by subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar, cast

from polyvisor.errors import SchemaError
from polyvisor.model._codecs import Fault
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
    from polyvisor.model.devices.controller import Controller
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


def normalised(
    spec: _D,
    *,
    live: bool = False,
    own: Callable[[tuple[Controller, ...]], Iterable[Controller]] | None = None,
) -> _D:
    """Return a definition with all that libvirt's generic parser makes explicit.

    Args:
        spec: the definition.
        live: keep what only a running domain has.
        own: the controllers that the machine has by itself, given those that are stated; a
            hypervisor's plugin knows them.

    Raises:
        SchemaError: it says something that libvirt's parser cannot follow.
    """
    result: DomainSpec = spec if live else stored(spec)
    try:
        for step in STEPS:
            result = controllers(result, own) if step is controllers else step(result)
    except Fault as fault:
        raise SchemaError(
            f"domain {spec.name!r} has no normal form: {fault.fault}"
            f"{'; ' if fault.advice else ''}{fault.advice}",
            element="domain",
            fault=fault.fault,
        ) from None
    return cast("_D", result)
