"""Figures of running guests, under the names of ``virsh domstats``.

Names and meanings are those of libvirt's ``virConnectGetAllDomainStats``; what libvirt takes
from cgroups and ``/proc`` comes from ``/proc`` here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError
from polyvisor.local import Figures
from polyvisor.states import DomainState
from polyvisor_qemu import counters
from polyvisor_qemu.blockfigures import blocks, local_sizes
from polyvisor_qemu.naming import interface_device
from polyvisor_qemu.qmp import QmpError, ask_all

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
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
#: Columns of /proc/net/dev (proc(5)); what the guest calls received, the host's end has sent.
_NET = {
    "rx.bytes": 8, "rx.pkts": 9, "rx.errs": 10, "rx.drop": 11,
    "tx.bytes": 0, "tx.pkts": 1, "tx.errs": 2, "tx.drop": 3,
}  # fmt: skip
#: Those of a device that is the guest's own (virDomainNetTypeSharesHostView).
_NET_SAME = {name: (column + 8) % 16 for name, column in _NET.items()}


# Each costs a descriptor meanwhile.
_AT_ONCE = 64
#: Seconds for which a balloon's figures are taken from the last answer, where QEMU does not ask
#: the guest for them: its driver tells them once, as it begins.
_TOLD_ONCE = 10.0
_KNOWN_MOST = 4096


@attrs.define
class _Known:
    """What a QEMU has said that it need not be asked for again.

    Attributes:
        cpus: its vCPUs' threads.
        schemas: the types of KVM's counters.
        balloon: the balloon's figures.
        balloon_at: when they were told (monotonic).
    """

    cpus: list[dict[str, Any]] | None = None
    schemas: list[dict[str, Any]] | None = None
    balloon: dict[str, Any] | None = None
    balloon_at: float = 0.0

    @classmethod
    def of(cls, guest: Guest) -> _Known:
        """Return what is known of a guest's QEMU."""
        place = guest.runtime["pid"], guest.runtime["started"]
        found = _known.get(place)
        if found is None:
            if len(_known) >= _KNOWN_MOST:
                _known.clear()
            found = _known[place] = cls()
        return found

    def threads(self, guest: Guest) -> list[dict[str, Any]] | None:
        """Return what QEMU said of a guest's vCPUs, if there are as many as then."""
        cpus = self.cpus
        return cpus if cpus is not None and len(cpus) == guest.spec.vcpus else None


# By process.
_known: dict[tuple[int, int], _Known] = {}
#: Whether the kernel counts how long threads wait (sched_debug's ``wait_sum``).
_WAITS = "/proc/sys/kernel/sched_schedstats"


