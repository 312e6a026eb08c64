"""What a plugin implements.

A driver is composed of small parts. :class:`Driver` is the whole and holds the
parts; only ``domains`` is mandatory. A part that a hypervisor lacks stays ``None``:
asking for it then raises :class:`~polyvisor.errors.Unsupported` with the reason from
the driver's support table, so that no part has a method that only refuses.

Domains are named by UUID throughout. Every method may raise
:class:`~polyvisor.errors.NotFound` for a UUID that is not (or no longer) there, and
nothing that is not a :class:`~polyvisor.errors.PolyvisorError`. Methods may be called
from several threads at once.
"""

from __future__ import annotations

from polyvisor.driver._base import Driver, DriverInfo, Hooks, OpenContext, Usability
from polyvisor.driver._domains import DomainOptions, Domains
from polyvisor.driver._migration import (
    Begun,
    Finished,
    Migration,
    MigrationOptions,
    Outcome,
    Prepared,
)
from polyvisor.driver._parts import Devices, Events, Save, SaveOptions, SnapshotInfo, Snapshots

__all__ = [
    "Begun",
    "Devices",
    "DomainOptions",
    "Domains",
    "Driver",
    "DriverInfo",
    "Events",
    "Finished",
    "Hooks",
    "Migration",
    "MigrationOptions",
    "OpenContext",
    "Outcome",
    "Prepared",
    "Save",
    "SaveOptions",
    "SnapshotInfo",
    "Snapshots",
    "Usability",
]
