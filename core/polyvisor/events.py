"""What happens to domains, as a stream of values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor._values import frozen_mapping

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

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


@attrs.frozen
class DomainRef:
    """Names a domain without a connection."""

    uuid: UUID
    name: str


@attrs.frozen
class Event:
    """One thing that happened to one domain.

    Attributes:
        sequence: number that grows by one with each event of a connection's host.
        domain: which domain.
        kind: what happened.
        detail: why or how, in libvirt's words: ``"booted"``, ``"migrated"``,
            ``"destroyed"``, ``"added"``, ``"updated"`` …
        time: when, aware, in UTC.
        data: facts beyond that, plain JSON values.
    """

    sequence: int
    domain: DomainRef
    kind: EventKind
    detail: str
    time: datetime
    data: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)
