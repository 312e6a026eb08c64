"""What a server tells of by itself, as a stream of our events.

A server is asked once for each kind of event, of all domains. If the connection breaks it is
asked again by the next one; what happened in between is lost, as nobody keeps it.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.driver import Events
from polyvisor.errors import ConnectionClosed, PolyvisorError
from polyvisor.events import (
    DomainRef,
    Event,
    EventKind,
    MonitorEvent,
    ObjectEvent,
    ObjectEventKind,
)
from polyvisor_remote.client.numbers import lifecycle
from polyvisor_remote.server.numbers import JOB_WORDS
from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from polyvisor.events import AnyEvent
    from polyvisor_remote.client.channel import Channel
    from polyvisor_remote.client.driver import RemoteDriver
    from polyvisor_remote.wire import Message

__all__ = ["RemoteEvents"]

_K, _O = EventKind, ObjectEventKind
_remote, _qemu = program("remote"), program("qemu")
#: ``virDomainEventID`` of what we can make an event of, with what carries it.
_WANTED = {
    0: "domain_event_callback_lifecycle",
    1: "domain_event_callback_reboot",
    2: "domain_event_callback_rtc_change",
    3: "domain_event_callback_watchdog",
    4: "domain_event_callback_io_error",
    8: "domain_event_callback_block_job",
    10: "domain_event_callback_tray_change",
    13: "domain_event_callback_balloon_change",
    15: "domain_event_callback_device_removed",
    18: "domain_event_callback_agent_lifecycle",
    19: "domain_event_callback_device_added",
    20: "domain_event_callback_migration_iteration",
    21: "domain_event_callback_job_completed",
    22: "domain_event_callback_device_removal_failed",
    23: "domain_event_callback_metadata_change",
    24: "domain_event_block_threshold",
    26: "domain_event_memory_device_size_change",
}
#: ``virDomainEventWatchdogAction``, ``virDomainEventIOErrorAction``.
_WATCHDOG = ("none", "pause", "reset", "poweroff", "shutdown", "debug", "inject-nmi")
_IO_ERROR = ("none", "pause", "report")
_METADATA = {0: "description", 1: "title"}
#: How the events of a family are asked for, and what its changes of state are
#: (``virNetworkEventLifecycleType`` and its like).
_FAMILIES: dict[str, tuple[str, str, tuple[ObjectEventKind, ...], str, ObjectEventKind | None]] = {
    "network": (
        "connect_network_event_register_any",
        "network_event_lifecycle",
        (_O.DEFINED, _O.UNDEFINED, _O.STARTED, _O.STOPPED),
        "",
        None,
    ),
    "pool": (
        "connect_storage_pool_event_register_any",
        "storage_pool_event_lifecycle",
        (_O.DEFINED, _O.UNDEFINED, _O.STARTED, _O.STOPPED, _O.CREATED, _O.DELETED),
        "storage_pool_event_refresh",
        _O.REFRESHED,
    ),
    "nodedev": (
        "connect_node_device_event_register_any",
        "node_device_event_lifecycle",
        (_O.CREATED, _O.DELETED, _O.DEFINED, _O.UNDEFINED),
        "node_device_event_update",
        _O.UPDATED,
    ),
    "secret": (
        "connect_secret_event_register_any",
        "secret_event_lifecycle",
        (_O.DEFINED, _O.UNDEFINED),
        "secret_event_value_changed",
        _O.VALUE_CHANGED,
    ),
}
_OBJECT_MESSAGES = {
    message: (family, kinds, other)
    for family, (_, first, kinds, second, other) in _FAMILIES.items()
    for message in (first, second)
    if message
}


class RemoteEvents(Events):
    """The events of a server.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._link = driver.link
        self._uri = driver.uri
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
        self._sequence = 0
        self._objects = False
        self._listening = False
        #: The connection that was asked last, and whether it was asked for objects' events and
        #: for monitors' too.
        self._asked: tuple[Channel | None, bool, bool] = (None, False, False)
        self._monitors = False

    def stream(self, *, timeout: float | None = None, objects: bool = False) -> Iterator[AnyEvent]:
        """Listen from now on."""
        made = _Stream(objects, timeout)
        self._add(made)
        return made

    def monitored(self, *, timeout: float | None = None) -> Iterator[Any]:
        """Listen to what monitors tell from now on.

        Raises:
            Unsupported: the server does not pass it on.
        """
        made = _Stream(False, timeout, monitor=True)
        self._add(made)
        return made

    def _add(self, stream: _Stream) -> None:
        with self._asking:
            more = stream.objects and not self._objects
            more = more or (stream.monitor and not self._monitors)
            self._objects = self._objects or stream.objects
            self._monitors = self._monitors or stream.monitor
            with self._lock:
                self._streams.add(stream)
            if more or not self._listening:
                self._link.listen(self._subscribe, self._heard, self._lost)
                self._listening = True

    @contextmanager
    def listening(self, uuid: UUID) -> Iterator[Callable[[float | None], bool]]:
        """Give a function that waits so many seconds for something to happen to a domain."""
        stream = _Stream(False, None, uuid)
        self._add(stream)
        try:
            yield stream.something
        finally:
            with self._lock:
                self._streams.discard(stream)

    def _subscribe(self, channel: Channel) -> None:
        again = self._asked[0] is channel
        calls: list[tuple[Any, tuple[Any, ...]]] = []
        if not again:
            calls += [
                (_remote["connect_domain_event_callback_register_any"], (event, None))
                for event in _WANTED
            ]
        # Who asks twice is told twice.
        if self._objects and not (again and self._asked[1]):
            for procedure, _, _, second, _ in _FAMILIES.values():
                calls += [
                    (_remote[procedure], (event, None)) for event in range(2 if second else 1)
                ]
        monitors = self._monitors and not (again and self._asked[2])
        if monitors:
            calls.append((_qemu["connect_domain_monitor_event_register"], (None, None, 0)))
        # What a server does not know it refuses, and there is no more to be done about it.
        answers = channel.call_all(calls)
        if not again and isinstance(answers[0], PolyvisorError):
            raise answers[0]
        if monitors and isinstance(answers[-1], PolyvisorError):
            self._monitors = False
            self._asked = channel, self._objects, False
            raise answers[-1]
        self._asked = channel, self._objects, self._monitors

    def _heard(self, message: Message) -> None:
        if message.program == _qemu.number and message.procedure in _qemu:
            self._told(message)
            return
        if message.program != _remote.number or message.procedure not in _remote:
            return
        procedure = _remote[message.procedure]
        fields = procedure.arguments.codec.decode(message.payload)
        with self._lock:
            made = self._made(procedure.name, fields)
            if made is None:
                return
            self._sequence += 1
            streams = list(self._streams)
        for stream in streams:
            stream.put(made)

    def _told(self, message: Message) -> None:
        """Hand on what a monitor told."""
        fields = _qemu[message.procedure].arguments.codec.decode(message.payload)
        domain = DomainRef(UUID(bytes=fields.dom.uuid), fields.dom.name)
        moment = fields.seconds + fields.micros / 1e6
        event = MonitorEvent(domain, fields.event, moment, fields.details)
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.put(event)

    def _made(self, name: str, fields: Any) -> AnyEvent | None:
        """Return our event of a message, or ``None`` if we have none for it."""
        now, number = datetime.now(UTC), self._sequence + 1
        if name in _OBJECT_MESSAGES:
            family, kinds, other = _OBJECT_MESSAGES[name]
            if name.endswith("_lifecycle"):
                if not 0 <= fields.event < len(kinds):
                    return None
                kind = kinds[fields.event]
            else:
                assert other is not None
                kind = other
            key, called = _object(fields[1])
            return ObjectEvent(number, family, key, called, kind, now)
        inner = getattr(fields, "msg", fields)
        dom = getattr(inner, "dom", None)
        told = _content(name.removeprefix("domain_event_").removeprefix("callback_"), inner)
        if dom is None or told is None:
            return None
        what, detail, data = told
        domain = DomainRef(UUID(bytes=dom.uuid), dom.name)
        return Event(number, domain, what, detail, now, data)

    def _lost(self, error: PolyvisorError) -> None:
        with self._lock:
            streams = list(self._streams)
            self._listening = False
        for stream in streams:
            stream.put(error)


