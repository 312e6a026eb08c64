"""What controllers keep at ports of Open vSwitch, which goes along with a guest that migrates.

libvirt's perform carries it in the cookie's ``<network>`` (``qemuMigrationCookieNetworkAlloc``),
and its destination keeps it at the guest's ports before the guest runs
(``qemuMigrationDstOPDRelocate``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model.devices.interface import Interface
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["heed", "told"]

_SWITCH = "openvswitch"
_log = logging.getLogger("polyvisor")


def told(hypervisor: QemuHypervisor, guest: Guest) -> tuple[tuple[int, str, str | None], ...]:
    """Source: return what the cookie says of a guest's virtual ports.

    What a switch does not tell stays behind: the guest has been sent by now.
    """
    found = []
    for index, interface in enumerate(_interfaces(guest)):
        kind = _kind(interface)
        if kind is None:
            continue
        data = None
        if kind == _SWITCH and interface.target:
            from polyvisor_qemu.cmdline.switches import kept_data

            try:
                data = kept_data(interface.target, _patience(hypervisor)) or None
            except OSError as error:
                _log.warning(
                    "migrate %r: what is kept at its port %s of Open vSwitch does not go along: %s",
                    guest.name,
                    interface.target,
                    error.strerror,
                )
        found.append((index, kind, data))
    return tuple(found)


def heed(hypervisor: QemuHypervisor, guest: Guest, cookie: bytes) -> None:
    """Destination: keep it at the guest's ports here."""
    from polyvisor_qemu.cmdline.switches import keep_data
    from polyvisor_qemu.cookies import QemuCookie

    interfaces = _interfaces(guest)
    for index, _, data in QemuCookie.from_bytes(cookie)[0].interfaces or ():
        interface = interfaces[index] if index < len(interfaces) else None
        if not data or interface is None or _kind(interface) != _SWITCH or not interface.target:
            continue
        try:
            keep_data(interface.target, data, _patience(hypervisor))
        except OSError as error:
            _log.warning(
                "receive %r: cannot keep at its port %s of Open vSwitch what came along: %s",
                guest.name,
                interface.target,
                error.strerror,
            )


def _interfaces(guest: Guest) -> list[Interface]:
    return list((guest.became or guest.spec).devices.interfaces)


def _kind(interface: Interface) -> str | None:
    return interface.virtualport.type if interface.virtualport is not None else None


def _patience(hypervisor: QemuHypervisor) -> int:
    return int(hypervisor.settings.get("ovs_timeout", 5))
