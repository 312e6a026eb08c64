"""Running guests weighed, limited and placed: threads, control groups, QEMU's own throttles."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, OperationInvalid, Unsupported
from polyvisor.model.cpuset import members

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["pin", "place", "tune"]

_FEATURE = "domains.tuning"
_SCHEDULERS = {
    "batch": os.SCHED_BATCH, "idle": os.SCHED_IDLE, "fifo": os.SCHED_FIFO, "rr": os.SCHED_RR,
}  # fmt: skip
#: Files of version 1 and keys of io.max for limits of the host's block devices.
_DEVICE = {
    "device_read_iops_sec": ("blkio.throttle.read_iops_device", "riops"),
    "device_write_iops_sec": ("blkio.throttle.write_iops_device", "wiops"),
    "device_read_bytes_sec": ("blkio.throttle.read_bps_device", "rbps"),
    "device_write_bytes_sec": ("blkio.throttle.write_bps_device", "wbps"),
}


@attrs.frozen
class Threads:
    """The threads of a QEMU.

    Attributes:
        pid: the process.
        vcpus: by the number of the vCPU.
        iothreads: by the number of the I/O thread.
    """

    pid: int
    vcpus: dict[int, int]
    iothreads: dict[int, int]

    @classmethod
    def of(cls, monitor: Monitor, pid: int) -> Threads:
        """Ask a QEMU for its threads."""
        cpus, iothreads = monitor.ask(("query-cpus-fast", {}), ("query-iothreads", {}))
        for told in (cpus, iothreads):
            if isinstance(told, HypervisorError):
                raise told
        numbered = {
            int(one["id"].removeprefix("iothread")): one["thread-id"]
            for one in iothreads
            if one["id"].removeprefix("iothread").isdigit()
        }
        return cls(pid, {one["cpu-index"]: one["thread-id"] for one in cpus}, numbered)

    def rest(self) -> list[int]:
        """Return the emulator's own threads."""
        others = {*self.vcpus.values(), *self.iothreads.values()}
        return [tid for tid in map(int, os.listdir(f"/proc/{self.pid}/task")) if tid not in others]

    def of_kind(self, kind: str) -> dict[str, list[int]]:
        """Return the threads that share a limit, by the name of their group."""
        if kind == "emulator":
            return {"emulator": self.rest()}
        if kind == "iothread":
            return {f"iothread{number}": [tid] for number, tid in self.iothreads.items()}
        return {f"vcpu{number}": [tid] for number, tid in self.vcpus.items()}


def place(guest: Guest, spec: DomainSpec, monitor: Monitor) -> None:
    """Place and weigh a guest as its definition says, before it runs or when it has new vCPUs."""
    threads = Threads.of(monitor, guest.runtime["pid"])
    _affinity(guest, spec, threads)
    guest.runtime["grouped"] = True
    tune_ = spec.cputune
    if tune_ is not None:
        _schedule(guest, tune_, threads)
        names = {"cpu_shares": "shares", "vcpu_period": "period", "vcpu_quota": "quota"}
        names |= {
            f"{who}_{what}": f"{who}_{what}"
            for who in ("global", "emulator", "iothread")
            for what in ("period", "quota")
        }
        _limit(threads, _set(tune_, names))
    if spec.memtune is not None:
        names = {one: one for one in ("hard_limit", "soft_limit", "swap_hard_limit")}
        _memory(threads.pid, _set(spec.memtune, names), spec)
    if spec.blkiotune is not None:
        values: dict[str, int | str] = {}
        if spec.blkiotune.weight is not None:
            values["weight"] = spec.blkiotune.weight
        for name in ("weight", *(one.removeprefix("device_") for one in _DEVICE)):
            told = [
                f"{one.path},{getattr(one, name)}"
                for one in spec.blkiotune.devices
                if getattr(one, name) is not None
            ]
            if told:
                values[f"device_{name}"] = ",".join(told)
        _disks(threads.pid, values)


def pin(hypervisor: QemuHypervisor, guest: Guest, which: int | str, cpus: AbstractSet[int]) -> None:
    """Let a vCPU, or the emulator's own threads, run on these CPUs only."""
    with hypervisor.monitor(guest) as monitor:
        threads = Threads.of(monitor, guest.runtime["pid"])
    if which == "emulator":
        tids = threads.rest()
    elif isinstance(which, str):
        tids = [threads.iothreads[int(which.removeprefix("iothread"))]]
    elif which in threads.vcpus:
        tids = [threads.vcpus[which]]
    else:
        raise OperationInvalid(
            f"pin of {guest.name!r}: its vCPU {which} is not plugged in; pin it for the next "
            f"start (config)",
            domain=guest.name,
        )
    _move(guest, tids, cpus)


