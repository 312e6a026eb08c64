"""What this machine does now, of ``/proc`` and ``/sys`` (proc(5))."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from uuid import UUID, uuid5

from polyvisor.errors import HypervisorError, InvalidArgument
from polyvisor.host import CpuTimes, HostMemory

__all__ = ["machine_memory", "machine_nodes", "machine_times", "machine_uuid"]

_NODE = re.compile(r"node(\d+)$")
_ROW = re.compile(r"^(?:Node \d+ )?(\w+): +(\d+) kB$", re.MULTILINE)


def machine_times(cpu: int | None, *, root: str = "/") -> CpuTimes:
    """Return for how long a CPU of this machine, or all of them, did what.

    Args:
        cpu: its number; ``None``: all together.
        root: where ``proc`` is.

    Raises:
        InvalidArgument: there is no such CPU, or it is off.
        HypervisorError: the kernel does not tell.
    """
    wanted = "cpu" if cpu is None else f"cpu{cpu}"
    for line in _read(f"{root}proc/stat").splitlines():
        name, *words = line.split()
        if name == wanted and len(words) >= 7:
            tick = 1 / os.sysconf("SC_CLK_TCK")
            user, nice, system, idle, iowait, irq, soft = (int(word) * tick for word in words[:7])
            return CpuTimes(user=user + nice, system=system + irq + soft, idle=idle, iowait=iowait)
    raise InvalidArgument(f"times of the host: it has no CPU {cpu} that is on")


def machine_uuid(*, root: str = "/") -> UUID | None:
    """Return what tells this machine from all others; ``None`` where nothing does.

    It is its firmware's UUID, which libvirt tells of too, or one that is made of its system's,
    which itself is for nobody else (machine-id(5)).

    Args:
        root: where ``sys`` and ``etc`` are.
    """
    with suppress(HypervisorError, ValueError):
        found = UUID(_read(f"{root}sys/class/dmi/id/product_uuid").strip())
        # Makers that leave it out fill it with one digit.
        if len(set(found.hex)) > 1:
            return found
    with suppress(HypervisorError, ValueError):
        return uuid5(UUID(_read(f"{root}etc/machine-id").strip()), "polyvisor")
    return None


def machine_nodes(*, root: str = "/") -> tuple[int, ...]:
    """Return the numbers of this machine's NUMA nodes.

    Args:
        root: where ``sys`` is.
    """
    try:
        names = os.listdir(f"{root}sys/devices/system/node")
    except FileNotFoundError:  # a kernel without NUMA, and so one node
        return (0,)
    return tuple(sorted(int(one[1]) for name in names if (one := _NODE.match(name))))


def machine_memory(cell: int | None, *, root: str = "/") -> HostMemory:
    """Return what is in use of this machine's memory, or of a NUMA node's.

    Args:
        cell: the node's number; ``None``: all together.
        root: where ``proc`` and ``sys`` are.

    Raises:
        InvalidArgument: there is no such node.
        HypervisorError: the kernel does not tell.
    """
    path = f"{root}proc/meminfo"
    if cell is not None:
        path = f"{root}sys/devices/system/node/node{cell}/meminfo"
        if not os.path.exists(path):
            # A kernel without NUMA has no folder of nodes, and so one node.
            if cell != 0 or os.path.isdir(os.path.dirname(os.path.dirname(path)) + "/node0"):
                raise InvalidArgument(f"memory of the host: it has no NUMA node {cell}")
            path = f"{root}proc/meminfo"
    found = {name: int(size) << 10 for name, size in _ROW.findall(_read(path))}
    try:
        return HostMemory(
            total=found["MemTotal"],
            free=found["MemFree"],
            buffers=found.get("Buffers") if cell is None else None,
            cached=found.get("Cached") if cell is None else None,
        )
    except KeyError as error:
        raise HypervisorError(f"memory of the host: {path} does not say {error}") from error


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise HypervisorError(f"figures of the host: {path}: {error.strerror}") from error
