"""What a side tells after begin: the cookies of prepare, perform and finish."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

from polyvisor.jobstats import FIGURES
from polyvisor_qemu.cookies import Nbd, QemuCookie, host_uuid
from polyvisor_qemu.readiness import known_capabilities

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["tell", "tell_begin"]

#: In the guest's runtime facts: its CPU is what the source said that it is, not its definition's.
CPU_TOLD = "cpu_told"
#: The same: those who look at its screen were told where it goes.
VIEWERS_TOLD = "viewers_told"


def tell_begin(
    hypervisor: QemuHypervisor,
    facts: bytes,
    guest: Guest | None,
    spec: DomainSpec,
    options: MigrationOptions,
    hostname: str,
) -> bytes:
    """See :meth:`polyvisor.local.MigratesGuests.begin_cookie`."""
    nbd = capabilities = cpu = None
    if guest is not None:
        from polyvisor_qemu.settling import refuse_transient

        refuse_transient(guest.spec, "migrate")
        if options.copy_storage:
            from polyvisor_qemu.along import told_disks

            with hypervisor.monitor(guest) as monitor:
                nbd = told_disks(monitor, guest.spec, options)
        capabilities = _capabilities(hypervisor, guest, automatic=bool(options.copy_storage))
        if guest.runtime.get(CPU_TOLD) and spec.cpu is not None:
            cpu = spec.cpu.to_xml()
    assert spec.uuid is not None
    cookie = QemuCookie(
        spec.name,
        spec.uuid,
        hostname,
        host_uuid(),
        nbd=nbd,
        cpu=None if cpu is None else _alone(cpu, "<cpu"),
        capabilities=capabilities,
    )
    return cookie.to_bytes(facts)


def _capabilities(
    hypervisor: QemuHypervisor, guest: Guest, *, automatic: bool
) -> tuple[tuple[str, bool], ...]:
    """Return the capabilities of QEMU that libvirt has words for, as its cookie says them.

    Args:
        hypervisor: runs it.
        guest: the guest.
        automatic: one stops before the guest is handed over without being asked to.
    """
    return tuple(
        (name, automatic and name == "pause-before-switchover")
        for name in known_capabilities(hypervisor, guest)
    )


def tell(
    hypervisor: QemuHypervisor,
    phase: str,
    facts: bytes,
    guest: Guest | None,
    options: MigrationOptions,
    definition: str | None,
) -> bytes | None:
    """See :meth:`polyvisor.local.MigratesGuests.tell`."""
    if guest is None:
        # A definition alone; libvirt does without a cookie, and ours needs a domain to name.
        return None
    nbd = None
    if options.copy_storage and phase != "finish":
        # In perform's it has libvirt stop its server of disks in finish.
        served = guest.runtime.get("served") if phase == "prepare" else None
        nbd = Nbd() if served is None else Nbd(served["port"])
    graphics = capabilities = interfaces = None
    if phase == "perform" and any(one.virtualport for one in guest.spec.devices.interfaces):
        from polyvisor_qemu.portdata import told

        interfaces = told(hypervisor, guest)
    if phase == "prepare":
        from polyvisor_qemu.viewers import screen_of

        folder = hypervisor.settings.get("spice_tls_x509_cert_dir")
        graphics = screen_of(guest.became or guest.spec, folder)
        capabilities = _capabilities(hypervisor, guest, automatic=False)
    cookie = QemuCookie(
        options.name or guest.name,
        guest.uuid,
        os.uname().nodename,
        host_uuid(),
        graphics=graphics,
        domain=None if definition is None else _alone(definition, "<domain"),
        interfaces=interfaces,
        nbd=nbd,
        capabilities=capabilities,
        statistics=None if phase == "prepare" else _statistics(guest),
    )
    return cookie.to_bytes(facts)


def _alone(text: str, element: str) -> str:
    """Return a document without what may stand before its element."""
    return textwrap.dedent(text[text.index(element) :])


def _statistics(guest: Guest) -> dict[str, int] | None:
    """Return what the cookie says of how the migration went: no figure twice, no sum."""
    told = guest.statistics
    if told is None:
        return None
    kept = ("delta", *(name for name in FIGURES if not name.startswith(("data_", "disk_temp"))))
    found = {name: told.get(name, 0) for name in ("started", "stopped", "sent")}
    found |= {name: told[name] for name in kept if name in told and not name.endswith("_net")}
    # libvirt writes these whether they are known or not.
    for name in ("memory_bps", "memory_page_size", "disk_bps", "auto_converge_throttle"):
        found.setdefault(name, 0)
    return found