def tune(
    hypervisor: QemuHypervisor,
    guest: Guest,
    group: str,
    values: Mapping[str, int | str],
    device: Any | None,
) -> None:
    """See :meth:`polyvisor.local.TunesGuests.tune`."""
    if group == "blkdeviotune":
        _throttle(hypervisor, guest, values, device)
        return
    pid = guest.runtime["pid"]
    guest.runtime["grouped"] = True
    if group == "memtune":
        _memory(pid, values, guest.spec)
    elif group == "blkiotune":
        _disks(pid, values)
    elif group == "numatune":
        _nodes(guest, values)
    else:
        with hypervisor.monitor(guest) as monitor:
            threads = Threads.of(monitor, pid)
        _limit(threads, values)


def _set(element: Any, names: Mapping[str, str]) -> dict[str, int | str]:
    """Return the fields of an element that are set, by other names."""
    found = {name: getattr(element, field) for name, field in names.items()}
    return {name: value for name, value in found.items() if value is not None}


# Threads


def _affinity(guest: Guest, spec: DomainSpec, threads: Threads) -> None:
    tune_ = spec.cputune
    usual = None if spec.vcpu is None else spec.vcpu.cpuset
    pins = {one.vcpu: one.cpuset for one in tune_.vcpupins} if tune_ else {}
    io = {one.iothread: one.cpuset for one in tune_.iothreadpins} if tune_ else {}
    emulator = tune_.emulatorpin.cpuset if tune_ and tune_.emulatorpin else usual
    for number, tid in threads.vcpus.items():
        if cpus := pins.get(number) or usual:
            _move(guest, [tid], members(cpus))
    for number, tid in threads.iothreads.items():
        if cpus := io.get(number) or emulator:
            _move(guest, [tid], members(cpus))
    if emulator:
        _move(guest, threads.rest(), members(emulator))


def _move(guest: Guest, tids: list[int], cpus: Collection[int]) -> None:
    for tid in tids:
        # A thread of the emulator's may have ended by now.
        with suppress(ProcessLookupError):
            try:
                os.sched_setaffinity(tid, cpus)
            except (OSError, OverflowError) as error:
                if isinstance(error, ProcessLookupError):
                    raise
                raise HypervisorError(
                    f"pin of {guest.name!r} to the host's CPUs {sorted(cpus)}: {error}",
                    domain=guest.name,
                ) from error


def _schedule(guest: Guest, tune_: Any, threads: Threads) -> None:
    """Set the scheduling classes of threads."""
    chosen: list[tuple[int, Any]] = []
    for one in tune_.vcpuscheds:
        numbers = members(one.vcpus) if one.vcpus else set(threads.vcpus)
        chosen += [(threads.vcpus[n], one) for n in numbers if n in threads.vcpus]
    for one in tune_.iothreadscheds:
        numbers = members(one.iothreads) if one.iothreads else set(threads.iothreads)
        chosen += [(threads.iothreads[n], one) for n in numbers if n in threads.iothreads]
    if tune_.emulatorsched is not None:
        chosen += [(tid, tune_.emulatorsched) for tid in threads.rest()]
    for tid, one in chosen:
        if one.scheduler is None:
            continue
        try:
            param = os.sched_param(one.priority or 0)
            os.sched_setscheduler(tid, _SCHEDULERS[one.scheduler], param)
        except OSError as error:
            raise HypervisorError(
                f"start {guest.name!r}: scheduler {one.scheduler!r}: {error.strerror}",
                domain=guest.name,
            ) from error


# Control groups


def _limit(threads: Threads, values: Mapping[str, int | str]) -> None:
    from polyvisor_qemu.cgroups import CgroupTree

    tree = CgroupTree.of_host()
    given = {name: int(value) for name, value in values.items()}
    if not given:
        return
    controller = tree.controller("cpu", "schedinfo")
    group = tree.group(controller, threads.pid)
    if "cpu_shares" in given:
        name = "cpu.weight" if controller in tree.unified else "cpu.shares"
        usual = 100 if controller in tree.unified else 1024
        tree.put(group, name, given["cpu_shares"] or usual)
    for who in ("global", "vcpu", "emulator", "iothread"):
        period, quota = given.get(f"{who}_period"), given.get(f"{who}_quota")
        if period is None and quota is None:
            continue
        if who == "global":
            tree.period_and_quota(group, controller, period, quota)
            continue
        for name, tids in threads.of_kind(who).items():
            inner = tree.group(controller, threads.pid, name)
            for tid in tids:
                with suppress(ProcessLookupError):
                    tree.put(inner, tree.threads(controller), tid)
            tree.period_and_quota(inner, controller, period, quota)


