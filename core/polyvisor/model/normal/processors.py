"""Virtual CPUs, what they look like, and where they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model._cpuset import members
from polyvisor.model.normal.change import changed, defaults, each

if TYPE_CHECKING:
    from polyvisor.model.cpu import Cpu, CpuFeature, Numa, NumaCell
    from polyvisor.model.domain import DomainSpec, IoThreadIds, Vcpu
    from polyvisor.model.tuning import CpuTune, NumaTune

__all__ = ["processors"]


def processors(spec: DomainSpec) -> DomainSpec:
    """Make the defaults of CPUs, NUMA cells and their placement explicit."""
    assert spec.vcpu is not None
    vcpu, numatune = _placement(spec.vcpu, spec.numatune)
    ids = spec.iothreadids
    count = spec.iothreads
    if ids is not None:
        count = max(count or 0, len(ids.iothreads))
        ids = _filled(ids, count) if ids.iothreads else None
    return changed(
        spec,
        vcpu=vcpu,
        iothreads=count or None,
        iothreadids=ids,
        cputune=None if spec.cputune is None else _cputune(spec.cputune),
        numatune=numatune,
        cpu=None if spec.cpu is None else _cpu(spec.cpu),
    )


def _filled(ids: IoThreadIds, count: int) -> IoThreadIds:
    """Give each thread an id (virDomainIOThreadIDDefArrayInit)."""
    from polyvisor.model.domain import IoThread

    known = {thread.id for thread in ids.iothreads}
    free = (number for number in range(1, count + 1) if number not in known)
    added = tuple(IoThread(id=next(free)) for _ in range(count - len(ids.iothreads)))
    return changed(ids, iothreads=ids.iothreads + added)


def _placement(vcpu: Vcpu, tune: NumaTune | None) -> tuple[Vcpu, NumaTune | None]:
    """Let CPUs and memory follow each other (virDomainVcpuParse, virDomainNumatuneParseXML)."""
    from polyvisor.model.tuning import NumaMemory, NumaTune

    memory = None if tune is None else tune.memory
    placement = vcpu.placement
    if placement is None:
        follows = memory is not None and memory.placement == "auto" and vcpu.cpuset is None
        placement = "auto" if follows else "static"
    vcpu = changed(
        vcpu,
        placement=placement,
        cpuset=None if placement == "auto" else vcpu.cpuset,
        current=None if vcpu.current == vcpu.count else vcpu.current,
    )
    if memory is None:
        if placement == "auto" and (tune is None or not tune.memnodes):
            tune = changed(tune or NumaTune(), memory=NumaMemory(mode="strict", placement="auto"))
        return vcpu, tune
    assert tune is not None
    where = memory.placement
    if where is None:
        where = "static" if memory.nodeset is not None or placement == "static" else "auto"
    memory = changed(
        memory,
        mode=memory.mode or "strict",
        placement="auto" if where == "auto" else None,
        nodeset=None if where == "auto" else memory.nodeset,
    )
    return vcpu, changed(tune, memory=memory)


def _cputune(tune: CpuTune) -> CpuTune | None:
    def by(name: str) -> Any:
        return lambda item: getattr(item, name) or 0

    tune = changed(
        tune,
        vcpupins=tuple(sorted(tune.vcpupins, key=by("vcpu"))),
        iothreadpins=tuple(sorted(tune.iothreadpins, key=by("iothread"))),
        vcpuscheds=_one_by_one(tune.vcpuscheds, "vcpus"),
        iothreadscheds=_one_by_one(tune.iothreadscheds, "iothreads"),
    )
    return None if tune == type(tune)() else tune


def _one_by_one(scheds: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return scheduling of threads one by one (virDomainSchedulerFormat)."""
    single = [
        (number, changed(sched, **{name: str(number)}))
        for sched in scheds
        if getattr(sched, name) is not None
        for number in members(getattr(sched, name))
    ]
    return tuple(sched for _, sched in sorted(single, key=lambda pair: pair[0]))


def _cpu(cpu: Cpu) -> Cpu | None:
    model = cpu.model
    mode = cpu.mode
    if mode is None and (model is not None or cpu.match is not None):
        mode = "custom"
    match = cpu.match
    if mode == "custom" and model is not None and match is None:
        match = "exact"
    if model is not None and mode in {"custom", "host-model"}:
        model = defaults(model, fallback="allow")
    topology = cpu.topology
    if topology is not None:
        topology = defaults(topology, dies=1)
    if model is not None and not model.name and model.vendor_id is None and mode != "custom":
        model = None
    guest = mode is not None or match is not None
    cpu = changed(
        cpu,
        mode=mode,
        match=match,
        model=model,
        topology=topology,
        features=each(cpu.features, _required) if guest else cpu.features,
        numa=None if cpu.numa is None else _numa(cpu.numa),
    )
    return None if cpu == type(cpu)() else cpu


def _required(feature: CpuFeature) -> CpuFeature:
    return defaults(feature, policy="require")


def _numa(numa: Numa) -> Numa:
    cells = [
        changed(_kib(cell), id=number if cell.id is None else cell.id)
        for number, cell in enumerate(numa.cells)
    ]
    cells.sort(key=lambda cell: cell.id or 0)
    if any(cell.distances is not None for cell in cells):
        cells = _with_distances(cells)
    return changed(numa, cells=tuple(cells))


def _kib(cell: NumaCell) -> NumaCell:
    from polyvisor.model._codecs import scaled

    if cell.memory is None:
        return cell
    return changed(cell, memory=scaled(str(cell.memory), cell.unit or "") // 1024, unit="KiB")


def _with_distances(cells: list[NumaCell]) -> list[NumaCell]:
    """Say how far all are from each other (virDomainNumaDefNodeDistanceParseXML)."""
    from polyvisor.model.cpu import Distance, Distances

    known: dict[tuple[int, int], int] = {}
    for here in cells:
        for one in here.distances.siblings if here.distances is not None else ():
            if here.id is not None and one.id is not None and one.value is not None:
                known[here.id, one.id] = one.value
    for (a, b), value in list(known.items()):
        known.setdefault((b, a), value)
    result = []
    for here in cells:
        if here.id is None:
            continue
        far = tuple(
            Distance(id=there.id, value=known.get((here.id, there.id), 10 if there is here else 20))
            for there in cells
            if there.id is not None
        )
        result.append(changed(here, distances=Distances(siblings=far)))
    return result
