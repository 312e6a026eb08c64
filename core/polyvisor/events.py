"""What happens to domains and to the host's other objects, as a stream of values."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor._event import AnyEvent, DomainRef, Event, MonitorEvent, ObjectEvent

__all__ = [
    "AnyEvent",
    "DomainRef",
    "Event",
    "EventKind",
    "MonitorEvent",
    "ObjectEvent",
    "ObjectEventKind",
]


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
    METADATA_CHANGED = "metadata-changed"  # detail: "title", "description" or a namespace
    GUEST = "guest"  # anything else that the hypervisor reports; ``data`` has it


class ObjectEventKind(StrEnum):
    """Kinds of event of pools, networks, node devices and secrets."""

    DEFINED = "defined"
    UNDEFINED = "undefined"
    STARTED = "started"
    STOPPED = "stopped"
    CREATED = "created"
    DELETED = "deleted"
    UPDATED = "updated"
    REFRESHED = "refreshed"
    VALUE_CHANGED = "value-changed"


# An event itself; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    dict.fromkeys(("AnyEvent", "DomainRef", "Event", "MonitorEvent", "ObjectEvent"), "_event"),
)
