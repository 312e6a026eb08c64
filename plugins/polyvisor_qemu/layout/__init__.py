"""A definition as libvirt's QEMU driver keeps it: default devices, models and addresses.

Where a device sits is part of what the guest knows of its machine: a guest that is defined
here and moves to libvirt, or the other way round, must find everything at its place.
:func:`laid_out` therefore follows libvirt 9.0's rules (qemu_domain.c,
qemu_domain_address.c), for a QEMU that can do what :class:`Abilities` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_qemu.layout.machines import MODERN, Abilities, Machine

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.model import DomainSpec

__all__ = ["MODERN", "Abilities", "laid_out"]

# A machine is defined, started, saved and restored without being changed, and to compare two
# definitions takes a fiftieth of what it takes to lay one out: the last one of each is remembered.
_KNOWN_MOST = 256
_known: dict[tuple[UUID, Abilities, bool, bool], tuple[DomainSpec, DomainSpec]] = {}


def laid_out(
    spec: DomainSpec, abilities: Abilities = MODERN, *, live: bool = False, new: bool = True
) -> DomainSpec:
    """Return a definition with all that libvirt's QEMU driver makes explicit.

    Args:
        spec: the definition.
        abilities: what the emulator can do.
        live: keep what only a running domain has.
        new: whether it is defined for the first time; what a domain that is known already
            may have had before, such as USB ports, is not chosen anew.

    Raises:
        SchemaError: it says something that libvirt's parser cannot follow.
        SemanticError: there is no place for a device.
    """
    if spec.uuid is None:
        return _laid_out(spec, abilities, live=live, new=new)
    key = spec.uuid, abilities, live, new
    given, made = _known.get(key, (None, None))
    if made is None or given != spec:
        made = _laid_out(spec, abilities, live=live, new=new)
        if len(_known) >= _KNOWN_MOST:
            _known.clear()
        _known[key] = spec, made
    return made


def _laid_out(spec: DomainSpec, abilities: Abilities, *, live: bool, new: bool) -> DomainSpec:
    from polyvisor.model.normal import normalised
    from polyvisor_qemu.layout.addresses import addressed
    from polyvisor_qemu.layout.defaults import own_controllers, with_default_devices
    from polyvisor_qemu.layout.models import modelled, prepared
    from polyvisor_qemu.layout.processor import with_processor

    machine = Machine.of(spec, abilities)
    spec = prepared(spec, machine)
    spec = normalised(spec, live=live, own=lambda stated: own_controllers(stated, machine, new=new))
    spec = modelled(spec, machine, new=new)
    spec = with_default_devices(spec, machine)
    spec = with_processor(spec, machine, live=live)
    return addressed(spec, machine, new=new)
