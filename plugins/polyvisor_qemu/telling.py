"""What a side tells after begin: the cookies of prepare, perform and finish."""

from __future__ import annotations

import os
import textwrap
import time
from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cookies import Nbd, QemuCookie, host_uuid

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["statistics", "tell", "tell_begin"]


def tell_begin(
    hypervisor: QemuHypervisor,
    facts: bytes,
    guest: Guest | None,
    spec: DomainSpec,
    options: MigrationOptions,
    hostname: str,
) -> bytes:
    """See :meth:`polyvisor.local.MigratesGuests.begin_cookie`."""
    nbd = None
    if guest is not None and options.copy_storage:
        from polyvisor_qemu.along import told_disks

        with hypervisor.monitor(guest) as monitor:
            nbd = told_disks(monitor, guest.spec, options)
    assert spec.uuid is not None
    return QemuCookie(spec.name, spec.uuid, hostname, host_uuid(), nbd=nbd).to_bytes(facts)


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
    cookie = QemuCookie(
        options.name or guest.name,
        guest.uuid,
        os.uname().nodename,
        host_uuid(),
        domain=None if definition is None else _alone(definition),
        nbd=nbd,
        statistics=guest.runtime.get("sent") if phase == "perform" else None,
    )
    return cookie.to_bytes(facts)


def _alone(definition: str) -> str:
    """Return a definition without what may stand before its element."""
    return textwrap.dedent(definition[definition.index("<domain") :])


def statistics(info: dict[str, Any], started: float) -> dict[str, int]:
    """Return QEMU's figures of a migration as libvirt tells them (``VIR_DOMAIN_JOB_*``).

    Args:
        info: what query-migrate answers.
        started: when it was begun, seconds of the epoch.
    """
    ram, disk = info.get("ram", {}), info.get("disk", {})
    now = int(time.time() * 1000)
    speed = int(ram.get("mbps", 0) * 1000 * 1000 / 8)
    found = {
        "started": int(started * 1000),
        "stopped": now,
        "sent": now,
        "time_elapsed": info.get("total-time", 0),
        "downtime": info.get("downtime", 0),
        "setup_time": info.get("setup-time", 0),
        "memory_total": ram.get("total", 0),
        "memory_processed": ram.get("transferred", 0),
        "memory_remaining": ram.get("remaining", 0),
        "memory_bps": speed,
        "memory_constant": ram.get("duplicate", 0),
        "memory_normal": ram.get("normal", 0),
        "memory_normal_bytes": ram.get("normal-bytes", 0),
        "memory_dirty_rate": ram.get("dirty-pages-rate", 0),
        "memory_iteration": ram.get("dirty-sync-count", 0),
        "memory_postcopy_requests": ram.get("postcopy-requests", 0),
        "memory_page_size": ram.get("page-size", 4096),
        "disk_total": disk.get("total", 0),
        "disk_processed": disk.get("transferred", 0),
        "disk_remaining": disk.get("remaining", 0),
        "disk_bps": 0,
    }
    packed = info.get("xbzrle-cache")
    if packed is not None:
        found |= {
            "compression_cache": packed.get("cache-size", 0),
            "compression_bytes": packed.get("bytes", 0),
            "compression_pages": packed.get("pages", 0),
            "compression_cache_misses": packed.get("cache-miss", 0),
            "compression_overflow": packed.get("overflow", 0),
        }
    found["auto_converge_throttle"] = info.get("cpu-throttle-percentage", 0)
    return found
