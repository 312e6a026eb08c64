"""Definitions as libxl takes and gives them, which is JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import attrs

from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.domconfig import HostFacts
    from polyvisor_libxl.dominfo import DomainFacts

__all__ = ["described", "native"]

#: ``<os><type>`` and machine for each kind of guest, as libvirt's Xen driver has them:
#: ``libxlMakeCapabilities``, src/libxl/libxl_capabilities.c.
_TYPES = {"pv": ("xen", "xenpv"), "hvm": ("hvm", "xenfv"), "pvh": ("xenpvh", "xenpvh")}


def native(spec: DomainSpec, facts: HostFacts) -> str:
    """Return a definition as the JSON of ``libxl_domain_config``.

    Raises:
        SpecError: Xen cannot run such a machine; says what stands in the way.
    """
    from polyvisor_libxl.domconfig import to_json

    return json.dumps(to_json(spec, facts))


def described(text: str | None, name: str, facts: DomainFacts) -> DomainSpec:
    """Return the definition of a domain that somebody else has made.

    Args:
        text: its configuration as libxl's JSON, if libxl has one.
        name: its name.
        facts: what Xen says of it.
    """
    spec = None
    if text is not None:
        from polyvisor_libxl.domconfig import from_json

        try:
            spec = from_json(json.loads(text))
        except (PolyvisorError, ValueError):
            import logging

            logging.getLogger("polyvisor.libxl").exception(
                "the configuration of %s cannot be read", name
            )
    if spec is None:
        spec = _plainly(facts)
    return attrs.evolve(spec, name=name, uuid=UUID(int=facts.uuid), id=facts.domid)


def _plainly(facts: DomainFacts) -> DomainSpec:
    """Return the definition that Xen's own facts make."""
    from polyvisor.model import DomainSpec
    from polyvisor.model.domain import Vcpu
    from polyvisor.model.os import OsType

    name, machine = _TYPES[facts.kind or "pv"]
    spec = DomainSpec.from_xml("<domain type='xen'><name>x</name><memory>0</memory></domain>")
    # Xen says "no limit" of the control domain in such a way.
    limit = facts.max_memory if facts.max_memory < 1 << 50 else facts.memory
    return attrs.evolve(
        spec,
        memory=max(limit, facts.memory),
        current_memory=facts.memory,
        vcpu=Vcpu(count=max(1, facts.vcpus)),
        os=attrs.evolve(spec.os, type=OsType(name=name, machine=machine)),
    )
