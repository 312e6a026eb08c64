"""How much memory there is, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyvisor.model._codecs import unit_factor
from polyvisor.model._cpuset import members
from polyvisor.model.check._rule import Problem, at, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.memory import Memory
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]


def _in_cells(spec: DomainSpec) -> int:
    """Return the bytes of all NUMA cells together."""
    numa = spec.cpu.numa if spec.cpu is not None else None
    cells = numa.cells if numa is not None else ()
    return sum(cell.memory * unit_factor(cell.unit or "") for cell in cells if cell.memory)


def _modules(spec: DomainSpec) -> int:
    return sum(one.target.size for one in spec.devices.memories if one.target is not None)


@rule("memory-missing", "There is memory.")
def _missing(spec: DomainSpec) -> Iterator[Problem]:
    if spec.memory == 0 and _in_cells(spec) == 0:
        yield Problem("domain/memory", "the domain has no memory", "say how much, in <memory>")


@rule("memory-most", "What can be plugged in has a bound and slots, and what there is fits.")
def _max_memory(spec: DomainSpec) -> Iterator[Problem]:
    most = spec.max_memory
    total = spec.memory
    if in_cells := _in_cells(spec):
        total = in_cells + _modules(spec)
    elif spec.devices.memories and _modules(spec) > total:
        fault = "the memory modules are larger than all the memory"
        yield Problem("domain/memory", fault, "count them in <memory>")
    if most is None:
        return
    if bool(most.size) is not bool(most.slots):
        yield Problem("domain/maxMemory", "size and slots belong together", "give both")
    if most.size and most.size < total:
        fault = f"it is less than the {total // 1024} KiB that there are"
        yield Problem("domain/maxMemory", fault, "use at least as much")


@rule("memory-slot", "A memory module sits in a slot that is there.")
def _slot(spec: DomainSpec) -> Iterator[Problem]:
    slots = spec.max_memory.slots if spec.max_memory is not None else None
    modules = spec.devices.memories
    for number, module in enumerate(modules):
        address = module.address
        slot = getattr(address, "slot", None) if address is not None else None
        if slots and slot is not None and slot >= slots:
            where = f"{at('memory', number, modules)}/address"
            yield Problem(where, f"there is no slot {slot} of {slots}", f"use 0 to {slots - 1}")


@rule("memory-node", "A memory module belongs to a NUMA cell that is there.")
def _node(spec: DomainSpec) -> Iterator[Problem]:
    numa = spec.cpu.numa if spec.cpu is not None else None
    count = len(numa.cells) if numa is not None else 0
    modules = spec.devices.memories
    for number, module in enumerate(modules):
        node = module.target.node if module.target is not None else None
        if node is not None and node >= count:
            where = f"{at('memory', number, modules)}/target/node"
            fault = f"there is no NUMA cell {node}" if count else "the guest has no NUMA cells"
            advice = f"use 0 to {count - 1}" if count else "add <cpu><numa>"
            yield Problem(where, fault, advice)


@rule("memory-module", "A memory module has what its model needs, and nothing that it cannot have.")
def _module(spec: DomainSpec) -> Iterator[Problem]:
    modules = spec.devices.memories
    for number, module in enumerate(modules):
        where = at("memory", number, modules)
        for below, fault, advice in _faults(module, spec):
            yield Problem(where + below, fault, advice)


def _faults(module: Memory, spec: DomainSpec) -> Iterator[tuple[str, str, str]]:
    model, source, target = module.model, module.source, module.target
    if model in {"nvdimm", "virtio-pmem"}:
        if source is None or source.path is None:
            yield "/source", f"a {model} has no path", "add <source><path>"
        if module.discard:
            yield "", f"a {model} is not discarded", "remove discard"
    if model == "nvdimm":
        ppc64 = (spec.os.arch or "").startswith("ppc64")
        if ppc64 and (target is None or target.label is None):
            yield "/target", "an nvdimm on ppc64 has a label", "add <label><size>"
        if not ppc64 and module.uuid is not None and spec.os.arch is not None:
            yield "/uuid", "an nvdimm has a UUID on ppc64 alone", "remove it"
    if model == "virtio-pmem":
        if module.access != "shared":
            yield "", "a virtio-pmem is shared", "use access='shared'"
        if target is not None and target.node is not None:
            yield "/target/node", "a virtio-pmem is on no NUMA cell", "remove it"
    if model == "sgx-epc" and module.address is not None:
        yield "/address", "an sgx-epc has no address", "remove it"
    if model == "virtio-mem" and target is not None:
        block, wanted = target.block or 0, target.requested or 0
        if wanted > target.size:
            yield "/target/requested", "more is asked for than there is", "ask for no more"
        if not block or block & (block - 1):
            yield "/target/block", f"{block} is no power of two", "use 2 MiB, for example"
        elif wanted % block:
            yield "/target/requested", "it is not made of whole blocks", "use a multiple of block"


@rule("hugepages-nodes", "Each NUMA cell has one size of huge pages, and one is for the others.")
def _hugepages(spec: DomainSpec) -> Iterator[Problem]:
    pages = spec.memory_backing.hugepages if spec.memory_backing is not None else None
    if pages is None:
        return
    numa = spec.cpu.numa if spec.cpu is not None else None
    count = len(numa.cells) if numa is not None else 0
    taken: set[int] = set()
    rest = False
    for number, page in enumerate(pages.pages):
        where = at("page", number, pages.pages, "domain/memoryBacking/hugepages")
        nodes = set(members(page.nodeset)) if page.nodeset else set()
        # Without cells node 0 is the whole guest (virDomainDefPostParseMemtune).
        if not nodes or (count == 0 and nodes == {0}):
            if rest:
                fault = "there are two sizes for all the memory"
                yield Problem(where, fault, "say which nodes use which, with nodeset")
            rest = True
            continue
        if max(nodes) >= count:
            yield Problem(where, f"there is no NUMA cell {max(nodes)}", "name cells there are")
        if both := nodes & taken:
            yield Problem(where, f"the cell {min(both)} has two sizes", "name it once")
        taken |= nodes


@rule("smm-tseg", "The size of TSEG is whole MiB.")
def _tseg(spec: DomainSpec) -> Iterator[Problem]:
    smm = spec.features.smm if spec.features is not None else None
    size = getattr(smm, "tseg", None)
    if isinstance(size, int) and size % unit_factor("MiB"):
        yield Problem("domain/features/smm/tseg", f"{size} bytes are no whole MiB", "round it")


RULES = rules_of(vars())
