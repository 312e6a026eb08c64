"""Drivers whose definitions and running guests polyvisor keeps itself.

Hypervisors without a store of their own (QEMU, Xen, LXC, bhyve, the simulator) share
everything that is not about running a guest: definitions, locks, events, save images,
managed save, snapshots of memory, the phases of migration, and putting things right
after a process was killed. A plugin implements :class:`LocalHypervisor` and derives
its driver from :class:`LocalDriver`.
"""

from __future__ import annotations

from polyvisor.local._hypervisor import (
    Guest,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)

__all__ = [
    "Guest",
    "LocalHypervisor",
    "MigratesGuests",
    "Observation",
    "SavesGuests",
    "WatchesGuests",
]
