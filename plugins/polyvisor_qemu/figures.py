"""Figures of running guests, under the names of ``virsh domstats``.

Names and meanings are those of libvirt's ``virConnectGetAllDomainStats``; what libvirt takes
from cgroups and ``/proc`` comes from ``/proc`` here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor.local import Figures
from polyvisor.states import DomainState
from polyvisor_qemu.naming import disk_names, interface_device, qdev_name
from polyvisor_qemu.qmp import QmpError, ask_all

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["figures"]

#: Seconds that guests asked at once have for their answers.
ANSWERS = 3.0

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
#: Columns of /proc/net/dev (proc(5)); what the guest calls received, the host's end has sent.
_NET = {
    "rx.bytes": 8, "rx.pkts": 9, "rx.errs": 10, "rx.drop": 11,
    "tx.bytes": 0, "tx.pkts": 1, "tx.errs": 2, "tx.drop": 3,
}  # fmt: skip


# Each costs a descriptor meanwhile.
_AT_ONCE = 64
_ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query-status", {}),
    ("query-cpus-fast", {}),
    ("query-balloon", {}),
    ("query-block", {}),
    ("query-blockstats", {}),
)


def figures(hypervisor: QemuHypervisor, guests: Sequence[Guest]) -> list[Figures | None]:
    """Return all that QEMU and the kernel tell of guests, in one round trip to all of them.

    A QEMU that does not answer in time leaves out what only it knows.
    """
    found: list[Figures | None] = []
    wires = _Wires()
    for begin in range(0, len(guests), _AT_ONCE):
        some = guests[begin : begin + _AT_ONCE]
        told = ask_all(
            [(f"{one.run_dir}/control", (*_ASKED, _balloon_question(one.spec))) for one in some],
            timeout=ANSWERS,
        )
        with closing(told):
            found += [_figures(hypervisor, *one, wires) for one in zip(some, told, strict=True)]
    return found


def _balloon_question(spec: DomainSpec) -> tuple[str, dict[str, Any]]:
    balloon = spec.devices.memballoon
    path = f"/machine/peripheral/{(balloon and balloon.alias) or 'balloon0'}"
    return "qom-get", {"path": path, "property": "guest-stats"}


def _figures(
    hypervisor: QemuHypervisor, guest: Guest, told: list[Any] | HypervisorError, wires: _Wires
) -> Figures | None:
    seen = hypervisor.observe(guest, deep=False)
    if seen.state is DomainState.SHUTOFF:
        return Figures(seen, 0, None)
    spec, pid = guest.spec, guest.runtime["pid"]
    more = {**_cpu(pid), "balloon.rss": _rss(pid), **_interfaces(pid, spec, wires)}
    cpu_time = more.get("cpu.time", 0) / 1e9
    if not isinstance(told, HypervisorError):
        status, cpus, size, nodes, counts, balloon = (
            None if isinstance(one, QmpError) else one for one in told
        )
        if status is not None:
            seen = hypervisor.seen(guest, status["status"])
        if size is not None:
            more["balloon.current"] = size["actual"] // 1024
        if balloon is not None:
            more |= _balloon(balloon)
        if cpus is not None:
            more |= _vcpus(pid, cpus)
        if nodes is not None and counts is not None:
            more |= _blocks(spec, nodes, counts)
    return Figures(seen, spec.current_memory or spec.memory, cpu_time, more)


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


class _Wires:
    """Counts of network devices, read once for each network namespace in which guests are."""

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], dict[str, list[int]]] = {}

    def of(self, pid: int) -> dict[str, list[int]]:
        """Return the columns of /proc/net/dev by device, where a process is."""
        with suppress(OSError, ValueError):
            place = os.stat(f"/proc/{pid}/ns/net")
            key = place.st_dev, place.st_ino
            if key not in self._told:
                with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
                    lines = (line.partition(":") for line in file if ":" in line)
                    self._told[key] = {
                        name.strip(): [int(word) for word in rest.split()]
                        for name, _, rest in lines
                    }
            return self._told[key]
        return {}


def _interfaces(pid: int, spec: DomainSpec, wires: _Wires) -> dict[str, Any]:
    figures: dict[str, Any] = {"net.count": len(spec.devices.interfaces)}
    for number, interface in enumerate(spec.devices.interfaces):
        name = interface_device(interface)
        if name is None:
            continue
        figures[f"net.{number}.name"] = name
        counts = wires.of(pid).get(name)
        if counts is not None:
            figures |= {f"net.{number}.{ours}": counts[column] for ours, column in _NET.items()}
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
