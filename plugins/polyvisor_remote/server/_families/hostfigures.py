"""What the host does now: its processors' times and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from polyvisor.errors import Unsupported
from polyvisor_remote.server._families.arguments import check_flags, memory_kib
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor_remote.server.session import Session

_Found = TypeVar("_Found")

#: ``VIR_NODE_CPU_STATS_ALL_CPUS`` and ``VIR_NODE_MEMORY_STATS_ALL_CELLS``.
_ALL = -1
_INVALID_ARG = 8


def _asked(ask: Callable[[int | None], _Found], number: int, procedure: str) -> _Found:
    """Return figures of one or of all, or say that the driver has none."""
    if number < _ALL:
        raise Failure(_INVALID_ARG, f"invalid number {number}")
    try:
        return ask(None if number == _ALL else number)
    except Unsupported as error:
        raise unsupported(procedure) from error


def _counted(found: list[tuple[str, int]], most: int) -> tuple[list[tuple[str, int]], int]:
    """Return the answer: the figures, or how many there are if there is no room for any."""
    if most and most < len(found):
        raise Failure(_INVALID_ARG, f"there are {len(found)} figures, and room for {most}")
    return (found if most else []), len(found)


@serves("node_get_cpu_stats")
def node_get_cpu_stats(session: Session, arguments: Any) -> tuple[list[tuple[str, int]], int]:
    """Return for how many nanoseconds processors did what."""
    check_flags(arguments.flags, 0, "virNodeGetCPUStats")
    times = _asked(session.driver.host_times, arguments.cpuNum, "node_get_cpu_stats")
    rows = [
        ("kernel", times.system),
        ("user", times.user),
        ("idle", times.idle),
        ("iowait", times.iowait),
    ]
    return _counted([(name, round(value * 1e9)) for name, value in rows], arguments.nparams)


@serves("node_get_memory_stats")
def node_get_memory_stats(session: Session, arguments: Any) -> tuple[list[tuple[str, int]], int]:
    """Return how many KiB of memory there are, and are in use for what."""
    check_flags(arguments.flags, 0, "virNodeGetMemoryStats")
    memory = _asked(session.driver.host_memory, arguments.cellNum, "node_get_memory_stats")
    rows = [
        ("total", memory.total),
        ("free", memory.free),
        ("buffers", memory.buffers),
        ("cached", memory.cached),
    ]
    found = [(name, memory_kib(value)) for name, value in rows if value is not None]
    return _counted(found, arguments.nparams)


@serves("node_get_free_memory")
def node_get_free_memory(session: Session, arguments: Any) -> tuple[int]:
    """Return how many bytes of memory nobody uses."""
    return (_asked(session.driver.host_memory, _ALL, "node_get_free_memory").free,)


@serves("node_get_cells_free_memory")
def node_get_cells_free_memory(session: Session, arguments: Any) -> tuple[list[int]]:
    """Return how many bytes nobody uses of each of some NUMA nodes."""
    first, count = arguments.startCell, session.driver.host().numa_nodes
    if not 0 <= first < count or arguments.maxcells <= 0:
        raise Failure(_INVALID_ARG, f"start cell {first} out of range (0-{count - 1})")
    cells = range(first, min(count, first + arguments.maxcells))
    ask = session.driver.host_memory
    return ([_asked(ask, cell, "node_get_cells_free_memory").free for cell in cells],)
