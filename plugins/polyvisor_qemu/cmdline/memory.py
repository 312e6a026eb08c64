"""Memory: what it is made of, NUMA cells, modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.context import numbers, refused
from polyvisor_qemu.cmdline.words import joined

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

#: Modules are of a multiple of so many bytes (qemuDomainGetMemoryModuleSizeAlignment).
MODULE = 2 << 20

__all__ = ["default_ram", "memory", "modules", "numa"]

_MODES = {"strict": "bind", "preferred": "preferred", "interleave": "interleave"}
_SCALE = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "B": 1, "bytes": 1}
#: What a cell is to a place in its table of memory (hmat-lb, qapi/machine.json).
_LEVELS = ("memory", "first-level", "second-level", "third-level")
_POLICIES = {"writeback": "write-back", "writethrough": "write-through"}


def default_ram(c: Context) -> str | None:
    """Return the name of a machine's own memory, ``None`` if NUMA cells are its memory."""
    if c.spec.cpu is not None and c.spec.cpu.numa is not None:
        return None
    if c.machine.x86:
        return "pc.ram"
    if c.machine.virt:
        return "mach-virt.ram" if c.machine.arm else "riscv_virt_board.ram"
    return {"vexpress-a9": "vexpress.highmem", "vexpress-a15": "vexpress.highmem"}.get(
        c.machine.name
    )


def initial(c: Context) -> int:
    """Return the bytes that the guest begins with: all but those of its modules."""
    spec = c.spec
    if spec.cpu is not None and spec.cpu.numa is not None:
        return sum(_cell_size(cell) for cell in spec.cpu.numa.cells)
    plugged = 0
    if spec.max_memory is not None:
        plugged = sum(
            one.target.size
            for one in spec.devices.memories
            if one.target is not None and one.model != "sgx-epc"
        )
    return _up(max(spec.memory - plugged, 1 << 20))


