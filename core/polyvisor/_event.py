"""Events, and the domain that one names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from polyvisor._values import frozen_mapping

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from polyvisor.events import EventKind, ObjectEventKind

__all__ = ["AnyEvent", "DomainRef", "Event", "MonitorEvent", "ObjectEvent"]


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


@attrs.frozen
class MonitorEvent:
    """One thing that a hypervisor's own monitor told of one domain.

    Attributes:
        domain: which domain.
        name: the hypervisor's word for it, such as ``"RTC_CHANGE"``.
        time: when, in seconds since 1970, by the hypervisor's clock.
        details: what it says of it, as JSON text; ``None``: nothing.
    """

    domain: DomainRef
    name: str
    time: float
    details: str | None = None


@attrs.frozen
class ObjectEvent:
    """One thing that happened to one object of the host that is not a domain.

    Attributes:
        sequence: number in the same row as those of :class:`Event`.
        family: ``"network"``, ``"pool"``, ``"nodedev"``, ``"secret"``, ``"interface"`` or
            ``"nwfilter"``.
        key: its UUID as text, or its name where its family has no UUIDs.
        name: its name.
        kind: what happened.
        time: when, aware, in UTC.
    """

    sequence: int
    family: str
    key: str
    name: str
    kind: ObjectEventKind
    time: datetime


#: What a stream of all events gives.
AnyEvent: TypeAlias = Event | ObjectEvent
