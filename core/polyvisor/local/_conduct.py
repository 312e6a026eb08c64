"""What a domain is called, and what becomes of it when its guest ends of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import attrs

from polyvisor.errors import AlreadyExists, InvalidArgument, Unsupported
from polyvisor.events import EventKind
from polyvisor.local._fields import changed
from polyvisor.local._hypervisor import ChangesGuests
from polyvisor.state import Document

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec

__all__ = ["rename", "set_lifecycle_action"]

_EVENTS = ("poweroff", "reboot", "crash")


def rename(keeper: Keeper, uuid: UUID, name: str) -> None:
    """See :meth:`polyvisor.driver.Domains.rename`.

    Files that a guest keeps are known by its UUID, so that none need be moved.
    """
    if not name or "/" in name or "\n" in name:
        raise InvalidArgument(f"rename: {name!r} is no name for a domain; leave out '/'")
    with keeper.hold(uuid, "rename") as hold:
        record = hold.known
        if record.active:
            raise hold.invalid("it is active; shut it down first")
        definition = record.definition
        assert definition is not None
        if record.managed_save is not None:
            raise hold.invalid("it has a managed save image; start it, or remove that, first")
        if record.name == name:
            raise hold.invalid("that is its name already")
        other = keeper.home.store.by_name(name)
        if other is not None:
            raise AlreadyExists(
                f"rename {record.name!r}: the name {name!r} belongs to the domain with UUID "
                f"{other.uuid}",
                domain=record.name,
                operation="rename",
            )
        new = Document(attrs.evolve(definition.spec(), name=name))
        hold.put(
            attrs.evolve(record, name=name, definition=new),
            [(EventKind.UNDEFINED, "renamed"), (EventKind.DEFINED, "renamed")],
            durable=True,
            before=record.name,
        )


def set_lifecycle_action(
    keeper: Keeper, uuid: UUID, event: str, action: str, *, live: bool, config: bool
) -> None:
    """See :meth:`polyvisor.driver.Domains.set_lifecycle_action`."""
    from polyvisor.model.domain import LifecycleAction

    known = get_args(LifecycleAction)
    if event not in _EVENTS or action not in known:
        raise InvalidArgument(
            f"set lifecycle action: {event!r} {action!r}: say what happens at one of "
            f"{', '.join(_EVENTS)}: one of {', '.join(known)}"
        )
    value: dict[str, Any] = {f"on_{event}": action}

    def with_action(spec: DomainSpec) -> DomainSpec:
        return attrs.evolve(spec, **value)

    with keeper.hold(uuid, "set lifecycle action") as hold:
        changes = changed(hold, with_action, live=live, config=config)
        hypervisor = keeper.hypervisor
        for document in changes.values():
            hypervisor.check_lifecycle(document.spec())
        if live:
            if not isinstance(hypervisor, ChangesGuests):
                raise Unsupported(
                    f"set lifecycle action of {hold.known.name!r}: {hypervisor.name} does not "
                    f"change it while a guest runs; change the definition (config) alone",
                    feature="domains.lifecycle",
                    domain=hold.known.name,
                )
            hypervisor.set_lifecycle_action(hold.guest, event, changes["live"].spec())
        hold.change(durable=config, **changes)
