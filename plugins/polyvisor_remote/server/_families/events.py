"""Telling clients of events, in libvirt's three ways of asking for them.

The oldest asks for changes of state alone, the next for one kind of event, and the one
that is used today for one kind of event of one domain or of all, under a number that the
event then carries.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.events import Event, EventKind
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.server.numbers import (
    BLOCK_JOBS,
    EVENT_DETAILS,
    EVENT_ID_END,
    JOB_FIELDS,
    JOB_OPERATIONS,
    LIFECYCLE,
    EventId,
)
from polyvisor_remote.wire import Kind, Status, frame, params, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.events import AnyEvent
    from polyvisor_remote.server.session import Session

_INVALID_ARG = 8
_remote = program("remote")
#: The message that a kind of event is sent in, if its client asked for it by kind alone.
_LEGACY = {
    EventId.LIFECYCLE: "domain_event_lifecycle",
    EventId.REBOOT: "domain_event_reboot",
    EventId.RTC_CHANGE: "domain_event_rtc_change",
    EventId.WATCHDOG: "domain_event_watchdog",
    EventId.IO_ERROR: "domain_event_io_error",
    EventId.IO_ERROR_REASON: "domain_event_io_error_reason",
    EventId.BLOCK_JOB: "domain_event_block_job",
    EventId.PMWAKEUP: "domain_event_pmwakeup",
    EventId.PMSUSPEND: "domain_event_pmsuspend",
    EventId.PMSUSPEND_DISK: "domain_event_pmsuspend_disk",
    EventId.BALLOON_CHANGE: "domain_event_balloon_change",
    EventId.DEVICE_REMOVED: "domain_event_device_removed",
}
#: The same for those that asked with a number; these carry it.
_NUMBERED = {
    **{
        event: message.replace("domain_event_", "domain_event_callback_")
        for event, message in _LEGACY.items()
    },
    EventId.BLOCK_JOB_2: "domain_event_block_job_2",
    EventId.DEVICE_ADDED: "domain_event_callback_device_added",
    EventId.MIGRATION_ITERATION: "domain_event_callback_migration_iteration",
    EventId.JOB_COMPLETED: "domain_event_callback_job_completed",
    EventId.DEVICE_REMOVAL_FAILED: "domain_event_callback_device_removal_failed",
    EventId.METADATA_CHANGE: "domain_event_callback_metadata_change",
    EventId.BLOCK_THRESHOLD: "domain_event_block_threshold",
    EventId.MEMORY_DEVICE_SIZE_CHANGE: "domain_event_memory_device_size_change",
}
#: Those whose content stands in the message itself, not in one of the older kind.
_FLAT = frozenset(_NUMBERED) - frozenset(_LEGACY)
#: Those that have a reason, which is always 0, between the number and the rest.
_REASONED = frozenset({EventId.PMWAKEUP, EventId.PMSUSPEND, EventId.PMSUSPEND_DISK})
#: ``virDomainEventWatchdogAction`` and ``virDomainEventIOErrorAction``.
_WATCHDOG = ("none", "pause", "reset", "poweroff", "shutdown", "debug", "inject-nmi")
_IO_ERROR = ("none", "pause", "report")
#: ``virConnectDomainEventBlockJobStatus``.
_BLOCK_JOB = {"completed": 0, "failed": 1, "canceled": 2, "ready": 3}
#: ``virDomainMetadataType``; any other detail is the namespace of an element.
_METADATA = {"description": 0, "title": 1}
_ELEMENT = 2

_Told = tuple[EventId, tuple[Any, ...]]


def contents(event: Event) -> Iterator[_Told]:
    """Yield what a client is told of an event behind the domain: kinds of event and fields."""
    kind, data = event.kind, event.data
    number = LIFECYCLE.get(kind)
    if number is not None:
        details = EVENT_DETAILS[kind]
        detail = details.index(event.detail) if event.detail in details else 0
        yield EventId.LIFECYCLE, (number, detail)
        if kind is EventKind.PMSUSPENDED:
            disk = event.detail == "disk"
            yield (EventId.PMSUSPEND_DISK if disk else EventId.PMSUSPEND), ()
        elif kind is EventKind.STARTED and event.detail == "wakeup":
            yield EventId.PMWAKEUP, ()
    elif kind is EventKind.REBOOT:
        yield EventId.REBOOT, ()
    elif kind is EventKind.DEVICE_REMOVED or kind is EventKind.DEVICE_ADDED:
        alias = str(data.get("alias") or data.get("device") or event.detail)
        added = kind is EventKind.DEVICE_ADDED
        yield (EventId.DEVICE_ADDED if added else EventId.DEVICE_REMOVED), (alias,)
    elif kind is EventKind.MIGRATION_ITERATION and "iteration" in data:
        yield EventId.MIGRATION_ITERATION, (int(data["iteration"]),)
    elif kind is EventKind.JOB_COMPLETED:
        told = {"operation": JOB_OPERATIONS.get(event.detail, 0), **data}
        yield EventId.JOB_COMPLETED, (params(told, JOB_FIELDS),)
    elif kind is EventKind.METADATA_CHANGED:
        words = _METADATA.get(event.detail, _ELEMENT)
        yield EventId.METADATA_CHANGE, (words, event.detail if words == _ELEMENT else None)
    elif kind is EventKind.GUEST:
        yield from _guest(event.detail, data)


def _guest(detail: str, data: Any) -> Iterator[_Told]:
    if detail == "rtc-change":
        yield EventId.RTC_CHANGE, (int(data.get("offset", 0)),)
    elif detail == "balloon-change":
        yield EventId.BALLOON_CHANGE, (int(data.get("actual", 0)) // 1024,)
    elif detail == "device-removal-failed":
        yield EventId.DEVICE_REMOVAL_FAILED, (str(data.get("device", "")),)
    elif detail == "memory-device-size-change":
        size = -(-int(data.get("size", 0)) // 1024)
        yield EventId.MEMORY_DEVICE_SIZE_CHANGE, (str(data.get("id", "")), size)
    elif detail == "block-threshold":
        place = str(data.get("disk", "")), str(data.get("path") or "") or None
        numbers = int(data.get("threshold", 0)), int(data.get("excess", 0))
        yield EventId.BLOCK_THRESHOLD, (*place, *numbers)
    elif detail == "watchdog":
        action = data.get("action")
        yield EventId.WATCHDOG, (_WATCHDOG.index(action) if action in _WATCHDOG else 0,)
    elif detail == "io-error":
        action = data.get("action")
        place = str(data.get("path", "")), str(data.get("alias") or data.get("device") or "")
        done = (*place, _IO_ERROR.index(action) if action in _IO_ERROR else 0)
        yield EventId.IO_ERROR, done
        yield EventId.IO_ERROR_REASON, (*done, "enospc" if data.get("nospace") else "")
    elif detail.startswith("block-job-") and data.get("job") in BLOCK_JOBS:
        status = detail.removeprefix("block-job-")
        if data.get("error") and status == "completed":
            status = "failed"
        if status in _BLOCK_JOB:
            what = (BLOCK_JOBS.index(data["job"]) + 1, _BLOCK_JOB[status])
            yield EventId.BLOCK_JOB, (str(data.get("path") or data["disk"]), *what)
            yield EventId.BLOCK_JOB_2, (str(data["disk"]), *what)


@attrs.frozen
class _Wish:
    """What a client wants to be told of.

    Attributes:
        event: kind of event.
        uuid: of which domain; ``None``: of all.
        number: its number, or ``None`` if it asked in an older way.
    """

    event: int
    uuid: UUID | None
    number: int | None


def numbers_of(session: Session) -> Iterator[int]:
    """Return the numbers that a client's wishes have: no two of it have the same."""
    found: Iterator[int] = session.kept.setdefault("numbers", count())
    return found


