"""Attaching, detaching and updating devices: in definitions, and in guests that run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Devices
from polyvisor.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PolyvisorError,
    Unsupported,
)
from polyvisor.events import EventKind
from polyvisor.local._fields import changed, definition_of
from polyvisor.local._hypervisor import ChangesGuests
from polyvisor.local._identity import clash, find, one_of, words
from polyvisor.local._save import need_settled
from polyvisor.model.devices import Device
from polyvisor.state import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec

__all__ = ["LocalDevices", "notice"]


class LocalDevices(Devices):
    """Changes devices; those of a running guest if its hypervisor :class:`ChangesGuests`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def attach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        with self._keeper.hold(uuid, "attach a device") as hold:
            if live:
                notice(hold)
            kind, given = self._read(hold, xml, live)
            device = self._completed(hold, kind, given, live)

            def added(spec: DomainSpec) -> DomainSpec:
                there = _all(spec, kind)
                if clash(kind, there, device):
                    raise AlreadyExists(
                        f"attach a device to {spec.name!r}: it has {words(kind, device)} already",
                        domain=spec.name,
                    )
                return _with(spec, kind, (*there, device))

            changes = self._changes(hold, added, live=live, config=config)
            if not live:
                hold.change(durable=True, **changes)
                return
            after, changer = changes["live"].spec(), self._changer(hold)
            need_settled(hold)
            before = changer.before_plugging(hold.guest)
            hold.change(intent={"op": "own", "plugging": kind, "before": before})
            try:
                got = changer.attach_device(hold.guest, kind, device, after)
            except BaseException:
                with suppress(PolyvisorError):
                    hold.change(intent=None)
                raise
            changes["live"] = Document(_with(after, kind, (*_all(after, kind)[:-1], got)))
            alias = changer.device_alias(hold.guest, kind, got)
            happened = (EventKind.DEVICE_ADDED, words(kind, got), {"device": alias})
            hold.change(happened, durable=config, intent=None, **changes)

    def detach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        with self._keeper.hold(uuid, "detach a device") as hold:
            kind, given = self._read(hold, xml, live)
            self._detach(hold, kind, given, live=live, config=config)

    def detach_alias(self, uuid: UUID, alias: str, *, live: bool, config: bool) -> None:
        with self._keeper.hold(uuid, "detach a device") as hold:
            if live:
                hold.need_active()
                notice(hold)
                changer, guest = self._changer(hold), hold.guest
                found = _named(guest.spec, lambda *one: changer.device_alias(guest, *one), alias)
            else:
                found = _named(definition_of(hold), lambda _, one: one.alias, alias)
            if found is None:
                raise NotFound(
                    f"detach a device of {hold.known.name!r}: it has none called {alias!r}",
                    kind="device",
                    key=alias,
                )
            self._detach(hold, *found, live=live, config=config)

    def _detach(self, hold: Hold, kind: str, given: Any, *, live: bool, config: bool) -> None:
        def removed(spec: DomainSpec) -> DomainSpec:
            there = _all(spec, kind)
            place = _place(hold, spec, kind, given)
            return _with(spec, kind, there[:place] + there[place + 1 :])

        changes = changed(hold, removed, live=live, config=config)
        if not live:
            hold.change(durable=True, **changes)
            return
        guest, changer = hold.guest, self._changer(hold)
        device = _all(guest.spec, kind)[_place(hold, guest.spec, kind, given)]
        alias = changer.device_alias(guest, kind, device)
        changer.detach_device(guest, kind, device, changes["live"].spec())
        happened = (EventKind.DEVICE_REMOVED, words(kind, device), {"device": alias})
        hold.change(happened, durable=config, **changes)

    def update(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        with self._keeper.hold(uuid, "update a device") as hold:
            if live:
                notice(hold)
            kind, given = self._read(hold, xml, live)
            device = self._completed(hold, kind, given, live)

            def updated(spec: DomainSpec, new: Any = device) -> DomainSpec:
                there = _all(spec, kind)
                place = _place(hold, spec, kind, given)
                kept = {
                    name: getattr(there[place], name)
                    for name in ("alias", "address", "mac")
                    if getattr(new, name, True) is None or (name == "mac" and hasattr(new, name))
                }
                new = attrs.evolve(new, **kept)
                return _with(spec, kind, (*there[:place], new, *there[place + 1 :]))

            changes = self._changes(hold, updated, live=live, config=config)
            if live:
                guest, after = hold.guest, changes["live"].spec()
                place = _place(hold, guest.spec, kind, given)
                old, new = _all(guest.spec, kind)[place], _all(after, kind)[place]
                got = self._changer(hold).update_device(guest, kind, old, new, after)
                there = _all(after, kind)
                changes["live"] = Document(
                    _with(after, kind, (*there[:place], got, *there[place + 1 :]))
                )
            hold.change(durable=config, **changes)

    def _changes(self, hold: Hold, change: Any, *, live: bool, config: bool) -> dict[str, Any]:
        """Return the new documents; the kept one is completed as when it is defined."""
        changes = changed(hold, change, live=live, config=config)
        if config:
            kept = self._keeper.hypervisor.complete(changes["definition"].spec())
            changes["definition"] = Document(kept)
        return changes

    def _changer(self, hold: Hold) -> ChangesGuests:
        hypervisor = self._keeper.hypervisor
        if not isinstance(hypervisor, ChangesGuests):
            raise Unsupported(
                f"{hold.operation} of {hold.known.name!r}: {hypervisor.name} does not change "
                f"devices while a guest runs; change the definition (config) alone",
                feature="devices.attach",
                domain=hold.known.name,
            )
        return hypervisor

    def _read(self, hold: Hold, xml: str, live: bool) -> tuple[str, Any]:
        """Return in which list of devices a device belongs, and the device as given."""
        from polyvisor.model import DomainSpec

        if live:
            hold.need_active()
            self._changer(hold)
        read = DomainSpec.from_xml(
            f"<domain type='{_machine(hold, live).type}'><name>x</name><memory>1</memory>"
            f"<devices>{xml}</devices></domain>"
        )
        found = one_of(read)
        kinds = self._changer(hold).changeable if live else None
        name = hold.known.name
        if found is not None and (kinds is None or found[0] in kinds):
            return found
        if kinds is None:
            raise InvalidArgument(f"{hold.operation} of {name!r}: give the XML of one device")
        elements = [f"<{kind.removesuffix('s')}>" for kind in kinds]
        wanted = " or ".join(filter(None, (", ".join(elements[:-1]), elements[-1])))
        raise InvalidArgument(
            f"{hold.operation} of {name!r}: give one {wanted}; others do not change while the "
            f"guest exists"
        )

    def _completed(self, hold: Hold, kind: str, device: Any, live: bool) -> Any:
        """Return a device with what the hypervisor fills in, as in a definition of its own."""
        alone = _with(_machine(hold, live), kind, (device,))
        return _all(self._keeper.hypervisor.complete(alone), kind)[0]


def notice(hold: Hold) -> None:
    """Record what a guest has done to its devices of itself."""
    hypervisor = hold.keeper.hypervisor
    if hold.known.active and isinstance(hypervisor, ChangesGuests):
        became = hypervisor.as_it_is(hold.guest)
        if became is not None:
            hold.guest.became, gone = became
            hold.change(
                *(
                    (EventKind.DEVICE_REMOVED, words(kind, one), {"device": one.alias})
                    for kind, one in gone
                )
            )


def _named(
    spec: DomainSpec, alias_of: Callable[[str, Any], str | None], alias: str
) -> tuple[str, Any] | None:
    """Return kind and device of the one that is called so."""
    for field in attrs.fields(type(spec.devices)):
        held = getattr(spec.devices, field.name)
        for one in held if isinstance(held, tuple) else (held,):
            if isinstance(one, Device) and alias_of(field.name, one) == alias:
                return field.name, one
    return None


def _machine(hold: Hold, live: bool) -> DomainSpec:
    return hold.guest.spec if live else definition_of(hold)


def _all(spec: DomainSpec, kind: str) -> tuple[Any, ...]:
    """Return the devices of a kind; of some a domain has one at most."""
    found: tuple[Any, ...] | None = getattr(spec.devices, kind)
    if isinstance(found, tuple):
        return found
    return () if found is None else (found,)


def _with(spec: DomainSpec, kind: str, devices: tuple[Any, ...]) -> DomainSpec:
    """Return a definition with other devices of a kind; memory modules count as its memory."""
    held: Any = devices
    if not isinstance(getattr(spec.devices, kind), tuple):
        held = devices[0] if devices else None
    changes: dict[str, Any] = {kind: held}
    after = attrs.evolve(spec, devices=attrs.evolve(spec.devices, **changes))
    if kind != "memories":
        return after
    more = _modules(after) - _modules(spec)
    used = spec.current_memory
    if used is not None:
        # As virDomainMemoryInsert and virDomainMemoryRemove of libvirt's domain_conf.c.
        used = used + more if used == spec.memory and more > 0 else min(used, spec.memory + more)
    return attrs.evolve(after, memory=spec.memory + more, current_memory=used)


def _modules(spec: DomainSpec) -> int:
    return sum(one.target.size for one in spec.devices.memories if one.target is not None)


def _place(hold: Hold, spec: DomainSpec, kind: str, device: Any) -> int:
    place = find(kind, _all(spec, kind), device)
    if place is None:
        raise NotFound(
            f"{hold.operation} of {spec.name!r}: it has no {words(kind, device)}",
            kind="device",
            key=words(kind, device),
        )
    return place
