"""Events, and the loop in which functions are called."""

from __future__ import annotations

import queue
import time
from typing import Any

from polyvisor.errors import PolyvisorError
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import program

__all__ = [
    "Heard",
    "virEventAddTimeout",
    "virEventRegisterDefaultImpl",
    "virEventRemoveTimeout",
    "virEventRunDefaultImpl",
    "virEventUpdateTimeout",
]

_remote = program("remote")
#: What carries each kind of event (``virDomainEventID``).
_MESSAGES = {
    "domain_event_callback_lifecycle": 0,
    "domain_event_callback_reboot": 1,
    "domain_event_callback_rtc_change": 2,
    "domain_event_callback_watchdog": 3,
    "domain_event_callback_io_error": 4,
    "domain_event_callback_io_error_reason": 6,
    "domain_event_callback_block_job": 8,
    "domain_event_callback_balloon_change": 13,
    "domain_event_callback_device_removed": 15,
    "domain_event_callback_agent_lifecycle": 18,
    "domain_event_callback_device_added": 19,
    "domain_event_callback_migration_iteration": 20,
    "domain_event_callback_job_completed": 21,
    "domain_event_callback_metadata_change": 23,
}
_CLOSE_REASON_ERROR = 0
#: Beyond the last kind of event.
_EVENT_ID_END = 28
#: Seconds after which the loop's function returns though nothing happened.
_TURN = 60.0

#: What is to be called, in order.
_due: queue.SimpleQueue[Any] = queue.SimpleQueue()
#: Timers: number, milliseconds between two calls (-1: none), when the next is due, what to call.
_timers: dict[int, list[Any]] = {}


def virEventRegisterDefaultImpl() -> int:
    """Use this loop; there is no other."""
    return 0


def virEventRunDefaultImpl() -> int:
    """Wait for something to happen and call what is to be called."""
    now = time.monotonic()
    due = [entry for entry in _timers.values() if entry[0] >= 0]
    wait = min((entry[1] - now for entry in due), default=_TURN)
    try:
        call = _due.get(timeout=max(0.0, wait)) if wait > 0 else _due.get_nowait()
    except queue.Empty:
        call = None
    if call is not None:
        call()
    now = time.monotonic()
    for number, entry in list(_timers.items()):
        if entry[0] >= 0 and entry[1] <= now:
            entry[1] = now + entry[0] / 1000
            entry[2](number, entry[3])
    return 0


def virEventAddTimeout(timeout: int, cb: Any, opaque: Any) -> int:
    """Have a function called every so many milliseconds; -1: not until it is updated."""
    number = max(_timers, default=0) + 1
    _timers[number] = [timeout, time.monotonic() + timeout / 1000, cb, opaque]
    _due.put(lambda: None)
    return number


def virEventUpdateTimeout(timer: int, timeout: int) -> None:
    """Give a timer another period."""
    _timers[timer][:2] = [timeout, time.monotonic() + timeout / 1000]
    _due.put(lambda: None)


def virEventRemoveTimeout(timer: int) -> int:
    """Forget a timer."""
    return 0 if _timers.pop(timer, None) is not None else -1


class Heard:
    """What a connection's users want to be told of.

    Args:
        conn: the connection.
    """

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._wishes: dict[int, tuple[Any, int, Any, Any]] = {}
        self._next = 0
        self._listening = False
        self.closing: tuple[Any, Any] | None = None

    def add(self, dom: Any, event: int, cb: Any, opaque: Any) -> int:
        """Note a wish and return its number."""
        if not 0 <= event < _EVENT_ID_END:
            raise Failure(1, f"unsupported event ID {event}")
        number = self._next
        self._next += 1
        self._wishes[number] = (None if dom is None else dom.UUID(), event, cb, opaque)
        try:
            self._listen()
        except PolyvisorError:
            del self._wishes[number]
            raise
        return number

    def remove(self, number: int) -> None:
        """Forget a wish."""
        self._wishes.pop(number, None)

    def on_close(self, cb: Any, opaque: Any) -> None:
        """Note whom to tell when the connection breaks."""
        self.closing = (cb, opaque)
        self._listen()

    def _listen(self) -> None:
        if not self._listening:
            self._conn._link.listen(self._subscribe, self._hear, self._lose)
            self._listening = True

    @staticmethod
    def _subscribe(channel: Any) -> None:
        """Ask for all kinds; which of them are wanted is looked at here."""
        register = _remote["connect_domain_event_callback_register_any"]
        answers = channel.call_all([(register, (event, None)) for event in _MESSAGES.values()])
        if isinstance(answers[0], PolyvisorError):
            raise answers[0]

    def _hear(self, message: Any) -> None:
        procedure = _remote[message.procedure]
        event = _MESSAGES.get(procedure.name)
        if event is None:
            return
        fields = procedure.arguments.codec.decode(message.payload)
        inner = getattr(fields, "msg", fields)
        _, *content = (value for name, value in inner._asdict().items() if name != "callbackID")
        for wanted, kind, cb, opaque in list(self._wishes.values()):
            if kind == event and wanted in (None, inner.dom.uuid):
                _due.put(self._call(cb, inner.dom, content, opaque))

    def _call(self, cb: Any, dom: Any, content: list[Any], opaque: Any) -> Any:
        def call() -> None:
            values = [
                {one.field: one.value for one in value} if isinstance(value, list) else value
                for value in content
            ]
            cb(self._conn, self._conn._made("domain", dom), *values, opaque)

        return call

    def _lose(self, error: PolyvisorError) -> None:
        if self.closing is not None and self._conn._alive:
            cb, opaque = self.closing
            self._conn._alive = False
            _due.put(lambda: cb(self._conn, _CLOSE_REASON_ERROR, opaque))