class _Wishes:
    """All that a client wants to be told of."""

    def __init__(self, session: Session) -> None:
        self._client = session.client
        self._wishes: dict[int | str, _Wish] = {}
        self._numbers = numbers_of(session)

    def add(self, event: int, uuid: UUID | None) -> int:
        """Note a wish and return its number."""
        number = next(self._numbers)
        self._wishes[number] = _Wish(event, uuid, number)
        return number

    def add_legacy(self, event: int, key: str) -> None:
        """Note a wish that has no number.

        Raises:
            Failure: there is the same already.
        """
        if key in self._wishes:
            raise Failure(_INVALID_ARG, f"domain event {event} already registered")
        self._wishes[key] = _Wish(event, None, None)

    def remove(self, key: int | str) -> None:
        """Forget a wish.

        Raises:
            Failure: there is none such.
        """
        if self._wishes.pop(key, None) is None:
            raise Failure(_INVALID_ARG, f"domain event callback {key} is not registered")

    def tell(self, event: AnyEvent) -> None:
        """Tell the client of an event, once for each wish that it fulfils."""
        if not isinstance(event, Event):
            return
        # A domain in an event has the number that it has then; we no longer know it.
        dom = (event.domain.name, event.domain.uuid.bytes, -1)
        for kind, rest in contents(event):
            for wish in list(self._wishes.values()):
                if wish.event == kind and wish.uuid in (None, event.domain.uuid):
                    self._client.send(_message(kind, wish.number, (dom, *rest)), event=True)


