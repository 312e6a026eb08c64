"""Virtual CPUs, I/O threads, NUMA cells and where all of them run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from polyvisor.model._cpuset import members
from polyvisor.model.check._rule import Problem, at, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.cpu import MemoryBandwidth, MemoryLatency, Numa
    from polyvisor.model.domain import DomainSpec
    from polyvisor.model.resource import CacheTune, CpuMemoryTune

__all__ = ["RULES"]

_T = TypeVar("_T")


def _most(spec: DomainSpec) -> int:
    return spec.vcpu.count if spec.vcpu is not None else 1


@rule("vcpu-current", "There are no more CPUs plugged in than there can be.")
def _current(spec: DomainSpec) -> Iterator[Problem]:
    vcpu = spec.vcpu
    if vcpu is not None and vcpu.current is not None and vcpu.current > vcpu.count:
        fault = f"current is {vcpu.current}, of {vcpu.count}"
        yield Problem("domain/vcpu", fault, f"use at most {vcpu.count}")


@rule("vcpu-id", "Each single virtual CPU is one of those there are.")
def _ids(spec: DomainSpec) -> Iterator[Problem]:
    states = spec.vcpu_states.vcpus if spec.vcpu_states is not None else ()
    for number, state in enumerate(states):
        if state.id is not None and state.id >= _most(spec):
            where = at("vcpu", number, states, "domain/vcpus")
            fault = f"there is no virtual CPU {state.id} of {_most(spec)}"
            yield Problem(where, fault, "count from 0")


@rule("cpu-topology", "The topology has no more CPUs than can be counted.")
def _topology(spec: DomainSpec) -> Iterator[Problem]:
    topology = spec.cpu.topology if spec.cpu is not None else None
    if topology is None:
        return
    count = 1
    for part in (topology.sockets, topology.dies, topology.clusters, topology.cores,
                 topology.threads):  # fmt: skip
        count *= 1 if part is None else part
    if count > 2**32 - 1:
        yield Problem("domain/cpu/topology", f"it makes {count} CPUs", "use smaller numbers")


@rule("cpu-cache", "The cache that is emulated is that of level 3.")
def _cache(spec: DomainSpec) -> Iterator[Problem]:
    cache = spec.cpu.cache if spec.cpu is not None else None
    if cache is not None and cache.mode == "emulate" and cache.level not in {None, 3}:
        fault = f"a cache of level {cache.level} cannot be emulated"
        yield Problem("domain/cpu/cache", fault, "use level='3'")
    if cache is not None and cache.level is not None and not 1 <= cache.level <= 3:
        fault = f"there is no cache of level {cache.level}"
        yield Problem("domain/cpu/cache", fault, "use 1 to 3")


@rule("cpu-address-bits", "The width of addresses is given where it is emulated, and only there.")
def _address_bits(spec: DomainSpec) -> Iterator[Problem]:
    width = spec.cpu.maxphysaddr if spec.cpu is not None else None
    if width is not None and width.mode == "emulate" and not width.bits:
        yield Problem("domain/cpu/maxphysaddr", "the number of bits is missing", "add bits='42'")
    if width is not None and width.mode == "passthrough" and width.bits:
        fault = "bits stands beside mode='passthrough'"
        yield Problem("domain/cpu/maxphysaddr", fault, "remove bits")


# --- I/O threads ------------------------------------------------------------------------------


def _iothreads(spec: DomainSpec) -> set[int]:
    """Return the numbers of the I/O threads, those given and those chosen."""
    threads = spec.iothreadids.iothreads if spec.iothreadids is not None else ()
    known = {thread.id for thread in threads if thread.id is not None}
    missing = max(spec.iothreads or 0, len(threads)) - len(known)
    number = 1
    while missing > 0 and number < 2**16:
        if number not in known:
            known.add(number)
            missing -= 1
        number += 1
    return known


@rule("iothread-id", "I/O threads have numbers from 1, each its own, and pools that can be.")
def _iothread_ids(spec: DomainSpec) -> Iterator[Problem]:
    threads = spec.iothreadids.iothreads if spec.iothreadids is not None else ()
    seen: set[int] = set()
    for number, thread in enumerate(threads):
        where = at("iothread", number, threads, "domain/iothreadids")
        if thread.id == 0:
            yield Problem(where, "the number of an I/O thread is 0", "count from 1")
        elif thread.id is not None and thread.id in seen:
            yield Problem(where, f"the I/O thread {thread.id} is named twice", "name it once")
        seen.add(thread.id or 0)
        yield from _pool(where, thread.thread_pool_min, thread.thread_pool_max)
    default = spec.defaultiothread
    if default is not None:
        where = "domain/defaultiothread"
        yield from _pool(where, default.thread_pool_min, default.thread_pool_max)


def _pool(where: str, low: int | None, high: int | None) -> Iterator[Problem]:
    if high == 0:
        yield Problem(where, "thread_pool_max is 0", "use 1 or more, or leave it out")
    elif low is not None and high is not None and 0 <= high < low:
        yield Problem(where, f"thread_pool_min is {low}, the most is {high}", "use no more")


@rule("iothread-missing", "An I/O thread that is spoken of is there.")
def _iothread_missing(spec: DomainSpec) -> Iterator[Problem]:
    named: list[tuple[str, int]] = []
    disks, controllers = spec.devices.disks, spec.devices.controllers
    for number, disk in enumerate(disks):
        if disk.driver is not None and disk.driver.iothread:
            named.append((f"{at('disk', number, disks)}/driver", disk.driver.iothread))
    for number, controller in enumerate(controllers):
        if controller.driver is not None and controller.driver.iothread:
            where = f"{at('controller', number, controllers)}/driver"
            named.append((where, controller.driver.iothread))
    if spec.cputune is not None:
        scheds = spec.cputune.iothreadscheds
        for number, sched in enumerate(scheds):
            where = at("iothreadsched", number, scheds, "domain/cputune")
            named += [(where, one) for one in members(sched.iothreads)] if sched.iothreads else []
        pins = spec.cputune.iothreadpins
        for number, pin in enumerate(pins):
            if pin.iothread is not None:
                named.append((at("iothreadpin", number, pins, "domain/cputune"), pin.iothread))
    if not named:
        return
    known = _iothreads(spec)
    for where, thread in named:
        if thread not in known:
            fault = f"there is no I/O thread {thread}"
            yield Problem(where, fault, f"add <iothreads>{thread}</iothreads>, or use another")


# --- tuning -----------------------------------------------------------------------------------

#: Bounds of what the host's control groups take (vircgroup.h): least and most.
_BOUNDS = {
    "shares": (2, 262144),
    "period": (1000, 1000000),
    "quota": (1000, 18446744073709551),
}


@rule("cputune-range", "Shares, periods and quotas are what the host's scheduler takes.")
def _cputune(spec: DomainSpec) -> Iterator[Problem]:
    tune = spec.cputune
    if tune is None:
        return
    for prefix in ("", "global_", "emulator_", "iothread_"):
        for what, (low, high) in _BOUNDS.items():
            value = getattr(tune, prefix + what, None)
            if value is not None and value > 0 and not low <= value <= high:
                where = f"domain/cputune/{prefix}{what}"
                yield Problem(where, f"{value} is out of range", f"use {low} to {high}")


@rule("cputune-twice", "Where a thread runs, and how, is said once.")
def _pinned_twice(spec: DomainSpec) -> Iterator[Problem]:
    tune = spec.cputune
    if tune is None:
        return
    for tag, pins, name in (
        ("vcpupin", tune.vcpupins, "vcpu"),
        ("iothreadpin", tune.iothreadpins, "iothread"),
    ):
        seen: set[int] = set()
        for number, pin in enumerate(pins):
            one = getattr(pin, name)
            if one in seen:
                where = at(tag, number, pins, "domain/cputune")
                yield Problem(where, f"{name} {one} is pinned twice", "pin it once")
            seen.add(one)
    for tag, scheds, name in (
        ("vcpusched", tune.vcpuscheds, "vcpus"),
        ("iothreadsched", tune.iothreadscheds, "iothreads"),
    ):
        known: set[int] = set()
        for number, sched in enumerate(scheds):
            words = getattr(sched, name)
            now = set(members(words)) if words else set()
            if known & now:
                where = at(tag, number, scheds, "domain/cputune")
                yield Problem(where, f"{name} {min(known & now)} is given twice", "give it once")
            known |= now


@rule("resctrl-overlap", "Shares of caches and bandwidth are for CPUs apart from each other.")
def _resctrl(spec: DomainSpec) -> Iterator[Problem]:
    tune = spec.cputune
    if tune is None or not (tune.cachetunes or tune.memorytunes):
        return
    groups: list[tuple[str, set[int]]] = []
    kinds: tuple[tuple[str, Sequence[CacheTune | CpuMemoryTune]], ...] = (
        ("cachetune", tune.cachetunes),
        ("memorytune", tune.memorytunes),
    )
    for tag, tunes in kinds:
        own: list[tuple[str, set[int]]] = []
        for number, one in enumerate(tunes):
            where = at(tag, number, tunes, "domain/cputune")
            cpus = set(members(one.vcpus)) if one.vcpus else set()
            if any(cpus & other for _, other in own):
                yield Problem(where, "it shares virtual CPUs with one before", "set them apart")
            elif any(cpus & other and cpus != other for _, other in groups):
                fault = "it shares some virtual CPUs, and not all, with a <cachetune>"
                yield Problem(where, fault, "use the same CPUs or none of them")
            own.append((where, cpus))
        groups += own
    for number, cachetune in enumerate(tune.cachetunes):
        where = at("cachetune", number, tune.cachetunes, "domain/cputune")
        parts = [(cache.level, cache.id, cache.type or "both") for cache in cachetune.caches]
        for level, cache_id, _kind in _repeated(parts):
            yield Problem(where, f"cache {cache_id} of level {level} is given twice", "once")
        both = {(level, one) for level, one, kind in parts if kind == "both"}
        if any((level, one) in both for level, one, kind in parts if kind != "both"):
            yield Problem(where, "a cache is given whole and in parts", "use one of the two")
    for number, memorytune in enumerate(tune.memorytunes):
        where = at("memorytune", number, tune.memorytunes, "domain/cputune")
        for node in _repeated([node.id for node in memorytune.nodes]):
            yield Problem(where, f"the node {node} is given twice", "give it once")


def _repeated(items: Iterable[_T]) -> Iterator[_T]:
    seen: list[_T] = []
    for item in items:
        if item in seen:
            yield item
        seen.append(item)


# --- NUMA -------------------------------------------------------------------------------------


def _cells(spec: DomainSpec) -> Numa | None:
    return spec.cpu.numa if spec.cpu is not None else None


@rule("numa-cells", "NUMA cells are numbered from 0 and share no CPU; theirs are CPUs there are.")
def _numa(spec: DomainSpec) -> Iterator[Problem]:
    numa = _cells(spec)
    if numa is None:
        return
    cells, most = numa.cells, _most(spec)
    seen: set[int] = set()
    taken: set[int] = set()
    for number, cell in enumerate(cells):
        where = at("cell", number, cells, "domain/cpu/numa")
        index = number if cell.id is None else cell.id
        if index >= len(cells) or index in seen:
            fault = f"the id {index} of {len(cells)} cells is " + (
                "used twice" if index in seen else "too high"
            )
            yield Problem(where, fault, "number them from 0 without gaps")
        seen.add(index)
        cpus = set(members(cell.cpus)) if cell.cpus else set()
        if cpus and max(cpus) >= most:
            fault = f"there is no virtual CPU {max(cpus)} of {most}"
            yield Problem(where, fault, f"use CPUs up to {most - 1}, or raise <vcpu>")
        if both := taken & cpus:
            yield Problem(where, f"the CPU {min(both)} is in two cells", "put it in one")
        taken |= cpus
        levels = [cache.level or 0 for cache in cell.caches]
        for level in _repeated(levels):
            yield Problem(f"{where}/cache", f"there are two caches of level {level}", "keep one")
        if any(level > 3 for level in levels):
            yield Problem(f"{where}/cache", f"there is no level {max(levels)}", "use 1 to 3")
        for distance in cell.distances.siblings if cell.distances is not None else ():
            if distance.id is not None and distance.id >= len(cells):
                fault = f"there is no cell {distance.id}"
                yield Problem(f"{where}/distances", fault, f"use 0 to {len(cells) - 1}")


@rule("numa-links", "Links between NUMA cells lead from a cell with CPUs to one that is there.")
def _links(spec: DomainSpec) -> Iterator[Problem]:
    numa = _cells(spec)
    if numa is None or numa.interconnects is None:
        return
    cells = {number if cell.id is None else cell.id: cell for number, cell in enumerate(numa.cells)}
    links = numa.interconnects
    kinds: tuple[tuple[str, Sequence[MemoryLatency | MemoryBandwidth]], ...] = (
        ("latency", links.latencies),
        ("bandwidth", links.bandwidths),
    )
    for tag, held in kinds:
        for number, link in enumerate(held):
            where = at(tag, number, held, "domain/cpu/numa/interconnects")
            for end, cell in (("initiator", link.initiator), ("target", link.target)):
                if cell is not None and cell not in cells:
                    yield Problem(where, f"the {end} {cell} is no cell", "name one there is")
            start = cells.get(-1 if link.initiator is None else link.initiator)
            if start is not None and not start.cpus:
                yield Problem(where, f"the cell {link.initiator} has no CPUs", "use one with CPUs")
            end_cell = cells.get(-1 if link.target is None else link.target)
            levels = {cache.level for cache in end_cell.caches} if end_cell is not None else set()
            if link.cache and end_cell is not None and link.cache not in levels:
                fault = f"the cell {link.target} has no cache of level {link.cache}"
                yield Problem(where, fault, "use a level that it has")


@rule(
    "numatune",
    "Memory is bound by cells that are there, each once, and not when automatic.",
)
def _numatune(spec: DomainSpec) -> Iterator[Problem]:
    tune = spec.numatune
    if tune is None or not tune.memnodes:
        return
    numa = _cells(spec)
    count = len(numa.cells) if numa is not None else 0
    automatic = tune.memory is not None and tune.memory.placement == "auto"
    mode = tune.memory.mode if tune.memory is not None else None
    seen: set[int] = set()
    for number, node in enumerate(tune.memnodes):
        where = at("memnode", number, tune.memnodes, "domain/numatune")
        if automatic:
            yield Problem(where, "it stands beside automatic placement", "use one of the two")
        if count == 0:
            yield Problem(where, "the guest has no NUMA cells", "add <cpu><numa>")
        elif node.cellid is not None and node.cellid >= count:
            fault = f"there is no cell {node.cellid}"
            yield Problem(where, fault, f"use 0 to {count - 1}")
        if node.cellid is not None and node.cellid in seen:
            yield Problem(where, f"the cell {node.cellid} is bound twice", "bind it once")
        seen.add(-1 if node.cellid is None else node.cellid)
        if mode is not None and (mode == "restrictive") is not (node.mode == "restrictive"):
            fault = "'restrictive' is the mode of all or of none"
            yield Problem(where, fault, "use it for <memory> and each <memnode>")


RULES = rules_of(vars())