def _content(name: str, told: Any) -> tuple[EventKind, str, dict[str, Any]] | None:
    """Return kind, detail and data of a domain's event."""
    if name == "lifecycle":
        found = lifecycle(told.event, told.detail)
        return None if found is None else (*found, {})
    if name == "reboot":
        return _K.REBOOT, "", {}
    if name == "device_added":
        return _K.DEVICE_ADDED, told.devAlias, {"alias": told.devAlias}
    if name == "device_removed":
        return _K.DEVICE_REMOVED, told.devAlias, {"alias": told.devAlias}
    if name == "migration_iteration":
        return _K.MIGRATION_ITERATION, "", {"iteration": told.iteration}
    if name == "job_completed":
        facts = {field: value for field, _, value in told.params}
        operation = JOB_WORDS.get(facts.pop("operation", 0), "job")
        return _K.JOB_COMPLETED, operation, facts
    if name == "metadata_change":
        return _K.METADATA_CHANGED, _METADATA.get(told.type, told.nsuri or ""), {}
    data = _guest(name, told)
    return None if data is None else (_K.GUEST, name.replace("_", "-"), data)


def _guest(name: str, told: Any) -> dict[str, Any] | None:
    """Return what else a hypervisor reports, or ``None`` if we know nothing of it."""
    if name == "rtc_change":
        return {"offset": told.offset}
    if name == "device_removal_failed":
        return {"device": told.devAlias}
    if name == "memory_device_size_change":
        return {"id": told.alias, "size": told.size * 1024}
    if name == "block_threshold":
        numbers = {"threshold": told.threshold, "excess": told.excess}
        return {"disk": told.dev, "path": told.path, **numbers}
    if name == "watchdog":
        return {"action": _word(_WATCHDOG, told.action)}
    if name == "io_error":
        action = _word(_IO_ERROR, told.action)
        return {"path": told.srcPath, "alias": told.devAlias, "action": action}
    if name == "balloon_change":
        return {"actual": told.actual * 1024}
    if name == "block_job":
        return {"path": told.path, "type": told.type, "status": told.status}
    if name == "tray_change":
        return {"alias": told.devAlias, "reason": told.reason}
    if name == "agent_lifecycle":
        return {"state": told.state, "reason": told.reason}
    return None


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else "unknown"


