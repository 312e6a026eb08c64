"""Pages of this machine's memory by their size, and what the kernel does to merge equal ones.

The kernel's files are those of its admin-guide: mm/hugetlbpage.rst and mm/ksm.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    OperationFailed,
    Unsupported,
)
from polyvisor.local._machine import machine_memory, machine_nodes

__all__ = [
    "free_pages",
    "pools",
    "reserve",
    "set_sharing",
    "sharing",
    "sizes",
]

_POOL = re.compile(r"hugepages-(\d+)kB$")
_SHARING = "sys/kernel/mm/ksm"
#: What can be set of merging equal pages.
_SET = ("pages_to_scan", "sleep_millisecs", "merge_across_nodes")
#: What is told of it, in libvirt's order.
_TOLD = (
    "pages_to_scan", "sleep_millisecs", "pages_shared", "pages_sharing", "pages_unshared",
    "pages_volatile", "full_scans", "merge_across_nodes",
)  # fmt: skip


def pools(cell: int | None, root: str = "/") -> dict[int, str]:
    """Return the folder of each pool of huge pages by their size in bytes, smallest first.

    Args:
        cell: a NUMA node's; ``None``: those of the whole machine.
        root: where ``sys`` is.

    Raises:
        InvalidArgument: there is no such node.
    """
    home = f"{root}sys/kernel/mm/hugepages"
    if cell is not None:
        node = f"{root}sys/devices/system/node/node{cell}"
        if os.path.isdir(node):
            home = f"{node}/hugepages"
        elif cell != 0 or os.path.isdir(f"{root}sys/devices/system/node/node0"):
            raise InvalidArgument(f"pages of the host: it has no NUMA node {cell}")
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return {}  # a kernel without huge pages
    found = {int(one[1]) << 10: f"{home}/{name}" for name in names if (one := _POOL.match(name))}
    return dict(sorted(found.items()))


def sizes(*, root: str = "/") -> tuple[int, ...]:
    """Return the sizes that pages of this machine can have, in bytes, smallest first."""
    return (_base(), *pools(None, root))


def free_pages(cell: int | None, *, root: str = "/") -> dict[int, int]:
    """Return how many pages nobody uses, by their size in bytes, smallest first.

    Args:
        cell: of a NUMA node; ``None``: of the whole machine.
        root: where ``proc`` and ``sys`` are.

    Raises:
        InvalidArgument: there is no such node.
        HypervisorError: the kernel does not tell.
    """
    huge = {size: _number(f"{path}/free_hugepages") for size, path in pools(cell, root).items()}
    nodes = machine_nodes(root=root) if cell is None else (cell,)
    free = sum(machine_memory(node, root=root).free for node in nodes)
    return {_base(): free // _base(), **huge}


def reserve(size: int, count: int, cell: int | None, *, add: bool, root: str = "/") -> None:
    """Set how many huge pages of a size the kernel keeps for those who ask for such.

    Args:
        size: theirs, in bytes.
        count: how many.
        cell: of a NUMA node; ``None``: wherever there is room.
        add: to those that there are.
        root: where ``sys`` is.

    Raises:
        Unsupported: they are the pages that all memory is made of.
        InvalidArgument: there is no such node.
        OperationFailed: there are none of this size, or there is no room for so many.
    """
    if size == _base():
        raise Unsupported("system pages pool can't be modified", libvirt_number=84)
    path = pools(cell, root).get(size)
    if path is None:
        where = "" if cell is None else f" on node {cell}"
        raise OperationFailed(f"page size {size >> 10} is not available{where}")
    path += "/nr_hugepages"
    before = _number(path)
    wanted = before + count if add else count
    _write(path, wanted)
    now = _number(path)
    if now != wanted:
        got = now - before if add else now
        raise OperationFailed(f"Unable to allocate {count} pages. Allocated only {got}")


def sharing(*, root: str = "/") -> dict[str, int]:
    """Return how the kernel merges equal pages, by the names of its files.

    Raises:
        Unsupported: it does not merge any.
    """
    home = f"{root}{_SHARING}"
    if not os.path.isdir(home):
        raise Unsupported("the host's kernel merges no pages (KSM)", feature="host.memory")
    return {name: _number(f"{home}/{name}") for name in _TOLD if os.path.exists(f"{home}/{name}")}


def set_sharing(values: Mapping[str, int], *, root: str = "/") -> None:
    """Set how the kernel merges equal pages; see :func:`sharing`.

    Raises:
        InvalidArgument: one cannot be set.
        Unsupported: the kernel does not merge any.
        HypervisorError: it refuses a value.
    """
    there = sharing(root=root)
    for name in values:
        if name not in _SET or name not in there:
            raise InvalidArgument(f"sharing of memory: {name!r} cannot be set; {_SET} can")
    for name, value in values.items():
        _write(f"{root}{_SHARING}/{name}", value)


def _base() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _number(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError) as error:
        raise HypervisorError(f"memory of the host: {path}: {error}") from error


def _write(path: str, value: int) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
    except OSError as error:
        name = os.path.basename(path)
        raise HypervisorError(
            f"failed to set {name} to {value}: {path}: {error.strerror}",
            native_code=error.errno,
            libvirt_number=38,
        ) from error