def _up(size: int) -> int:
    return -(-size // (1 << 20)) * (1 << 20)


def _cell_size(cell: Any) -> int:
    return _up((cell.memory or 0) * _SCALE.get(cell.unit or "KiB", 1024))


def memory(c: Context) -> None:
    """Add how much memory there is and, without NUMA cells, what it is made of."""
    size = initial(c)
    most = c.spec.max_memory
    c.line.add(
        "m",
        joined(
            size=f"{size >> 10}k",
            slots=most.slots if most is not None else None,
            maxmem=f"{most.size >> 10}k" if most is not None else None,
        ),
    )
    name = default_ram(c)
    if name is not None:
        _backend(c, name, size, own=True)
    backing = c.spec.memory_backing
    c.line.add(
        "overcommit", f"mem-lock={'on' if backing is not None and backing.locked else 'off'}"
    )


def _backend(
    c: Context,
    name: str,
    size: int,
    *,
    cell: int | None = None,
    access: str | None = None,
    discard: bool | None = None,
    module: Any = None,
    own: bool = False,
) -> None:
    """Add a piece of memory (qemuBuildMemoryBackendProps).

    Args:
        c: the definition.
        name: its name.
        size: in bytes.
        cell: the NUMA cell that it is in.
        access: ``"shared"`` or ``"private"``, if that is said of this piece.
        discard: whether its content is thrown away in the end, if that is said of it.
        module: the module that it is.
        own: whether it is the machine's own.
    """
    backing = c.spec.memory_backing
    source = module.source if module is not None else None
    access = access or (backing.access if backing is not None else None)
    kind = backing.source if backing is not None else None
    discard = discard if discard is not None else (True if backing and backing.discard else None)
    page = source.pagesize if source is not None else None
    path = source.path if source is not None else None
    if page is None and path is None:
        page = _page(c, cell)
    prealloc = backing is not None and backing.allocation == "immediate"
    values: dict[str, Any] = {}
    if page is not None and page > 4096:
        prealloc = True
        mounts = c.host.hugepage_mounts()
        size_of_page = page if page > 1 else min(mounts, default=2 << 20)
        if kind == "memfd":
            driver = "memory-backend-memfd"
            values |= {"hugetlb": True, "hugetlbsize": size_of_page}
        else:
            driver = "memory-backend-file"
            if size_of_page not in mounts:
                raise refused(
                    c.spec,
                    "domain/memoryBacking/hugepages",
                    f"this host has no mount of hugetlbfs with pages of {size_of_page >> 10} KiB",
                )
            values["mem-path"] = c.host.hugepage_folder(mounts[size_of_page], c.spec)
    elif path is not None:
        driver = "memory-backend-file"
        values["mem-path"] = path
        prealloc = module.model == "nvdimm" and not (source is not None and source.pmem)
    elif kind == "memfd":
        driver = "memory-backend-memfd"
    elif kind == "file" or access is not None:
        driver = "memory-backend-file"
        alias = module and c.names.module(module, 0)
        values["mem-path"] = f"{c.host.memory_folder(c.spec)}/{alias or name}"
    else:
        driver = "memory-backend-ram"
    if driver != "memory-backend-ram":
        if discard is not None and driver == "memory-backend-file":
            values["discard-data"] = discard
        shared = access or ("shared" if kind == "memfd" else None)
        if shared is not None:
            values["share"] = shared == "shared"
        if own:
            values["x-use-canonical-path-for-ramblock-id"] = False
    if prealloc:
        values["prealloc"] = True
        if backing is not None and backing.allocation_threads:
            values["prealloc-threads"] = backing.allocation_threads
    values["size"] = size
    if source is not None:
        values |= {"align": source.alignsize, "pmem": True if source.pmem else None}
    mode, nodes = _binding(c, cell, source)
    if nodes:
        values |= {"host-nodes": nodes, "policy": mode}
        if prealloc and mode is not None:
            context = c.object_("thread-context", f"tc-{name}", node__affinity=nodes)
            values["prealloc-context"] = context
    c.line.json("object", {"qom-type": driver, "id": name, **values})


def _page(c: Context, cell: int | None) -> int | None:
    """Return the size of huge pages for a cell, ``None`` for the usual pages."""
    backing = c.spec.memory_backing
    if backing is None or backing.hugepages is None:
        return None
    general: int | None = None
    if not backing.hugepages.pages:
        return min(c.host.hugepage_mounts(), default=2 << 20)
    for page in backing.hugepages.pages:
        size = (page.size or 0) * _SCALE.get(page.unit or "KiB", 1024)
        if page.nodeset is None:
            general = size
        elif (cell or 0) in numbers(page.nodeset):
            return size
    return general


def _binding(c: Context, cell: int | None, source: Any) -> tuple[str | None, list[int]]:
    """Return how, and to which of the host's nodes, a piece of memory is bound."""
    tune = c.spec.numatune
    mode = tune.memory.mode if tune is not None and tune.memory is not None else None
    nodes = ""
    if tune is not None:
        if tune.memory is not None:
            nodes = tune.memory.nodeset or ""
        for one in tune.memnodes:
            if cell is not None and one.cellid == cell:
                nodes, mode = one.nodeset or "", one.mode or mode
    if source is not None and source.nodemask:
        nodes = source.nodemask
    if (mode or "strict") == "restrictive" or not nodes:
        return None, []
    return _MODES.get(mode or "strict", "bind"), numbers(nodes)


def numa(c: Context) -> None:
    """Add NUMA cells, how far they are from each other, and how fast."""
    given = c.spec.cpu.numa if c.spec.cpu is not None else None
    if given is None:
        return
    hmat = given.interconnects is not None
    cells = [(cell.id if cell.id is not None else n, cell) for n, cell in enumerate(given.cells)]
    served = [number for number, cell in cells if cell.cpus]
    for number, cell in cells:
        name = f"ram-node{number}"
        if _cell_size(cell):
            _backend(c, name, _cell_size(cell), cell=number, access=cell.mem_access,
                     discard=cell.discard)  # fmt: skip
        words = [f"node,nodeid={number}"]
        words += [f"cpus={part}" for part in (cell.cpus or "").split(",") if part]
        if hmat:
            words.append(f"initiator={number if number in served else served[0]}")
        if _cell_size(cell):
            words.append(f"memdev={name}")
        c.line.add("numa", ",".join(words))
    for number, cell in cells:
        for far in cell.distances.siblings if cell.distances is not None else ():
            if far.value:
                c.line.add("numa", f"dist,src={number},dst={far.id},val={far.value}")
    if given.interconnects is not None:
        _interconnects(c, given.interconnects)
    for number, cell in cells:
        for cache in cell.caches:
            size = _kib(cache.size)
            c.line.add(
                "numa",
                joined(
                    "hmat-cache", node__id=number, size=f"{size}K", level=cache.level,
                    associativity={"full": "complex"}.get(
                        cache.associativity or "", cache.associativity
                    ),
                    policy=_POLICIES.get(cache.policy or "", cache.policy),
                    line=cache.line.value if cache.line is not None else None,
                ),
            )  # fmt: skip


def _kib(size: Any) -> int:
    return int((size.value or 0) * _SCALE.get(size.unit or "KiB", 1024) // 1024)


def _interconnects(c: Context, given: Any) -> None:
    for kind, held in (("latency", given.latencies), ("bandwidth", given.bandwidths)):
        for one in held:
            value = str(one.value)
            if kind == "bandwidth":
                value = f"{(one.value or 0) * _SCALE.get(one.unit or 'KiB', 1024) // 1024}K"
            c.line.add(
                "numa",
                joined(
                    "hmat-lb", initiator=one.initiator, target=one.target,
                    hierarchy=_LEVELS[one.cache or 0], data__type=f"{one.type}-{kind}",
                    **{kind: value},
                ),
            )  # fmt: skip


def _cell_of(c: Context, number: int | None) -> Any:
    given = c.spec.cpu.numa if c.spec.cpu is not None else None
    if given is None or number is None:
        return None
    return next((cell for n, cell in enumerate(given.cells)
                 if (cell.id if cell.id is not None else n) == number), None)  # fmt: skip


def modules(c: Context) -> None:
    """Add memory modules."""
    for number, module in enumerate(c.spec.devices.memories):
        target = module.target
        if target is None:
            raise c.refuse(f"memory[{number}]", "has no target")
        if module.model == "sgx-epc":
            raise c.refuse(f"memory[{number}]", "SGX is not supported yet")
        name = c.names.module(module, number)
        back = f"mem{name}"
        size = -(-target.size // MODULE) * MODULE
        cell = _cell_of(c, target.node)
        access, discard = module.access, module.discard
        if cell is not None:
            access = access or cell.mem_access
            discard = discard if discard is not None else cell.discard
        node = target.node if c.spec.cpu is not None and c.spec.cpu.numa is not None else None
        _backend(c, back, size, cell=target.node, access=access, discard=discard,
                 module=module)  # fmt: skip
        if module.model in ("dimm", "nvdimm"):
            label = target.label.size if target.label is not None else None
            c.device(
                {"dimm": "pc-dimm"}.get(module.model, module.model), module, name,
                node=node, label__size=label, memdev=back,
                uuid=str(module.uuid) if module.uuid and c.machine.power else None,
                unarmed=True if target.readonly else None,
            )  # fmt: skip
        elif module.model == "virtio-pmem":
            c.virtio("virtio-pmem", module, name, memdev=back)
        else:
            c.virtio(
                "virtio-mem", module, name, node=node, memdev=back, prealloc=None,
                block__size=target.block, requested__size=target.requested,
            )  # fmt: skip