def _object(named: Any) -> tuple[str, str]:
    """Return the key and the name of an object in an event."""
    if hasattr(named, "usageID"):
        return str(UUID(bytes=named.uuid)), named.usageID
    if hasattr(named, "uuid"):
        return str(UUID(bytes=named.uuid)), named.name
    return named.name, named.name


class _Stream(Iterator["AnyEvent"]):
    """One listener's events."""

    def __init__(
        self,
        objects: bool,
        timeout: float | None,
        uuid: UUID | None = None,
        *,
        monitor: bool = False,
    ) -> None:
        self.objects = objects
        self.monitor = monitor
        self._timeout = timeout
        self._uuid = uuid
        self._queue: queue.SimpleQueue[AnyEvent | PolyvisorError] = queue.SimpleQueue()
        self._end: PolyvisorError | None = None

    def put(self, what: Any) -> None:
        """Take in an event, or why there are no more."""
        if not isinstance(what, PolyvisorError) and self.monitor != isinstance(what, MonitorEvent):
            return
        if isinstance(what, ObjectEvent) and not self.objects:
            return
        if self._uuid is not None and isinstance(what, Event) and what.domain.uuid != self._uuid:
            return
        self._queue.put(what)

    def __next__(self) -> AnyEvent:
        found = self._next(self._timeout)
        if found is None:
            raise StopIteration
        return found

    def _next(self, timeout: float | None) -> AnyEvent | None:
        if self._end is not None:
            raise ConnectionClosed(self._end.message)
        try:
            found = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, PolyvisorError):
            self._end = found
            raise ConnectionClosed(f"there are no more events: {found.message}") from found
        return found

    def something(self, timeout: float | None) -> bool:
        """Wait for an event, at most so many seconds; say whether there was one."""
        return self._next(timeout) is not None
