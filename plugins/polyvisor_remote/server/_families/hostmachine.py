"""The host's hardware and memory: firmware's tables, huge pages, what merges equal pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import mapping, params
from polyvisor_remote.wire.params import UINT, ULLONG

if TYPE_CHECKING:
    from polyvisor.driver import HostMachine
    from polyvisor_remote.server.session import Session

_INTERNAL, _ARGUMENT_UNSUPPORTED = 1, 74
#: ``VIR_NODE_ALLOC_PAGES_SET`` (without it they are added), ``VIR_TYPED_PARAM_STRING_OKAY``.
_SET, _TEXT = 1, 4
#: All of the host instead of a node.
_ALL = -1
#: What names of values of KSM begin with (``VIR_NODE_MEMORY_SHARED_*``), and which are short.
_SHARED = "shm_"
_SHORT = ("pages_to_scan", "sleep_millisecs", "merge_across_nodes")


def _cells(session: Session, first: int, count: int) -> list[int | None]:
    """Return the nodes that are meant; ``None`` is all of the host."""
    last = session.driver.host().numa_nodes - 1
    cells = range(first, min(last, first + count - 1) + 1)
    if first < _ALL or not cells:
        raise Failure(_INTERNAL, f"start cell {first} out of range (0-{last})")
    return [None if cell == _ALL else cell for cell in cells]


def _part(session: Session, procedure: str) -> HostMachine:
    return need(session.driver.machine, procedure)


@serves("connect_get_sysinfo", slow=True)
def get_sysinfo(session: Session, arguments: Any) -> tuple[str]:
    """Return what the host's firmware says of it."""
    check_flags(arguments.flags, 0, "virConnectGetSysinfo")
    return (_part(session, "connect_get_sysinfo").sysinfo().to_xml(),)


@serves("node_get_free_pages")
def get_free_pages(session: Session, arguments: Any) -> tuple[list[int]]:
    """Count free pages of sizes in KiB, node by node."""
    check_flags(arguments.flags, 0, "virNodeGetFreePages")
    part = _part(session, "node_get_free_pages")
    counts = []
    for cell in _cells(session, arguments.startCell, arguments.cellCount):
        free = part.free_pages(cell)
        for size in arguments.pages:
            if size << 10 not in free:
                where = _ALL if cell is None else cell
                raise Failure(9, f"page size {size} is not available on node {where}")
            counts.append(free[size << 10])
    return (counts,)


@serves("node_alloc_pages", slow=True)
def alloc_pages(session: Session, arguments: Any) -> tuple[int]:
    """Set how many huge pages of sizes in KiB nodes keep; return how often that was done."""
    check_flags(arguments.flags, _SET, "virNodeAllocPages")
    part = _part(session, "node_alloc_pages")
    wanted = list(zip(arguments.pageSizes, arguments.pageCounts, strict=False))
    add = not arguments.flags & _SET
    cells = _cells(session, arguments.startCell, arguments.cellCount)
    for cell in cells:
        for size, count in wanted:
            part.reserve_pages(size << 10, count, cell=cell, add=add)
    return (len(cells) * len(wanted),)


@serves("node_get_memory_parameters")
def get_memory_parameters(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return how the kernel merges equal pages."""
    check_flags(arguments.flags, _TEXT, "virNodeGetMemoryParameters")
    told = _part(session, "node_get_memory_parameters").sharing()
    values = {_SHARED + name: value for name, value in told.items()}
    kinds = {_SHARED + name: UINT if name in _SHORT else ULLONG for name in told}
    found = params(values, kinds)[: max(0, arguments.nparams)]
    return found, len(values)


@serves("node_set_memory_parameters")
def set_memory_parameters(session: Session, arguments: Any) -> None:
    """Set how it merges them."""
    check_flags(arguments.flags, 0, "virNodeSetMemoryParameters")
    part = _part(session, "node_set_memory_parameters")
    given = mapping(arguments.params)
    unknown = [name for name in given if name.removeprefix(_SHARED) not in _SHORT]
    if unknown:
        raise Failure(_ARGUMENT_UNSUPPORTED, f"parameter '{unknown[0]}' not supported")
    part.set_sharing({name.removeprefix(_SHARED): int(value) for name, value in given.items()})
