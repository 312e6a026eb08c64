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
    from collections.abc import Callable
    from typing import Any

    from polyvisor.driver._base import Driver, DriverInfo, Hooks, OpenContext
    from polyvisor.driver._block import (
        Backups,
        BlockJobInfo,
        BlockJobs,
        Checkpoints,
        DiskInfo,
    )
    from polyvisor.driver._console import Consoles, Screens
    from polyvisor.driver._debug import Debug
    from polyvisor.driver._domains import Domains
    from polyvisor.driver._guest import AGENT_SECONDS, GuestAgent
    from polyvisor.driver._host import HostMachine, Processors
    from polyvisor.driver._migration import (
        Begun,
        Finished,
        Migration,
        MigrationLimits,
        MigrationOptions,
        Outcome,
        Prepared,
        Steering,
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
    from polyvisor.driver._options import (
        DomainOptions,
        SaveOptions,
        SnapshotOptions,
        UndefineOptions,
    )
    from polyvisor.driver._parts import (
        Annotations,
        Devices,
        Dumps,
        Events,
        Resources,
        Save,
        SnapshotInfo,
        Snapshots,
    )
    from polyvisor.driver._settings import Setting
    from polyvisor.driver._tuning import Tuning
    from polyvisor.driver._usability import Usability

__all__ = [
    "AGENT_SECONDS",
    "ASKING_MODES",
    "DIRTY_RATE_MODES",
    "Annotations",
    "Backups",
    "Begun",
    "BlockJobInfo",
    "BlockJobs",
    "Checkpoints",
    "Consoles",
    "Debug",
    "DefinedObjects",
    "Devices",
    "DiskInfo",
    "DomainOptions",
    "Domains",
    "Driver",
    "DriverInfo",
    "Dumps",
    "Events",
    "Finished",
    "GuestAgent",
    "Hooks",
    "HostMachine",
    "Interfaces",
    "Migration",
    "MigrationLimits",
    "MigrationOptions",
    "Networks",
    "NodeDevices",
    "NwFilters",
    "Objects",
    "OpenContext",
    "Outcome",
    "Prepared",
    "Processors",
    "Resources",
    "Save",
    "SaveOptions",
    "Screens",
    "Secrets",
    "Setting",
    "SnapshotInfo",
    "SnapshotOptions",
    "Snapshots",
    "StartedObjects",
    "Steering",
    "StoragePools",
    "Tuning",
    "UndefineOptions",
    "Usability",
    "Volumes",
]

# Where each public name lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "AGENT_SECONDS": "_guest",
        "ASKING_MODES": "_options",
        "DIRTY_RATE_MODES": "_options",
        "Annotations": "_parts",
        "Backups": "_block",
        "Begun": "_migration",
        "BlockJobInfo": "_block",
        "BlockJobs": "_block",
        "Checkpoints": "_block",
        "Consoles": "_console",
        "Debug": "_debug",
        "DefinedObjects": "_objects",
        "Devices": "_parts",
        "DiskInfo": "_block",
        "DomainOptions": "_options",
        "Domains": "_domains",
        "Driver": "_base",
        "DriverInfo": "_base",
        "Dumps": "_parts",
        "Events": "_parts",
        "Finished": "_migration",
        "GuestAgent": "_guest",
        "Hooks": "_base",
        "HostMachine": "_host",
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
        "Processors": "_host",
        "Resources": "_parts",
        "Save": "_parts",
        "SaveOptions": "_options",
        "Screens": "_console",
        "Secrets": "_objects",
        "Setting": "_settings",
        "SnapshotInfo": "_parts",
        "SnapshotOptions": "_options",
        "Snapshots": "_parts",
        "StartedObjects": "_objects",
        "MigrationLimits": "_migration",
        "Steering": "_migration",
        "StoragePools": "_objects",
        "Tuning": "_tuning",
        "UndefineOptions": "_options",
        "Usability": "_usability",
        "Volumes": "_objects",
    },
)
