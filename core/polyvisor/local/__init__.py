"""Drivers whose definitions and running guests polyvisor keeps itself.

Hypervisors without a store of their own (QEMU, Xen, LXC, bhyve, the simulator) share
everything that is not about running a guest: definitions, locks, events, save images,
managed save, snapshots of memory, the phases of migration, and putting things right
after a process was killed. A plugin implements :class:`LocalHypervisor` and derives
its driver from :class:`LocalDriver`::

    class SimDriver(LocalDriver):
        @classmethod
        def open(cls, uri, context):
            roots = Roots.of("sim", "session", uri.path, root=context.root)
            home = Home.on_disk(roots)
            return cls(roots.canonical(uri), SimHypervisor(), home, context)

        def host(self): ...

        def support(self): ...

``LocalDriver(uri, hypervisor, home, context)``: a :class:`polyvisor.state.Home` is where
everything is kept, ``Home.on_disk(roots)`` shared by all processes, or
``Home.in_memory()``. For parts of its own (devices, consoles) the plugin has
``driver.hold(uuid, "attach")``, a :class:`Hold` of the locked domain with its ``guest``,
``record`` and ``change()``, and ``driver.guest(uuid)`` to look without locking;
:func:`open_terminal` opens the terminal at which a console ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach
from polyvisor.local._hypervisor import (
    ChangesGuests,
    Figures,
    FindsGuests,
    FoundGuest,
    Guest,
    LocalHypervisor,
    Observation,
    TracksDisks,
    TunesGuests,
    WatchesGuests,
)
from polyvisor.local._travel import MigratesGuests, SavesGuests

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.local._cpuinfo import machine_cpu
    from polyvisor.local._cpus import CpuFacts, CpuModels
    from polyvisor.local._disk_backups import BacksUpDisks
    from polyvisor.local._driver import LocalDriver
    from polyvisor.local._hold import Hold
    from polyvisor.local._machine import (
        machine_memory,
        machine_nodes,
        machine_times,
        machine_uuid,
    )
    from polyvisor.local._points import MONITOR, checkpoint_family
    from polyvisor.local._settings import SETTINGS
    from polyvisor.local._snapshot_disks import Merge, SnapshotsDisks
    from polyvisor.local._switch import PostCopy, SwitchesGuests
    from polyvisor.local._terminal import open_terminal
    from polyvisor.local._thismachine import ThisMachine
    from polyvisor.local._topology import machine_shape, machine_topology

__all__ = [
    "MONITOR",
    "SETTINGS",
    "BacksUpDisks",
    "ChangesGuests",
    "CpuFacts",
    "CpuModels",
    "Figures",
    "FindsGuests",
    "FoundGuest",
    "Guest",
    "Hold",
    "LocalDriver",
    "LocalHypervisor",
    "Merge",
    "MigratesGuests",
    "Observation",
    "PostCopy",
    "SavesGuests",
    "SnapshotsDisks",
    "SwitchesGuests",
    "ThisMachine",
    "TracksDisks",
    "TunesGuests",
    "WatchesGuests",
    "checkpoint_family",
    "machine_cpu",
    "machine_memory",
    "machine_nodes",
    "machine_shape",
    "machine_times",
    "machine_topology",
    "machine_uuid",
    "open_terminal",
]

# Where the rest lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "BacksUpDisks": "_disk_backups",
        "CpuFacts": "_cpus",
        "CpuModels": "_cpus",
        "Hold": "_hold",
        "LocalDriver": "_driver",
        "MONITOR": "_points",
        "Merge": "_snapshot_disks",
        "PostCopy": "_switch",
        "SETTINGS": "_settings",
        "SnapshotsDisks": "_snapshot_disks",
        "SwitchesGuests": "_switch",
        "ThisMachine": "_thismachine",
        "checkpoint_family": "_points",
        "machine_cpu": "_cpuinfo",
        "machine_memory": "_machine",
        "machine_nodes": "_machine",
        "machine_shape": "_topology",
        "machine_times": "_machine",
        "machine_topology": "_topology",
        "machine_uuid": "_machine",
        "open_terminal": "_terminal",
    },
)
