"""Figures of running guests, under the names of ``virsh domstats``.

Names and meanings are those of libvirt's ``virConnectGetAllDomainStats``; what libvirt takes
from cgroups and ``/proc`` comes from ``/proc`` here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError
from polyvisor.local import Figures
from polyvisor.states import DomainState
from polyvisor_qemu.naming import disk_names, interface_device, qdev_name
from polyvisor_qemu.qmp import QmpError, ask_all

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Command

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
#: Those of a device that is the guest's own (virDomainNetTypeSharesHostView).
_NET_SAME = {name: (column + 8) % 16 for name, column in _NET.items()}


# Each costs a descriptor meanwhile.
_AT_ONCE = 64
# What QEMU said of the vCPUs of its guests, by its process, with how many these are.
_KNOWN_MOST = 4096
_threads: dict[tuple[int, int], tuple[int, list[dict[str, Any]]]] = {}


def figures(hypervisor: QemuHypervisor, guests: Sequence[Guest]) -> list[Figures | None]:
    """Return all that QEMU and the kernel tell of guests, in one round trip to all of them.

    A QEMU that does not answer in time leaves out what only it knows.
    """
    found: list[Figures | None] = []
    wires = _Wires()
    for begin in range(0, len(guests), _AT_ONCE):
        some = [_Asked.of(one) for one in guests[begin : begin + _AT_ONCE]]
        told = ask_all(
            [(f"{one.guest.run_dir}/control", tuple(one.commands.values())) for one in some],
            timeout=ANSWERS,
        )
        with closing(told):
            found += [_figures(hypervisor, *one, wires) for one in zip(some, told, strict=True)]
    return found


@attrs.frozen
class _Asked:
    """What a guest's QEMU is asked, which is no more than has to be.

    A command costs QEMU a fifth of a millisecond, most of it for handing it from thread to thread.

    Attributes:
        guest: the guest.
        commands: by what they are asked for.
        sizes: capacity and size of the image of each disk, if QEMU need not be asked for them.
    """

    guest: Guest
    commands: dict[str, Command]
    sizes: list[tuple[int, int]] | None

    @classmethod
    def of(cls, guest: Guest) -> _Asked:
        spec = guest.spec
        commands: dict[str, Command] = {"status": ("query-status", {})}
        if _known_threads(guest) is None:
            commands["cpus"] = ("query-cpus-fast", {})
        balloon = spec.devices.memballoon
        if balloon is None or balloon.model != "none":
            path = f"/machine/peripheral/{(balloon and balloon.alias) or 'balloon0'}"
            commands["size"] = ("query-balloon", {})
            commands["balloon"] = ("qom-get", {"path": path, "property": "guest-stats"})
        sizes: list[tuple[int, int]] | None = []
        if spec.devices.disks:
            commands["counts"] = ("query-blockstats", {})
            known = [_local_sizes(disk) for disk in spec.devices.disks]
            sizes = [one for one in known if one is not None]
            if len(sizes) < len(known):
                sizes = None
                commands["nodes"] = ("query-block", {})
        return cls(guest, commands, sizes)


def _figures(
    hypervisor: QemuHypervisor, asked: _Asked, told: list[Any] | HypervisorError, wires: _Wires
) -> Figures | None:
    guest = asked.guest
    seen = hypervisor.observe(guest, deep=False)
    if seen.state is DomainState.SHUTOFF:
        return Figures(seen, 0, None)
    spec, pid = guest.spec, guest.runtime["pid"]
    more = {**_cpu(pid), "balloon.rss": _rss(pid), **_interfaces(pid, spec, wires)}
    cpu_time = more.get("cpu.time", 0) / 1e9
    if not isinstance(told, HypervisorError):
        answers = {
            name: one
            for name, one in zip(asked.commands, told, strict=True)
            if not isinstance(one, QmpError)
        }
        if "status" in answers:
            seen = hypervisor.seen(guest, answers["status"]["status"])
        if "size" in answers:
            more["balloon.current"] = answers["size"]["actual"] // 1024
        if "balloon" in answers:
            more |= _balloon(answers["balloon"])
        if "cpus" in answers:
            _remember_threads(guest, answers["cpus"])
        cpus = answers.get("cpus", _known_threads(guest))
        if cpus is not None:
            more |= _vcpus(pid, cpus)
        more |= _blocks(spec, answers.get("nodes"), answers.get("counts", ()), asked.sizes)
    return Figures(seen, spec.current_memory or spec.memory, cpu_time, more)


def _known_threads(guest: Guest) -> list[dict[str, Any]] | None:
    """Return what QEMU said of a guest's vCPUs, if there are as many as then."""
    count, cpus = _threads.get((guest.runtime["pid"], guest.runtime["started"]), (0, None))
    return cpus if count == guest.spec.vcpus else None


