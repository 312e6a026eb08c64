"""Figures of running guests, under the names of ``virsh domstats``.

Names and meanings are those of libvirt's ``virConnectGetAllDomainStats``; what libvirt takes
from cgroups and ``/proc`` comes from ``/proc`` here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor_qemu.naming import disk_names, interface_device, qdev_name
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["stats"]

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
# virVcpuState; what libvirt says of a CPU that is halted is a figure of its own.
_RUNNING = 1
# Figures that the balloon's driver in the guest tells, as libvirt calls them, and what one
# of QEMU's is worth (virDomainMemoryStatTags, qemuMonitorJSONGetMemoryStats).
_BALLOON = {
    "stat-swap-in": ("swap_in", 1024),
    "stat-swap-out": ("swap_out", 1024),
    "stat-major-faults": ("major_fault", 1),
    "stat-minor-faults": ("minor_fault", 1),
    "stat-free-memory": ("unused", 1024),
    "stat-total-memory": ("available", 1024),
    "stat-available-memory": ("usable", 1024),
    "stat-disk-caches": ("disk_caches", 1024),
    "stat-htlb-pgalloc": ("hugetlb_pgalloc", 1),
    "stat-htlb-pgfail": ("hugetlb_pgfail", 1),
}
_BLOCK = {
    "rd.reqs": "rd_operations",
    "rd.bytes": "rd_bytes",
    "rd.times": "rd_total_time_ns",
    "wr.reqs": "wr_operations",
    "wr.bytes": "wr_bytes",
    "wr.times": "wr_total_time_ns",
    "fl.reqs": "flush_operations",
    "fl.times": "flush_total_time_ns",
}
#: What the guest calls received, the host's end of the wire has sent.
_NET = {
    "rx.bytes": "tx_bytes", "rx.pkts": "tx_packets", "rx.errs": "tx_errors",
    "rx.drop": "tx_dropped", "tx.bytes": "rx_bytes", "tx.pkts": "rx_packets",
    "tx.errs": "rx_errors", "tx.drop": "rx_dropped",
}  # fmt: skip


def stats(hypervisor: QemuHypervisor, guest: Guest) -> dict[str, Any]:
    """Return all that QEMU and the kernel tell of a guest, in one round trip.

    A QEMU that does not answer in time leaves out what only it knows.
    """
    spec = guest.spec
    pid = guest.runtime["pid"]
    figures = {**_cpu(pid), "balloon.rss": _rss(pid)}
    balloon = spec.devices.memballoon
    with hypervisor.monitor(guest, at_most=3.0) as monitor:
        cpus, size, told, nodes, counts = monitor.ask(
            ("query-cpus-fast", {}),
            ("query-balloon", {}),
            (
                "qom-get",
                {
                    "path": f"/machine/peripheral/{(balloon and balloon.alias) or 'balloon0'}",
                    "property": "guest-stats",
                },
            ),
            ("query-block", {}),
            ("query-blockstats", {}),
        )
    if not isinstance(size, QmpError):
        figures["balloon.current"] = size["actual"] // 1024
    if not isinstance(told, QmpError):
        figures |= _balloon(told)
    if not isinstance(cpus, QmpError):
        figures |= _vcpus(pid, cpus)
    figures |= _interfaces(spec)
    if not isinstance(nodes, QmpError) and not isinstance(counts, QmpError):
        figures |= _blocks(spec, nodes, counts)
    return figures


def _fields(path: str) -> list[str]:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _cpu(pid: int) -> dict[str, int]:
    with suppress(OSError):
        fields = _fields(f"/proc/{pid}/stat")
        user, system = int(fields[11]) * _TICK, int(fields[12]) * _TICK
        return {"cpu.time": user + system, "cpu.user": user, "cpu.system": system}
    return {}


def _rss(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE_KIB
    return 0


def _balloon(told: dict[str, Any]) -> dict[str, int]:
    figures = {"balloon.last-update": told["last-update"]}
    for theirs, (ours, worth) in _BALLOON.items():
        value = told["stats"].get(theirs, -1)
        # The guest has not told: QEMU says 2**64 - 1, or -1.
        if 0 <= value < (1 << 64) - 1:
            figures[f"balloon.{ours}"] = value // worth
    return figures


def _vcpus(pid: int, cpus: list[dict[str, Any]]) -> dict[str, int]:
    figures = {"vcpu.current": len(cpus)}
    for cpu in cpus:
        number, thread = cpu["cpu-index"], cpu["thread-id"]
        with suppress(OSError, ValueError, IndexError):
            fields = _fields(f"/proc/{pid}/task/{thread}/stat")
            figures[f"vcpu.{number}.state"] = _RUNNING
            figures[f"vcpu.{number}.time"] = (int(fields[11]) + int(fields[12])) * _TICK
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                # Documentation/scheduler/sched-stats.rst: time on the CPU, time in the queue.
                figures[f"vcpu.{number}.delay"] = int(file.read().split()[1])
    return figures


def _interfaces(spec: DomainSpec) -> dict[str, Any]:
    figures: dict[str, Any] = {"net.count": len(spec.devices.interfaces)}
    for number, interface in enumerate(spec.devices.interfaces):
        name = interface_device(interface)
        if name is None:
            continue
        figures[f"net.{number}.name"] = name
        for ours, theirs in _NET.items():
            path = f"/sys/class/net/{name}/statistics/{theirs}"
            with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
                figures[f"net.{number}.{ours}"] = int(file.read())
    return figures


def _blocks(
    spec: DomainSpec, nodes: list[dict[str, Any]], counts: list[dict[str, Any]]
) -> dict[str, Any]:
    figures: dict[str, Any] = {"block.count": len(spec.devices.disks)}
    by_device = {qdev_name(one): one for one in nodes}
    counted = {qdev_name(one): one["stats"] for one in counts}
    for number, disk in enumerate(spec.devices.disks):
        name = next((one for one in disk_names(disk) if one in by_device), None)
        if disk.target is not None:
            figures[f"block.{number}.name"] = disk.target.dev
        path = disk.source.file or disk.source.dev if disk.source is not None else None
        if path is not None:
            figures[f"block.{number}.path"] = path
        if name is None:
            continue
        for ours, theirs in _BLOCK.items():
            figures[f"block.{number}.{ours}"] = counted.get(name, {}).get(theirs, 0)
        inserted = by_device[name].get("inserted")
        if inserted is not None:
            figures |= _sizes(f"block.{number}", path, inserted, counted.get(name, {}))
    return figures


def _sizes(
    prefix: str, path: str | None, inserted: dict[str, Any], counted: dict[str, Any]
) -> dict[str, int]:
    image = inserted["image"]
    capacity = image["virtual-size"]
    physical = image.get("actual-size", capacity)
    if path is not None:
        with suppress(OSError):
            seen = os.stat(path)
            if image["format"] != "raw":
                physical = seen.st_size
    # Of a raw image libvirt tells the highest place that the guest wrote to.
    written = counted.get("wr_highest_offset", 0)
    return {
        f"{prefix}.allocation": written,
        f"{prefix}.capacity": capacity,
        f"{prefix}.physical": physical,
    }
