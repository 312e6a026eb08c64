"""Whoever looks at a guest's SPICE screen goes along when it moves.

QEMU tells clients of SPICE where to go on (``client_migrate_info``); of VNC it cannot, as its
clients know no such word. What libvirt does is in ``qemuMigrationSrcGraphicsRelocate`` and
``qemuMigrationSrcWaitForSpice`` of its src/qemu/qemu_migration.c.
"""

from __future__ import annotations

import ipaddress
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PolyvisorError
from polyvisor_qemu.cookies import Graphics
from polyvisor_qemu.telling import VIEWERS_TOLD

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cookies import QemuCookie
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["screen_of", "send_along", "wait_for_viewers"]

#: Seconds that they have to get there before the source ends.
_FOLLOWING = 10.0


def screen_of(spec: DomainSpec, certificates: str | None) -> Graphics | None:
    """Return where a destination has its screen, if clients can be told of it.

    Args:
        spec: the guest as it waits, with the ports that were chosen.
        certificates: the folder with those of its screens, ``None`` if they have none.
    """
    for one in spec.devices.graphics:
        if one.type != "spice" or one.socket:
            continue
        listen = one.listens[0] if one.listens else None
        if listen is not None and listen.type not in (None, "address", "network"):
            continue
        address = (listen.address if listen is not None else None) or one.listen or "127.0.0.1"
        if certificates is None:
            return Graphics("spice", one.port or -1, address, -1)
        from polyvisor_qemu.subject import subject_of

        subject = subject_of(f"{certificates}/server-cert.pem")
        return Graphics("spice", one.port or -1, address, one.tls_port or -1, subject)
    return None


def send_along(monitor: Monitor, guest: Guest, told: QemuCookie) -> None:
    """Tell clients where the guest goes; if they cannot be told, it goes all the same.

    Args:
        monitor: the source's.
        guest: the guest.
        told: what the destination says in prepare.
    """
    screen = told.graphics
    if screen is None or screen.kind != "spice":
        return
    ports = {"port": screen.port, "tls-port": screen.tls_port or -1}
    given: dict[str, Any] = {name: port for name, port in ports.items() if port > 0}
    if not given:
        return
    if screen.subject is not None:
        given["cert-subject"] = screen.subject
    host = told.hostname if _everywhere(screen.listen) else screen.listen
    with suppress(PolyvisorError):
        monitor.execute("client_migrate_info", protocol="spice", hostname=host, **given)
        guest.runtime[VIEWERS_TOLD] = True


def _everywhere(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return not address


def wait_for_viewers(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """Before a source ends: wait until its clients have gone, for a while."""
    if not guest.runtime.pop(VIEWERS_TOLD, False):
        return
    deadline = time.monotonic() + _FOLLOWING
    with suppress(PolyvisorError), hypervisor.monitor(guest) as monitor:
        while not monitor.execute("query-spice").get("migrated", True):
            if time.monotonic() > deadline:
                return
            monitor.next_event(0.05)