def _remember_threads(guest: Guest, cpus: list[dict[str, Any]]) -> None:
    if len(cpus) == guest.spec.vcpus:
        if len(_threads) >= _KNOWN_MOST:
            _threads.clear()
        _threads[guest.runtime["pid"], guest.runtime["started"]] = len(cpus), cpus


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
            columns = _NET_SAME if interface.type == "direct" else _NET
            figures |= {f"net.{number}.{ours}": counts[at] for ours, at in columns.items()}
    return figures


def _blocks(
    spec: DomainSpec,
    nodes: Sequence[dict[str, Any]] | None,
    counts: Sequence[dict[str, Any]],
    sizes: Sequence[tuple[int, int]] | None,
) -> dict[str, Any]:
    figures: dict[str, Any] = {"block.count": len(spec.devices.disks)}
    counted = {qdev_name(one): one["stats"] for one in counts}
    by_device = {qdev_name(one): one for one in nodes or ()}
    for number, disk in enumerate(spec.devices.disks):
        prefix = f"block.{number}"
        if disk.target is not None:
            figures[f"{prefix}.name"] = disk.target.dev
        path = disk.source.file or disk.source.dev if disk.source is not None else None
        if path is not None:
            figures[f"{prefix}.path"] = path
        name = next((one for one in disk_names(disk) if one in counted or one in by_device), None)
        if name is None:
            continue
        numbers = counted.get(name, {})
        for ours, theirs in _BLOCK.items():
            figures[f"{prefix}.{ours}"] = numbers.get(theirs, 0)
        size = None
        if sizes is not None:
            size = sizes[number]
        elif name in by_device and "inserted" in by_device[name]:
            size = _told_sizes(path, by_device[name]["inserted"]["image"])
        if size is not None:
            # Of a raw image libvirt tells the highest place that the guest wrote to.
            figures[f"{prefix}.allocation"] = numbers.get("wr_highest_offset", 0)
            figures[f"{prefix}.capacity"], figures[f"{prefix}.physical"] = size
    return figures


def _told_sizes(path: str | None, image: dict[str, Any]) -> tuple[int, int]:
    """Return capacity and size of an image that QEMU tells of."""
    capacity: int = image["virtual-size"]
    physical: int = image.get("actual-size", capacity)
    if path is not None and image["format"] != "raw":
        with suppress(OSError):
            physical = os.stat(path).st_size
    return capacity, physical


def _local_sizes(disk: Disk) -> tuple[int, int] | None:
    """Return capacity and size of a disk's image, if it is a file that says so itself.

    A medium that the guest can take out may not be in; only QEMU knows.
    """
    source, driver = disk.source, disk.driver
    form = driver.type if driver is not None else None
    if disk.device not in (None, "disk") or source is None or source.file is None:
        return None
    if form not in ("raw", "qcow2") or source.slices is not None:
        return None
    if source.encryption is not None or disk.encryption is not None:
        return None
    with suppress(OSError):
        fd = os.open(source.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return None
            if form == "raw":
                # QEMU counts sectors.
                return -(-seen.st_size // 512) * 512, seen.st_blocks * 512
            head = os.pread(fd, 32, 0)
        finally:
            os.close(fd)
        # docs/interop/qcow2.txt: magic, and the size at byte 24.
        if len(head) == 32 and head.startswith(b"QFI\xfb"):
            return int.from_bytes(head[24:32], "big"), seen.st_size
    return None
