"""This machine's NUMA nodes and CPUs, of ``/sys/devices/system``.

The files are those of the kernel's ABI/stable/sysfs-devices-node and admin-guide/cputopology.rst.
"""

from __future__ import annotations

import os

from polyvisor.local._machine import machine_memory, machine_nodes
from polyvisor.local._pages import pools, sizes
from polyvisor.model.capabilities_topology import (
    CellCpus,
    CellPages,
    HostCell,
    HostCells,
    HostThread,
    Topology,
)
from polyvisor.model.cpu import Distance, Distances
from polyvisor.model.cpuset import compact, members

__all__ = ["machine_shape", "machine_topology"]


def machine_topology(*, root: str = "/") -> Topology:
    """Return this machine's NUMA nodes with their memory, pages, distances and CPUs.

    Args:
        root: where ``proc`` and ``sys`` are.

    Raises:
        HypervisorError: the kernel does not tell of a node that it has.
    """
    numbers = machine_nodes(root=root)
    return Topology(
        cells=HostCells(
            num=len(numbers), cells=tuple(_cell(number, numbers, root) for number in numbers)
        )
    )


def machine_shape(*, root: str = "/") -> tuple[int, int, int]:
    """Return how many sockets a NUMA node has, how many cores a socket, how many threads a core.

    Where nodes, sockets or cores are not all alike, it is one socket with each CPU as a core, as
    libvirt has it.

    Args:
        root: where ``sys`` is.
    """
    nodes = [_threads(number, root) for number in machine_nodes(root=root)]
    cpus = [one for threads in nodes for one in threads]
    sockets = max((len({one.socket_id for one in threads}) for threads in nodes), default=1)
    per_socket: dict[tuple[object, ...], set[object]] = {}
    per_core: dict[tuple[object, ...], int] = {}
    for place, threads in enumerate(nodes):
        for one in threads:
            core = (one.die_id, one.core_id)
            per_socket.setdefault((place, one.socket_id), set()).add(core)
            per_core[place, one.socket_id, core] = per_core.get((place, one.socket_id, core), 0) + 1
    cores = max(map(len, per_socket.values()), default=1)
    count = max(per_core.values(), default=1)
    if len(nodes) * sockets * cores * count != len(cpus):
        return 1, max(1, len(cpus)), 1
    return sockets, cores, count


def _threads(number: int, root: str) -> list[HostThread]:
    """Return the CPUs of a node that are on."""
    node = f"{root}sys/devices/system/node/node{number}"
    listed = _text(f"{node}/cpulist")
    if not listed and not os.path.isdir(node):
        listed = _text(f"{root}sys/devices/system/cpu/online")
    return [_thread(one, root) for one in members(listed)] if listed else []


def _cell(number: int, numbers: tuple[int, ...], root: str) -> HostCell:
    node = f"{root}sys/devices/system/node/node{number}"
    far = _text(f"{node}/distance").split()
    memory = machine_memory(number, root=root).total
    huge = {size: _number(f"{path}/nr_hugepages") for size, path in pools(number, root).items()}
    base, *_ = sizes(root=root)
    left = memory - sum(size * count for size, count in huge.items())
    cpus = _threads(number, root)
    return HostCell(
        id=number,
        memory=memory,
        pages=tuple(
            CellPages(unit="KiB", size=size >> 10, count=count)
            for size, count in {base: left // base, **huge}.items()
        ),
        distances=Distances(
            siblings=tuple(
                Distance(id=other, value=int(value))
                for other, value in zip(numbers, far, strict=False)
            )
        )
        if far
        else None,
        cpus=CellCpus(num=len(cpus), cpus=tuple(cpus)),
    )


def _thread(number: int, root: str) -> HostThread:
    of = f"{root}sys/devices/system/cpu/cpu{number}/topology"
    siblings = _text(f"{of}/thread_siblings_list")
    return HostThread(
        id=number,
        socket_id=max(0, _number(f"{of}/physical_package_id")),
        die_id=max(0, _number(f"{of}/die_id")),
        core_id=max(0, _number(f"{of}/core_id")),
        siblings=compact(members(siblings)) if siblings else str(number),
    )


def _text(path: str) -> str:
    """Return what the kernel says in a file; nothing where it has no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _number(path: str) -> int:
    return int(_text(path) or 0)