def _message(kind: EventId, number: int | None, fields: tuple[Any, ...]) -> bytes:
    if number is None:
        procedure = _remote[_LEGACY[kind]]
        payload = procedure.arguments.codec.encode(fields)
    else:
        procedure = _remote[_NUMBERED[kind]]
        values: tuple[Any, ...] = (number, fields)
        if kind in _FLAT:
            values = (number, *fields)
        elif kind in _REASONED:
            values = (number, 0, fields)
        payload = procedure.arguments.codec.encode(values)
    return frame(
        _remote.number, _remote.version, procedure.number, Kind.MESSAGE, 0, Status.OK, payload
    )


def _wishes(session: Session, procedure: str) -> _Wishes:
    if session.driver.events is None:
        raise unsupported(procedure)
    found: _Wishes | None = session.kept.get("wishes")
    if found is None:
        found = session.kept["wishes"] = _Wishes(session)
        session.shared.listen(session, found.tell)
    return found


def _known(event: int) -> None:
    if not 0 <= event < EVENT_ID_END:
        raise Failure(1, f"unsupported event ID {event}")


@serves("connect_domain_event_register")
def register(session: Session, arguments: Any) -> tuple[int]:
    """Tell of changes of state, in the oldest way."""
    _wishes(session, "connect_domain_event_register").add_legacy(EventId.LIFECYCLE, "lifecycle")
    return (1,)


@serves("connect_domain_event_deregister")
def deregister(session: Session, arguments: Any) -> tuple[int]:
    """Tell of no more changes of state."""
    _wishes(session, "connect_domain_event_deregister").remove("lifecycle")
    return (0,)


@serves("connect_domain_event_register_any")
def register_any(session: Session, arguments: Any) -> None:
    """Tell of events of a kind."""
    event = arguments.eventID
    _known(event)
    if event in _FLAT:
        raise Failure(1, f"event ID {event} needs a callback's number")
    wishes = _wishes(session, "connect_domain_event_register_any")
    wishes.add_legacy(event, f"any {event}")


@serves("connect_domain_event_deregister_any")
def deregister_any(session: Session, arguments: Any) -> None:
    """Tell of no more events of a kind."""
    event = arguments.eventID
    _known(event)
    _wishes(session, "connect_domain_event_deregister_any").remove(f"any {event}")


@serves("connect_domain_event_callback_register_any")
def callback_register_any(session: Session, arguments: Any) -> tuple[int]:
    """Tell of events of a kind, of one domain or of all."""
    _known(arguments.eventID)
    uuid = None if arguments.dom is None else session.uuid(arguments.dom)
    wishes = _wishes(session, "connect_domain_event_callback_register_any")
    return (wishes.add(arguments.eventID, uuid),)


@serves("connect_domain_event_callback_deregister_any")
def callback_deregister_any(session: Session, arguments: Any) -> None:
    """Tell of them no more."""
    wishes = _wishes(session, "connect_domain_event_callback_deregister_any")
    wishes.remove(arguments.callbackID)
