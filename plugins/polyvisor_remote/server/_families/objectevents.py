"""Telling clients of what happens to networks, storage pools, devices and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.errors import PolyvisorError
from polyvisor.events import ObjectEvent, ObjectEventKind
from polyvisor_remote.server._families.events import numbers_of
from polyvisor_remote.server._families.secrets import secret_reference
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.wire import Kind, Status, frame, program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.events import AnyEvent
    from polyvisor_remote.server.session import Session

_INVALID_ARG = 8
_K = ObjectEventKind
_remote = program("remote")


@attrs.frozen
class _Family:
    """How events of one family are told.

    Attributes:
        lifecycle: the message of a change of state.
        kinds: its numbers (``virNetworkEventLifecycleType`` and its like).
        other: the message of another kind of event, if there is one; its number is 1.
        other_kind: that kind.
    """

    lifecycle: str
    kinds: Mapping[ObjectEventKind, int]
    other: str | None = None
    other_kind: ObjectEventKind | None = None


_FAMILIES = {
    "network": _Family(
        "network_event_lifecycle", {_K.DEFINED: 0, _K.UNDEFINED: 1, _K.STARTED: 2, _K.STOPPED: 3}
    ),
    "pool": _Family(
        "storage_pool_event_lifecycle",
        {
            _K.DEFINED: 0,
            _K.UNDEFINED: 1,
            _K.STARTED: 2,
            _K.STOPPED: 3,
            _K.CREATED: 4,
            _K.DELETED: 5,
        },
        "storage_pool_event_refresh",
        _K.REFRESHED,
    ),
    "nodedev": _Family(
        "node_device_event_lifecycle",
        {_K.CREATED: 0, _K.DELETED: 1, _K.DEFINED: 2, _K.UNDEFINED: 3},
        "node_device_event_update",
        _K.UPDATED,
    ),
    "secret": _Family(
        "secret_event_lifecycle",
        {_K.DEFINED: 0, _K.UNDEFINED: 1},
        "secret_event_value_changed",
        _K.VALUE_CHANGED,
    ),
}


class _Wishes:
    """What a client wants to be told of: family, number of the event, object."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wishes: dict[int, tuple[str, int, str | None]] = {}

    def add(self, family: str, event: int, key: str | None) -> int:
        """Note a wish and return its number."""
        number = next(numbers_of(self._session))
        self._wishes[number] = (family, event, key)
        return number

    def remove(self, family: str, number: int) -> None:
        """Forget a wish.

        Raises:
            Failure: there is none such.
        """
        if self._wishes.get(number, ("",))[0] != family:
            raise Failure(_INVALID_ARG, f"{family} event callback {number} is not registered")
        del self._wishes[number]

    def tell(self, event: AnyEvent) -> None:
        """Tell the client of an event, once for each wish that it fulfils."""
        if not isinstance(event, ObjectEvent) or event.family not in _FAMILIES:
            return
        family = _FAMILIES[event.family]
        if event.kind in family.kinds:
            told, message = 0, family.lifecycle
            rest: tuple[int, ...] = (family.kinds[event.kind], 0)
        elif event.kind == family.other_kind and family.other is not None:
            told, message, rest = 1, family.other, ()
        else:
            return
        for number, wish in list(self._wishes.items()):
            if wish[:2] == (event.family, told) and wish[2] in (None, event.key):
                self._send(message, (number, self._reference(event), *rest))

    def _reference(self, event: ObjectEvent) -> tuple[Any, ...]:
        """Return the object as clients know it."""
        if event.family == "nodedev":
            return (event.name,)
        if event.family == "secret":
            part = self._session.driver.secrets
            try:
                assert part is not None
                return secret_reference(part, event.key)
            except PolyvisorError:  # It is gone.
                return UUID(event.key).bytes, 0, event.name
        return event.name, UUID(event.key).bytes

    def _send(self, name: str, fields: tuple[Any, ...]) -> None:
        procedure = _remote[name]
        payload = procedure.arguments.codec.encode(fields)
        numbers = (_remote.number, _remote.version, procedure.number)
        data = frame(*numbers, Kind.MESSAGE, 0, Status.OK, payload)
        self._session.client.send(data, event=True)


def _wishes(session: Session, procedure: str) -> _Wishes:
    if session.driver.events is None:
        raise unsupported(procedure)
    found: _Wishes | None = session.kept.get("object wishes")
    if found is None:
        found = session.kept["object wishes"] = _Wishes(session)
        session.shared.listen((session, "objects"), found.tell)
    return found


def _key(named: Any) -> str | None:
    """Return the key of the object that a client named, if it named one."""
    if named is None:
        return None
    return str(UUID(bytes=named.uuid)) if hasattr(named, "uuid") else str(named.name)


def _serve(family: str, stem: str) -> None:
    """Serve asking for, and no longer asking for, the events of a family."""
    known = 2 if _FAMILIES[family].other else 1

    @serves(f"connect_{stem}_event_register_any")
    def register(session: Session, arguments: Any) -> tuple[int]:
        event, named = arguments
        if not 0 <= event < known:
            raise Failure(1, f"unsupported {family} event ID {event}")
        wishes = _wishes(session, f"connect_{stem}_event_register_any")
        return (wishes.add(family, event, _key(named)),)

    @serves(f"connect_{stem}_event_deregister_any")
    def deregister(session: Session, arguments: Any) -> None:
        wishes = _wishes(session, f"connect_{stem}_event_deregister_any")
        wishes.remove(family, arguments.callbackID)


_serve("network", "network")
_serve("pool", "storage_pool")
_serve("nodedev", "node_device")
_serve("secret", "secret")
