"""An event, and the domain that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor._values import frozen_mapping

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from polyvisor.events import EventKind

__all__ = ["DomainRef", "Event"]


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
