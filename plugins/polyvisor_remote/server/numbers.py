"""Numbers by which libvirt's clients know states, reasons and events.

All of ``libvirt/libvirt-domain.h`` and ``src/libvirt_internal.h`` (features).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag

from polyvisor.events import EventKind
from polyvisor.states import DomainState, StateReason

__all__ = [
    "ACTIONS",
    "BLOCK_JOBS",
    "ENDS",
    "EVENT_DETAILS",
    "JOB_FIELDS",
    "JOB_OPERATIONS",
    "JOB_TYPES",
    "JOB_WORDS",
    "LIFECYCLE",
    "STATES",
    "STATS_GROUPS",
    "EventId",
    "Feature",
    "ListDomains",
    "Migrate",
    "Stats",
    "reason_number",
]

#: ``virDomainState``.
STATES: Mapping[DomainState, int] = {state: number for number, state in enumerate(DomainState)}

#: ``virDomainLifecycle``: how a guest ends.
ENDS = ("poweroff", "reboot", "crash")
#: ``virDomainLifecycleAction``: what is to happen then.
ACTIONS = (
    "destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart",
)  # fmt: skip

_R = StateReason
#: ``virDomainRunningReason`` and its like, by state; what is not there is 0, unknown.
_REASONS: Mapping[DomainState, tuple[StateReason | None, ...]] = {
    DomainState.RUNNING: (
        None, _R.BOOTED, _R.MIGRATED, _R.RESTORED, _R.FROM_SNAPSHOT, _R.UNPAUSED,
        _R.MIGRATION_CANCELED, _R.SAVE_CANCELED, _R.WAKEUP, _R.CRASHED, _R.POSTCOPY,
        _R.POSTCOPY_FAILED,
    ),
    DomainState.PAUSED: (
        None, _R.USER, _R.MIGRATING, _R.SAVING, _R.DUMPING, _R.IOERROR, _R.WATCHDOG,
        _R.FROM_SNAPSHOT, _R.SHUTTING_DOWN, _R.CREATING_SNAPSHOT, _R.CRASHED, _R.STARTING_UP,
        _R.POSTCOPY, _R.POSTCOPY_FAILED,
    ),
    DomainState.SHUTDOWN: (None, _R.USER),
    DomainState.SHUTOFF: (
        None, _R.SHUTDOWN, _R.DESTROYED, _R.CRASHED, _R.MIGRATED, _R.SAVED, _R.FAILED,
        _R.FROM_SNAPSHOT,
    ),
    DomainState.CRASHED: (None, _R.PANICKED),
}  # fmt: skip
_NUMBERS = {
    (state, reason): number
    for state, reasons in _REASONS.items()
    for number, reason in enumerate(reasons)
    if reason is not None
}


def reason_number(state: DomainState, reason: StateReason) -> int:
    """Return the number of a reason, which depends on the state."""
    return _NUMBERS.get((state, reason), 0)


#: ``virDomainEventType``.
LIFECYCLE: Mapping[EventKind, int] = {
    EventKind.DEFINED: 0,
    EventKind.UNDEFINED: 1,
    EventKind.STARTED: 2,
    EventKind.SUSPENDED: 3,
    EventKind.RESUMED: 4,
    EventKind.STOPPED: 5,
    EventKind.SHUTDOWN: 6,
    EventKind.PMSUSPENDED: 7,
    EventKind.CRASHED: 8,
}
#: ``virDomainEventDefinedDetailType`` and its like; a detail that is not there is 0.
EVENT_DETAILS: Mapping[EventKind, tuple[str, ...]] = {
    EventKind.DEFINED: ("added", "updated", "renamed", "from-snapshot"),
    EventKind.UNDEFINED: ("removed", "renamed"),
    EventKind.STARTED: ("booted", "migrated", "restored", "from-snapshot", "wakeup"),
    EventKind.SUSPENDED: (
        "paused", "migrated", "ioerror", "watchdog", "restored", "from-snapshot", "api-error",
        "post-copy", "post-copy-failed",
    ),
    EventKind.RESUMED: ("unpaused", "migrated", "from-snapshot", "post-copy", "post-copy-failed"),
    EventKind.STOPPED: (
        "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from-snapshot",
    ),
    EventKind.SHUTDOWN: ("finished", "guest", "host"),
    EventKind.PMSUSPENDED: ("memory", "disk"),
    EventKind.CRASHED: ("panicked", "crashloaded"),
}  # fmt: skip


#: ``virDomainBlockJobType``, from 1.
BLOCK_JOBS = ("pull", "copy", "commit", "active-commit", "backup")


class EventId(IntEnum):
    """``virDomainEventID``: what a client may ask to be told of."""

    LIFECYCLE = 0
    REBOOT = 1
    RTC_CHANGE = 2
    WATCHDOG = 3
    IO_ERROR = 4
    IO_ERROR_REASON = 6
    BLOCK_JOB = 8
    PMWAKEUP = 11
    PMSUSPEND = 12
    BALLOON_CHANGE = 13
    PMSUSPEND_DISK = 14
    DEVICE_REMOVED = 15
    BLOCK_JOB_2 = 16
    DEVICE_ADDED = 19
    MIGRATION_ITERATION = 20
    JOB_COMPLETED = 21
    DEVICE_REMOVAL_FAILED = 22
    METADATA_CHANGE = 23
    BLOCK_THRESHOLD = 24
    MEMORY_DEVICE_SIZE_CHANGE = 26


#: Beyond the last ``virDomainEventID`` of libvirt 11.3.
EVENT_ID_END = 28


class Feature(IntEnum):
    """``VIR_DRV_FEATURE_*``: what a client asks whether we can."""

    MIGRATION_V1 = 1
    REMOTE = 2
    MIGRATION_V2 = 3
    MIGRATION_P2P = 4
    MIGRATION_DIRECT = 5
    MIGRATION_V3 = 6
    CHANGE_PROTECTION = 7
    FD_PASSING = 8
    TYPED_PARAM_STRING = 9
    KEEPALIVE = 10
    XML_MIGRATABLE = 11
    MIGRATION_OFFLINE = 12
    MIGRATION_PARAMS = 13
    EVENT_CALLBACK = 14
    CLOSE_CALLBACK = 15


class ListDomains(IntFlag):
    """``virConnectListAllDomainsFlags``, pairs and groups of which one is enough."""

    ACTIVE = 1
    INACTIVE = 2
    PERSISTENT = 4
    TRANSIENT = 8
    RUNNING = 16
    PAUSED = 32
    SHUTOFF = 64
    OTHER = 128
    MANAGEDSAVE = 256
    NO_MANAGEDSAVE = 512
    AUTOSTART = 1024
    NO_AUTOSTART = 2048
    HAS_SNAPSHOT = 4096
    NO_SNAPSHOT = 8192
    HAS_CHECKPOINT = 16384
    NO_CHECKPOINT = 32768


class Stats(IntFlag):
    """``virDomainStatsTypes``."""

    STATE = 1
    CPU_TOTAL = 2
    BALLOON = 4
    VCPU = 8
    INTERFACE = 16
    BLOCK = 32
    PERF = 64
    IOTHREAD = 128
    MEMORY = 256
    DIRTYRATE = 512
    VM = 1024


#: Groups by the first word of a figure's name (``virDomainStatsTypes``).
STATS_GROUPS: Mapping[str, Stats] = {
    "state": Stats.STATE,
    "cpu": Stats.CPU_TOTAL,
    "balloon": Stats.BALLOON,
    "vcpu": Stats.VCPU,
    "net": Stats.INTERFACE,
    "block": Stats.BLOCK,
    "perf": Stats.PERF,
    "iothread": Stats.IOTHREAD,
    "memory": Stats.MEMORY,
    "dirtyrate": Stats.DIRTYRATE,
    "vm": Stats.VM,
}


#: ``virDomainJobOperation`` by our words; a managed save is a save for libvirt.
JOB_OPERATIONS: Mapping[str, int] = {
    "start": 1,
    "save": 2,
    "managed save": 2,
    "restore": 3,
    "migration in": 4,
    "migration": 5,
    "snapshot": 6,
    "snapshot revert": 7,
    "dump": 8,
    "backup": 9,
    "snapshot delete": 10,
}
JOB_WORDS: Mapping[int, str] = {
    number: word for word, number in JOB_OPERATIONS.items() if word != "managed save"
}
#: ``virDomainJobType`` by :class:`polyvisor.jobstats.JobOutcome`; 0 is none, 1 one of known length.
JOB_TYPES: Mapping[str, int] = {"running": 2, "completed": 3, "failed": 4, "cancelled": 5}
#: Types of a job's typed parameters that are no unsigned long (``virTypedParameterType``).
JOB_FIELDS: Mapping[str, int] = {"operation": 1, "auto_converge_throttle": 1}


class Migrate(IntFlag):
    """``virDomainMigrateFlags`` that we know."""

    LIVE = 1
    PEER2PEER = 2
    TUNNELLED = 4
    PERSIST_DEST = 8
    UNDEFINE_SOURCE = 16
    PAUSED = 32
    NON_SHARED_DISK = 64
    NON_SHARED_INC = 128
    CHANGE_PROTECTION = 256
    UNSAFE = 512
    OFFLINE = 1024
    COMPRESSED = 2048
    ABORT_ON_ERROR = 4096
    AUTO_CONVERGE = 8192
    POSTCOPY = 32768
    TLS = 65536
    PARALLEL = 131072
    NON_SHARED_SYNCHRONOUS_WRITES = 262144
    POSTCOPY_RESUME = 524288
