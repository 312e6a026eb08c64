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
    # With "rename-restart" nothing is kept: libxl_domain_preserve gives the old domain a name in
    # xenstore, but leaves it the UUID that Xen has, by which it would be the new one.
    why = StateReason.CRASHED if crashed else StateReason.SHUTDOWN
    return Observation(DomainState.SHUTOFF, why, restart=action.endswith("restart"))


def ended(hypervisor: LibxlHypervisor, guest: Guest) -> None:
    """Write a core of a guest that crashed, if its definition says so."""
    found = hypervisor.facts(guest)
    if found is None or not found.shutdown or found.shutdown_reason not in (CRASH, WATCHDOG):
        return
    if _action(guest.spec, found.shutdown_reason).startswith("coredump") and guest.log_dir:
        path = f"{guest.log_dir}/{guest.uuid}-{found.domid}.core"
        try:
            hypervisor.context.core_dump(found.domid, guest.name, path)
        except PolyvisorError:
            import logging

            logging.getLogger("polyvisor.libxl").exception("no core dump of %s", guest.name)