def figures(
    hypervisor: QemuHypervisor,
    guests: Sequence[Guest],
    *,
    groups: Collection[str] | None = None,
    backing: bool = False,
) -> list[Figures | None]:
    """Return all that QEMU and the kernel tell of guests, in one round trip to all of them.

    A QEMU that does not answer in time leaves out what only it knows.

    Args:
        hypervisor: what runs them.
        guests: active guests.
        groups: see :meth:`polyvisor.driver.Domains.all_stats`.
        backing: see there.
    """
    found: list[Figures | None] = []
    wires = _Wires()
    for begin in range(0, len(guests), _AT_ONCE):
        some = [
            _Asked.of(one, None if groups is None else frozenset(groups), backing)
            for one in guests[begin : begin + _AT_ONCE]
        ]
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
        known: what need not be asked for again.
        commands: by what they are asked for.
        sizes: capacity and size of the image of each disk, if QEMU need not be asked for them.
        groups: see :func:`figures`.
        backing: see there.
    """

    guest: Guest
    known: _Known
    commands: dict[str, Command]
    sizes: list[tuple[int, int]] | None
    groups: frozenset[str] | None
    backing: bool

    @classmethod
    def of(cls, guest: Guest, groups: frozenset[str] | None, backing: bool) -> _Asked:
        spec = guest.spec
        known = _Known.of(guest)
        commands: dict[str, Command] = {"status": ("query-status", {})}

        def wanted(*names: str) -> bool:
            return groups is None or not groups.isdisjoint(names)

        if wanted("vcpu", "cpu") and known.threads(guest) is None:
            commands["cpus"] = ("query-cpus-fast", {})
        balloon = spec.devices.memballoon
        if wanted("balloon") and (balloon is None or balloon.model != "none"):
            commands["size"] = ("query-balloon", {})
            told_once = balloon is None or not balloon.stats_period
            if (
                not told_once
                or known.balloon is None
                or time.monotonic() - known.balloon_at > _TOLD_ONCE
            ):
                path = f"/machine/peripheral/{(balloon and balloon.alias) or 'balloon0'}"
                commands["balloon"] = ("qom-get", {"path": path, "property": "guest-stats"})
        sizes: list[tuple[int, int]] | None = []
        if spec.devices.disks and wanted("block"):
            commands["counts"] = ("query-blockstats", {})
            local = [local_sizes(disk) for disk in spec.devices.disks]
            sizes = [one for one in local if one is not None]
            if len(sizes) < len(local):
                sizes = None
            if sizes is None or backing:
                commands["nodes"] = ("query-block", {})
        if wanted("iothread") and (spec.iothreads or spec.iothreadids is not None):
            commands["iothreads"] = ("query-iothreads", {})
        if wanted("dirtyrate"):
            commands["dirtyrate"] = ("query-dirty-rate", {})
        if spec.type == "kvm":
            if wanted("vcpu", "cpu", "vm") and known.schemas is None:
                commands["schemas"] = counters.SCHEMAS
            if wanted("vcpu", "cpu"):
                commands["kvm.vcpu"] = counters.kvm_asked("vcpu")
            if wanted("vm"):
                commands["kvm.vm"] = counters.kvm_asked("vm")
        return cls(guest, known, commands, sizes, groups, backing)

    def wants(self, group: str) -> bool:
        """Say whether a group is wanted."""
        return self.groups is None or group in self.groups


def _figures(
    hypervisor: QemuHypervisor, asked: _Asked, told: list[Any] | HypervisorError, wires: _Wires
) -> Figures | None:
    guest, known = asked.guest, asked.known
    seen = hypervisor.observe(guest, deep=False)
    if seen.state is DomainState.SHUTOFF:
        return Figures(seen, 0, None)
    spec, pid = guest.spec, guest.runtime["pid"]
    more = _cpu(pid)
    cpu_time = more.get("cpu.time", 0) / 1e9
    if asked.wants("balloon"):
        more["balloon.rss"] = _rss(pid)
    if asked.wants("net"):
        more |= _interfaces(pid, spec, wires)
    answers: dict[str, Any] = {}
    if not isinstance(told, HypervisorError):
        answers = {
            name: one
            for name, one in zip(asked.commands, told, strict=True)
            if not isinstance(one, QmpError)
        }
    if answers:
        if "status" in answers:
            seen = hypervisor.seen(guest, answers["status"]["status"])
        if "size" in answers:
            more["balloon.current"] = answers["size"]["actual"] // 1024
        if "balloon" in answers:
            known.balloon, known.balloon_at = answers["balloon"], time.monotonic()
        if "size" in answers and known.balloon is not None:
            more |= _balloon(known.balloon)
        if "cpus" in answers:
            known.cpus = answers["cpus"]
        cpus = answers.get("cpus", known.threads(guest))
        if cpus is not None and asked.wants("vcpu"):
            more |= _vcpus(pid, cpus)
        if asked.wants("block"):
            more |= blocks(
                spec,
                answers.get("nodes"),
                answers.get("counts", ()),
                asked.sizes,
                backing=asked.backing,
            )
        more |= counters.iothreads(answers.get("iothreads", ()))
        if "dirtyrate" in answers:
            more |= counters.dirty_rate(answers["dirtyrate"])
        more |= _kvm(asked, answers, cpus or ())
    return Figures(seen, spec.current_memory or spec.memory, cpu_time, more)


def _kvm(asked: _Asked, answers: dict[str, Any], cpus: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what KVM counts, of which QEMU with TCG has nothing."""
    found = {}
    if asked.wants("cpu"):
        # Of the parts of its caches that a guest has for itself, there is none.
        found = {
            "cpu.cache.monitor.count": 0,
            "cpu.haltpoll.success.time": 0,
            "cpu.haltpoll.fail.time": 0,
        }
    if "schemas" in answers:
        asked.known.schemas = answers["schemas"]
    told = [*answers.get("kvm.vcpu", ()), *answers.get("kvm.vm", ())]
    if told:
        counted = dict(counters.of_kvm(told, asked.known.schemas or (), cpus))
        found |= {
            name: value for name, value in counted.items() if asked.wants(name.partition(".")[0])
        }
    return found


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
    waits = _on(_WAITS)
    for cpu in cpus:
        number, thread = cpu["cpu-index"], cpu["thread-id"]
        with suppress(OSError, ValueError, IndexError):
            fields = _fields(f"/proc/{pid}/task/{thread}/stat")
            figures[f"vcpu.{number}.state"] = _RUNNING
            figures[f"vcpu.{number}.time"] = (int(fields[11]) + int(fields[12])) * _TICK
            figures[f"vcpu.{number}.wait"] = _wait(pid, thread) if waits else 0
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                # Documentation/scheduler/sched-stats.rst: time on the CPU, time in the queue.
                figures[f"vcpu.{number}.delay"] = int(file.read().split()[1])
    return figures


def _on(switch: str) -> bool:
    with suppress(OSError), open(switch, encoding="ascii") as file:
        return file.read().strip() == "1"
    return False


def _wait(pid: int, thread: int) -> int:
    """Return for how many nanoseconds a thread has waited for a CPU."""
    with suppress(OSError), open(f"/proc/{pid}/task/{thread}/sched", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip().rpartition(".")[2] == "wait_sum":
                # Milliseconds, with six places.
                whole, _, part = value.strip().partition(".")
                return int(whole) * 1_000_000 + int(part.ljust(6, "0")[:6])
    return 0


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
