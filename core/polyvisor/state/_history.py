"""What is kept of a domain's past: snapshots, and events that have no number yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from polyvisor.events import EventKind, ObjectEventKind
    from polyvisor.states import DomainState

__all__ = ["NewEvent", "NewObjectEvent", "Snapshot"]


@attrs.frozen
class Snapshot:
    """One snapshot of a domain.

    Attributes:
        uuid: the domain's.
        name: the snapshot's.
        parent: name of the one it grew from.
        created: when, aware, in UTC.
        state: the domain's state then.
        description: free text.
        current: whether the domain's present state grew from it.
        xml: the domain's definition then.
        path: file with the guest's memory, or ``None`` if there was no guest.
    """

    uuid: UUID
    name: str
    parent: str | None
    created: datetime
    state: DomainState
    description: str | None
    current: bool
    xml: str
    path: str | None


@attrs.frozen
class NewEvent:
    """An event that has no number yet.

    Attributes:
        uuid: the domain's.
        name: its name.
        kind: what happened.
        detail: why or how, in libvirt's words.
        data: facts beyond that, plain JSON values.
    """

    uuid: UUID
    name: str
    kind: EventKind
    detail: str
    data: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class NewObjectEvent:
    """An event of an object, without a number yet; see :class:`~polyvisor.events.ObjectEvent`."""

    family: str
    key: str
    name: str
    kind: ObjectEventKind
