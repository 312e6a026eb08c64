"""What happens to domains, as a stream of values."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from polyvisor._event import DomainRef, Event

__all__ = ["DomainRef", "Event", "EventKind"]


class EventKind(StrEnum):
    """Kinds of event; the lifecycle ones are ``virDomainEventType``."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    SHUTDOWN = "shutdown"
    PMSUSPENDED = "pmsuspended"
    CRASHED = "crashed"
    REBOOT = "reboot"
    JOB_COMPLETED = "job-completed"
    MIGRATION_ITERATION = "migration-iteration"
    SNAPSHOT = "snapshot"
    DEVICE_ADDED = "device-added"
    DEVICE_REMOVED = "device-removed"
    GUEST = "guest"  # anything else that the hypervisor reports; ``data`` has it


# An event itself; imported when it is first asked for.
__getattr__, __dir__ = attach(__name__, {"DomainRef": "_event", "Event": "_event"})
