"""What happens to domains and other objects: who wants to be told of it, and of what."""

from __future__ import annotations

from typing import Any

from libvirt import _loop
from polyvisor.errors import PolyvisorError
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import program

__all__ = ["Heard"]

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
#: By the structure that names an object: what asks for its events, and what carries each kind
#: (``virNetworkEventID`` and its like).
_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "network": ("connect_network_event_register_any", ("network_event_lifecycle",)),
    "storage_pool": (
        "connect_storage_pool_event_register_any",
        ("storage_pool_event_lifecycle", "storage_pool_event_refresh"),
    ),
    "node_device": (
        "connect_node_device_event_register_any",
        ("node_device_event_lifecycle", "node_device_event_update"),
    ),
    "secret": (
        "connect_secret_event_register_any",
        ("secret_event_lifecycle", "secret_event_value_changed"),
    ),
}
_OBJECT_MESSAGES = {
    message: (structure, event)
    for structure, (_, messages) in _FAMILIES.items()
    for event, message in enumerate(messages)
}


class Heard:
    """What a connection's users want to be told of.

    Args:
        conn: the connection.
    """

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        #: Structure, what identifies one object (``None``: all), kind of event, what to call.
        self._wishes: dict[int, tuple[str, Any, int, Any, Any]] = {}
        self._next = 0
        #: Structures whose events the server was asked for.
        self._asked: set[str] = set()
        #: The connection that was asked last, and for which of them.
        self._told: tuple[Any, set[str]] = (None, set())
        self.closing: tuple[Any, Any] | None = None

    def add(self, structure: str, of: Any, event: int, cb: Any, opaque: Any) -> int:
        """Note a wish and return its number.

        Args:
            structure: what names such an object.
            of: the object, or ``None`` for all.
            event: kind of event.
            cb: what to call.
            opaque: handed on to it.
        """
        messages = _FAMILIES.get(structure)
        if not 0 <= event < (_EVENT_ID_END if messages is None else len(messages[1])):
            raise Failure(1, f"unsupported event ID {event}")
        number = self._next
        self._next += 1
        self._wishes[number] = (
            structure,
            None if of is None else _key(of._named),
            event,
            cb,
            opaque,
        )
        try:
            self._listen(structure)
        except PolyvisorError:
            del self._wishes[number]
            raise
        return number

    def remove(self, number: int) -> None:
        """Forget a wish."""
        if self._wishes.pop(number, None) is None:
            raise Failure(8, f"no event callback has the number {number}")

    def on_close(self, cb: Any, opaque: Any) -> None:
        """Note whom to tell when the connection breaks."""
        self.closing = (cb, opaque)
        self._listen("domain")

    def _listen(self, structure: str) -> None:
        if structure not in self._asked:
            self._asked.add(structure)
            try:
                self._conn._link.listen(self._subscribe, self._hear, self._lose)
            except PolyvisorError:
                self._asked.discard(structure)
                raise

    def _subscribe(self, channel: Any) -> None:
        """Ask for all kinds; which of them are wanted is looked at here."""
        if self._told[0] is not channel:
            self._told = channel, set()
        for structure in sorted(self._asked - self._told[1]):
            if structure == "domain":
                name, events = "connect_domain_event_callback_register_any", [*_MESSAGES.values()]
            else:
                name, messages = _FAMILIES[structure]
                events = list(range(len(messages)))
            answers = channel.call_all([(_remote[name], (event, None)) for event in events])
            if isinstance(answers[0], PolyvisorError):
                raise answers[0]
            self._told[1].add(structure)

    def _hear(self, message: Any) -> None:
        procedure = _remote[message.procedure]
        found = _OBJECT_MESSAGES.get(procedure.name)
        if found is None and procedure.name in _MESSAGES:
            found = "domain", _MESSAGES[procedure.name]
        if found is None:
            return
        fields = procedure.arguments.codec.decode(message.payload)
        inner = getattr(fields, "msg", fields)
        about, *content = (value for name, value in inner._asdict().items() if name != "callbackID")
        for structure, wanted, event, cb, opaque in list(self._wishes.values()):
            if (structure, event) == found and wanted in (None, _key(about)):
                _loop.post(self._call(cb, structure, about, content, opaque))

    def _call(self, cb: Any, structure: str, about: Any, content: list[Any], opaque: Any) -> Any:
        def call() -> None:
            values = [
                {one.field: one.value for one in value} if isinstance(value, list) else value
                for value in content
            ]
            cb(self._conn, self._conn._made(structure, about), *values, opaque)

        return call

    def _lose(self, error: PolyvisorError) -> None:
        if self.closing is not None and self._conn._alive:
            cb, opaque = self.closing
            self._conn._alive = False
            _loop.post(lambda: cb(self._conn, _CLOSE_REASON_ERROR, opaque))


def _key(named: Any) -> Any:
    """Return what identifies an object, as the protocol names it."""
    return named.uuid if hasattr(named, "uuid") else named.name
