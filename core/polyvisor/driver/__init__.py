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

from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from polyvisor.driver._base import Driver, DriverInfo, Hooks, OpenContext
    from polyvisor.driver._domains import Domains
    from polyvisor.driver._migration import (
        Begun,
        Finished,
        Migration,
        MigrationOptions,
        Outcome,
        Prepared,
    )
    from polyvisor.driver._objects import (
        DefinedObjects,
        Interfaces,
        Networks,
        NodeDevices,
        NwFilters,
        Objects,
        Secrets,
        StartedObjects,
        StoragePools,
        Volumes,
    )
    from polyvisor.driver._options import DomainOptions, SaveOptions
    from polyvisor.driver._parts import Devices, Events, Resources, Save, SnapshotInfo, Snapshots
    from polyvisor.driver._usability import Usability

__all__ = [
    "Begun",
    "DefinedObjects",
    "Devices",
    "DomainOptions",
    "Domains",
    "Driver",
    "DriverInfo",
    "Events",
    "Finished",
    "Hooks",
    "Interfaces",
    "Migration",
    "MigrationOptions",
    "Networks",
    "NodeDevices",
    "NwFilters",
    "Objects",
    "OpenContext",
    "Outcome",
    "Prepared",
    "Resources",
    "Save",
    "SaveOptions",
    "Secrets",
    "SnapshotInfo",
    "Snapshots",
    "StartedObjects",
    "StoragePools",
    "Usability",
    "Volumes",
]

# Where each public name lives; imported when it is first asked for.
__getattr__, __dir__ = attach(
    __name__,
    {
        "Begun": "_migration",
        "DefinedObjects": "_objects",
        "Devices": "_parts",
        "DomainOptions": "_options",
        "Domains": "_domains",
        "Driver": "_base",
        "DriverInfo": "_base",
        "Events": "_parts",
        "Finished": "_migration",
        "Hooks": "_base",
        "Interfaces": "_objects",
        "Migration": "_migration",
        "MigrationOptions": "_migration",
        "Networks": "_objects",
        "NodeDevices": "_objects",
        "NwFilters": "_objects",
        "Objects": "_objects",
        "OpenContext": "_base",
        "Outcome": "_migration",
        "Prepared": "_migration",
        "Resources": "_parts",
        "Save": "_parts",
        "SaveOptions": "_options",
        "Secrets": "_objects",
        "SnapshotInfo": "_parts",
        "Snapshots": "_parts",
        "StartedObjects": "_objects",
        "StoragePools": "_objects",
        "Usability": "_usability",
        "Volumes": "_objects",
    },
)