def _memory(pid: int, values: Mapping[str, int | str], spec: DomainSpec) -> None:
    from polyvisor_qemu.cgroups import CgroupTree

    if values.get("min_guarantee"):
        raise Unsupported("memtune: QEMU's guests have no min_guarantee", feature=_FEATURE)
    given = {name: int(value) for name, value in values.items() if name != "min_guarantee"}
    if not given:
        return
    tree = CgroupTree.of_host()
    controller = tree.controller("memory", "memtune")
    group = tree.group(controller, pid)
    if controller in tree.unified:
        names = {"hard_limit": "memory.max", "soft_limit": "memory.high"}
        hard = given.get("hard_limit", (spec.memtune and spec.memtune.hard_limit) or 0)
        if given.get("swap_hard_limit"):
            # Version 1 limits memory and swap together, version 2 swap alone.
            tree.put(group, "memory.swap.max", max(0, given["swap_hard_limit"] - hard))
        elif "swap_hard_limit" in given:
            tree.put(group, "memory.swap.max", "max")
        for name in names.keys() & given.keys():
            tree.put(group, names[name], given[name] or "max")
        return
    names = {
        "hard_limit": "memory.limit_in_bytes",
        "soft_limit": "memory.soft_limit_in_bytes",
        "swap_hard_limit": "memory.memsw.limit_in_bytes",
    }
    # Memory alone must not be above both together: widen from without, narrow from within.
    now = int(tree.get(group, names["swap_hard_limit"]) or 0)
    order = ["soft_limit", "hard_limit", "swap_hard_limit"]
    if not given.get("hard_limit", 1) or given.get("hard_limit", 0) > now:
        order = ["soft_limit", "swap_hard_limit", "hard_limit"]
    for name in order:
        if name in given:
            tree.put(group, names[name], given[name] or -1)


def _disks(pid: int, values: Mapping[str, int | str]) -> None:
    from polyvisor_qemu.cgroups import CgroupTree

    if not values:
        return
    tree = CgroupTree.of_host()
    controller = tree.controller("blkio", "blkiotune")
    group = tree.group(controller, pid)
    unified = controller in tree.unified
    prefix = "io" if unified else "blkio"
    weights = [f"{prefix}.weight", f"{prefix}.bfq.weight"]
    weight = next((one for one in weights if os.path.exists(f"{group}/{one}")), weights[0])
    for name, value in values.items():
        if name == "weight":
            tree.put(group, weight, int(value) or 100)
            continue
        words = str(value).split(",") if value else []
        for path, number in zip(words[::2], words[1::2], strict=True):
            device = _device_number(path)
            if name == "device_weight":
                where = weight if unified else f"{weight}_device"
                tree.put(group, where, f"{device} {int(number) or 100}")
            elif unified:
                limit = number if int(number) else "max"
                tree.put(group, "io.max", f"{device} {_DEVICE[name][1]}={limit}")
            else:
                tree.put(group, _DEVICE[name][0], f"{device} {number}")


def _device_number(path: str) -> str:
    import stat

    try:
        found = os.stat(path)
    except OSError as error:
        raise HypervisorError(f"blkiotune: {path}: {error.strerror}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise HypervisorError(f"blkiotune: {path} is no block device")
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def _nodes(guest: Guest, values: Mapping[str, int | str]) -> None:
    from polyvisor_qemu.cgroups import CgroupTree

    numa = guest.spec.numatune
    mode = numa.memory.mode if numa is not None and numa.memory is not None else None
    if values.get("numa_mode", mode) != mode or mode not in (None, "strict", "restrictive"):
        raise OperationInvalid(
            f"numatune of {guest.name!r}: only the nodes of a guest whose mode is strict or "
            f"restrictive can change while it runs, not the mode",
            domain=guest.name,
        )
    nodes = values.get("numa_nodeset")
    if not nodes:
        return
    tree = CgroupTree.of_host()
    controller = tree.controller("cpuset", "numatune")
    group = tree.group(controller, guest.runtime["pid"])
    if controller not in tree.unified:
        tree.put(group, "cpuset.memory_migrate", 1)
    tree.put(group, "cpuset.mems", nodes)


# QEMU's throttles


def _throttle(
    hypervisor: QemuHypervisor, guest: Guest, values: Mapping[str, int | str], disk: Any
) -> None:
    from polyvisor_qemu.cmdline.disks import limits
    from polyvisor_qemu.hotplug import refused
    from polyvisor_qemu.nodes import backend_of
    from polyvisor_qemu.plugged import Plugged

    tune_ = disk.iotune
    limited = {} if tune_ is None else attrs.asdict(tune_)
    for name, value in values.items():
        # A total takes the place of what was set for reading and writing, and the other way.
        way, _, measure = name.partition("_")
        if value and not name.endswith("_length") and way in ("total", "read", "write"):
            for other in ("read", "write") if way == "total" else ("total",):
                limited[f"{other}_{measure}"] = None
    limited |= {name: value or None for name, value in values.items()}
    name = Plugged(guest).name("disks", disk)
    with refused(guest, "limit a disk"), hypervisor.monitor(guest) as monitor:
        owner = backend_of(monitor, guest.spec, disk, name)["qdev"]
        wanted: dict[str, Any] = {"id": owner, **limits(limited)}
        if limited.get("group_name"):
            wanted["group"] = limited["group_name"]
        monitor.execute("block_set_io_throttle", **wanted)
