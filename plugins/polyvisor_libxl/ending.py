"""What follows when a guest shuts down, reboots or crashes of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.errors import PolyvisorError
from polyvisor.local import Observation
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.hypervisor import LibxlHypervisor

__all__ = ["CRASH", "SUSPEND", "WATCHDOG", "ended", "to_become"]

#: ``libxl_shutdown_reason`` of ``_libxl_types.h``.
POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG = range(5)


def _action(spec: DomainSpec, reason: int) -> str:
    if reason in (CRASH, WATCHDOG):
        return spec.on_crash or "destroy"
    if reason == REBOOT:
        return spec.on_reboot or "restart"
    return spec.on_poweroff or "destroy"


def to_become(guest: Guest, reason: int) -> Observation:
    """Return what is to become of a guest of ours that has shut down."""
    crashed, action = reason in (CRASH, WATCHDOG), _action(guest.spec, reason)
    if action == "preserve":
        if crashed:
            return Observation(DomainState.CRASHED, StateReason.PANICKED)
        return Observation(DomainState.SHUTDOWN, StateReason.SHUTDOWN)
    why = StateReason.CRASHED if crashed else StateReason.SHUTDOWN
    return Observation(DomainState.SHUTOFF, why, restart=action.endswith("restart"))


def ended(hypervisor: LibxlHypervisor, guest: Guest) -> None:
    """Write a core of a guest that crashed, or keep it, if its definition says so."""
    found = hypervisor.facts(guest)
    if found is None or not found.shutdown or found.shutdown_reason == SUSPEND:
        return
    action = _action(guest.spec, found.shutdown_reason)
    crashed = found.shutdown_reason in (CRASH, WATCHDOG)
    try:
        if action == "rename-restart":
            _keep(hypervisor, guest, found.domid)
        elif crashed and action.startswith("coredump") and guest.log_dir:
            path = f"{guest.log_dir}/{guest.uuid}-{found.domid}.core"
            hypervisor.context.core_dump(found.domid, guest.name, path)
    except PolyvisorError:
        import logging

        logging.getLogger("polyvisor.libxl").exception("%s: no %s", guest.name, action)


def _keep(hypervisor: LibxlHypervisor, guest: Guest, domid: int) -> None:
    """Let a domain that has shut down stay, under a name and UUID of its own, without devices.

    Its disks are its successor's: Xen's scripts give no disk to two domains to write to.
    """
    import time
    from uuid import uuid4

    from polyvisor_libxl.devices import CHANGEABLE, detach

    for kind in CHANGEABLE:
        for device in getattr(guest.spec.devices, kind):
            detach(hypervisor, guest, kind, device)
    # As xl names them, ``preserve_domain`` of tools/xl/xl_vmcontrol.c, but to the second.
    suffix = time.strftime("-%Y%m%dT%H%M%SZ", time.gmtime())
    hypervisor.context.preserve(domid, guest.name, suffix, uuid4())
