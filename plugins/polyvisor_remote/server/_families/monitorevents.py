"""Telling clients all that QEMU's monitors tell."""

from __future__ import annotations

import re
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import ConnectionClosed
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import Kind, Status, frame, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from polyvisor.driver import Debug
    from polyvisor.events import MonitorEvent
    from polyvisor_remote.server.session import Session

# virConnectDomainQemuMonitorEventRegisterFlags
_REGEX, _NO_CASE = 1, 2
_INVALID_ARG = 8
_qemu = program("qemu")


@attrs.frozen
class _Wish:
    """What a client wants to be told of: a domain, or all; and which events."""

    uuid: UUID | None
    wants: Callable[[str], object]


class _Wishes:
    """All that a client wants to be told of, and who tells it as long as there is anything."""

    def __init__(self, session: Session, part: Debug) -> None:
        self._client = session.client
        self._part = part
        self._numbers = count()
        self._lock = threading.Lock()
        self._wishes: dict[int, _Wish] = {}
        self._stream: Any = None
        session.at_end(self._end)

    def add(self, wish: _Wish) -> int:
        """Note a wish and return its number."""
        with self._lock:
            if self._stream is None:
                self._stream = self._part.events()
                threading.Thread(
                    target=self._tell, args=(self._stream,), name="polyvisord-monitors", daemon=True
                ).start()
            number = next(self._numbers)
            self._wishes[number] = wish
        return number

    def remove(self, number: int) -> None:
        """Forget a wish.

        Raises:
            Failure: there is none such.
        """
        with self._lock:
            if self._wishes.pop(number, None) is None:
                raise Failure(
                    _INVALID_ARG, f"qemu monitor event callback {number} is not registered"
                )
            stream = self._stream if not self._wishes else None
            if stream is not None:
                self._stream = None
        if stream is not None:
            stream.end()

    def _end(self) -> None:
        with self._lock:
            stream, self._stream = self._stream, None
            self._wishes.clear()
        if stream is not None:
            stream.end()

    def _tell(self, stream: Any) -> None:
        try:
            for event in stream:
                with self._lock:
                    wishes = list(self._wishes.items())
                for number, wish in wishes:
                    if wish.uuid in (None, event.domain.uuid) and wish.wants(event.name):
                        self._client.send(_message(number, event), event=True)
        except ConnectionClosed:
            pass


def _message(number: int, event: MonitorEvent) -> bytes:
    procedure = _qemu["domain_monitor_event"]
    seconds, rest = divmod(event.time, 1)
    # A domain in an event has the number that it has then; we no longer know it.
    dom = (event.domain.name, event.domain.uuid.bytes, -1)
    moment = int(seconds), round(rest * 1_000_000)
    payload = procedure.arguments.codec.encode((number, dom, event.name, *moment, event.details))
    return frame(_qemu.number, _qemu.version, procedure.number, Kind.MESSAGE, 0, Status.OK, payload)


def _wanting(event: str | None, flags: int) -> Callable[[str], object]:
    """Return what says whether an event of a name is wanted.

    Raises:
        Failure: the pattern is none.
    """
    if event is None:
        return lambda name: True
    if flags & _REGEX:
        try:
            return re.compile(event, re.IGNORECASE if flags & _NO_CASE else 0).search
        except re.error as error:
            raise Failure(_INVALID_ARG, f"failed to compile regex '{event}': {error}") from error
    if flags & _NO_CASE:
        return lambda name: name.lower() == event.lower()
    return event.__eq__


@serves("connect_domain_monitor_event_register", slow=True, of="qemu")
def register(session: Session, arguments: Any) -> tuple[int]:
    """Tell of events of monitors: those of a name or a pattern, or all."""
    check_flags(arguments.flags, _REGEX | _NO_CASE, "virConnectDomainQemuMonitorEventRegister")
    part = need(session.driver.debug, "connect_domain_monitor_event_register", "qemu")
    uuid = None if arguments.dom is None else session.uuid(arguments.dom)
    wish = _Wish(uuid, _wanting(arguments.event, arguments.flags))
    found: _Wishes | None = session.kept.get("monitors")
    if found is None:
        found = session.kept["monitors"] = _Wishes(session, part)
    return (found.add(wish),)


@serves("connect_domain_monitor_event_deregister", slow=True, of="qemu")
def deregister(session: Session, arguments: Any) -> None:
    """Tell of them no more."""
    found: _Wishes | None = session.kept.get("monitors")
    number = arguments.callbackID
    if found is None:
        raise Failure(_INVALID_ARG, f"qemu monitor event callback {number} is not registered")
    found.remove(number)
