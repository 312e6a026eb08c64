"""What follows when a guest shuts down, reboots or crashes of itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

from polyvisor.errors import PolyvisorError
from polyvisor.local import Observation
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.dominfo import DomainFacts
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
    """Write a core of a guest that crashed, or keep it by another name, if it is to be so."""
    found = hypervisor.facts(guest)
    if found is None or not found.shutdown:
        return
    action = _action(guest.spec, found.shutdown_reason)
    try:
        if found.shutdown_reason in (CRASH, WATCHDOG) and action.startswith("coredump"):
            if guest.log_dir is not None:
                path = f"{guest.log_dir}/{guest.uuid}-{found.domid}.core"
                hypervisor.context.core_dump(found.domid, guest.name, path)
        elif action == "rename-restart":
            _keep(hypervisor, guest, found)
    except PolyvisorError:
        import logging

        log = logging.getLogger("polyvisor.libxl")
        log.exception("%s, which has ended: %s failed", guest.name, action)


def _keep(hypervisor: LibxlHypervisor, guest: Guest, found: DomainFacts) -> None:
    """Give a guest that has ended another name and UUID, as xl does (``preserve_domain``).

    From then on it is a domain that nobody knows, and found as such.
    """
    suffix = time.strftime("-%Y%m%dT%H%M%SZ", time.gmtime())
    json = hypervisor.native(guest.spec)
    hypervisor.context.preserve(found.domid, json, guest.name, suffix, uuid4())
