"""I/O threads: in definitions, and in guests that run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Resources
from polyvisor.errors import AlreadyExists, InvalidArgument, NotFound, OperationInvalid, Unsupported
from polyvisor.local._fields import changed
from polyvisor.local._hypervisor import ChangesGuests
from polyvisor.local._tunegroups import io_threads

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.model.domain import IoThreadIds
    from polyvisor.model.tuning import CpuTune

__all__ = ["LocalIoThreads"]

_FEATURE = "devices.iothreads"
_POLLING = ("poll_max_ns", "poll_grow", "poll_shrink")
_POOL = ("thread_pool_min", "thread_pool_max")
_MOST = (1 << 31) - 1


class LocalIoThreads(Resources):
    """Changes I/O threads; those of a running guest if its hypervisor :class:`ChangesGuests`."""

    _keeper: Keeper

    def add_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        if not 0 < number <= _MOST:
            raise InvalidArgument(f"add I/O thread: {number} is no number for one; count from 1")

        def with_it(spec: DomainSpec) -> DomainSpec:
            if number in io_threads(spec):
                raise AlreadyExists(
                    f"add I/O thread of {spec.name!r}: it has one with the number {number}",
                    domain=spec.name,
                )
            ids = _listed(spec)
            from polyvisor.model.domain import IoThread

            ids = attrs.evolve(ids, iothreads=(*ids.iothreads, IoThread(id=number)))
            return attrs.evolve(spec, iothreads=len(ids.iothreads), iothreadids=ids)

        with self._keeper.hold(uuid, "add I/O thread") as hold:
            changes = changed(hold, with_it, live=live, config=config)
            if live:
                _changer(hold).add_iothread(hold.guest, number, changes["live"].spec())
            hold.change(durable=config, **changes)

    def remove_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        def without(spec: DomainSpec) -> DomainSpec:
            _need(spec, number, "remove")
            user = _user(spec, number)
            if user is not None:
                raise OperationInvalid(
                    f"remove I/O thread of {spec.name!r}: {user} uses the I/O thread {number}; "
                    f"detach it first, or have it use another",
                    domain=spec.name,
                )
            ids = _listed(spec)
            left = tuple(one for one in ids.iothreads if one.id != number)
            # Numbers that would be given anyway need not be written down.
            usual = spec.iothreadids is None and all(one.id != number + 1 for one in left)
            return attrs.evolve(
                spec,
                iothreads=len(left) or None,
                iothreadids=None if usual or not left else attrs.evolve(ids, iothreads=left),
                cputune=_freed(spec.cputune, number),
            )

        with self._keeper.hold(uuid, "remove I/O thread") as hold:
            changes = changed(hold, without, live=live, config=config)
            if live:
                _changer(hold).remove_iothread(hold.guest, number)
            hold.change(durable=config, **changes)

    def set_iothread(
        self, uuid: UUID, number: int, values: Mapping[str, int], *, live: bool, config: bool
    ) -> None:
        _check(values)
        polling = [name for name in values if name in _POLLING]
        if polling and config:
            raise Unsupported(
                f"set I/O thread: {polling[0]} has no place in a definition; set it for the "
                f"running guest (live) alone",
                feature=_FEATURE,
            )
        if live and min([values.get(name, 0) for name in _POOL]) < 0:
            raise OperationInvalid(
                "set I/O thread: a running guest has some size of its pool; give 0 or more"
            )

        def with_values(spec: DomainSpec) -> DomainSpec:
            _need(spec, number, "set")
            pool: dict[str, Any] = {
                name: None if values[name] < 0 else values[name] for name in _POOL if name in values
            }
            if not pool:
                return spec
            ids = _listed(spec)
            threads = tuple(
                attrs.evolve(one, **pool) if one.id == number else one for one in ids.iothreads
            )
            for one in threads:
                least, most = one.thread_pool_min, one.thread_pool_max
                if one.id == number and least is not None and most is not None and least > most:
                    raise OperationInvalid(
                        f"set I/O thread of {spec.name!r}: thread_pool_min is {least}, and "
                        f"thread_pool_max {most}, which is less"
                    )
            return attrs.evolve(spec, iothreadids=attrs.evolve(ids, iothreads=threads))

        with self._keeper.hold(uuid, "set I/O thread") as hold:
            changes = changed(hold, with_values, live=live, config=config)
            if live:
                _changer(hold).set_iothread(hold.guest, number, values)
            hold.change(durable=config, **changes)


def _check(values: Mapping[str, int]) -> None:
    for name, value in values.items():
        if name not in (*_POLLING, *_POOL):
            raise InvalidArgument(
                f"set I/O thread: there is no {name!r}; use {', '.join((*_POLLING, *_POOL))}"
            )
        least = {"thread_pool_min": -1, "thread_pool_max": -1}.get(name, 0)
        if not least <= value <= _MOST or (name, value) == ("thread_pool_max", 0):
            raise InvalidArgument(f"set I/O thread: {name} cannot be {value}")


def _need(spec: DomainSpec, number: int, verb: str) -> None:
    if number not in io_threads(spec):
        raise NotFound(
            f"{verb} I/O thread of {spec.name!r}: there is none with the number {number}",
            kind="I/O thread",
            key=str(number),
        )


def _user(spec: DomainSpec, number: int) -> str | None:
    """Return what uses a thread, if something does."""
    for disk in spec.devices.disks:
        if disk.driver is not None and disk.driver.iothread == number:
            return f"the disk {disk.target.dev!r}" if disk.target is not None else "a disk"
    for controller in spec.devices.controllers:
        if controller.driver is not None and controller.driver.iothread == number:
            return f"the controller {controller.type} {controller.index}"
    return None


def _listed(spec: DomainSpec) -> IoThreadIds:
    """Return all threads one by one, with the numbers that they have."""
    from polyvisor.model.domain import IoThread, IoThreadIds

    ids = spec.iothreadids or IoThreadIds()
    given = {one.id for one in ids.iothreads}
    rest = tuple(IoThread(id=number) for number in io_threads(spec) if number not in given)
    return attrs.evolve(ids, iothreads=ids.iothreads + rest)


def _freed(tune: CpuTune | None, number: int) -> CpuTune | None:
    """Return places and classes without those of a thread."""
    if tune is None:
        return None
    from polyvisor.model.cpuset import compact, members

    scheds = []
    for one in tune.iothreadscheds:
        left = [other for other in members(one.iothreads or "") if other != number]
        if left:
            scheds.append(attrs.evolve(one, iothreads=compact(left)))
    pins = tuple(pin for pin in tune.iothreadpins if pin.iothread != number)
    return attrs.evolve(tune, iothreadpins=pins, iothreadscheds=tuple(scheds))


def _changer(hold: Hold) -> ChangesGuests:
    hypervisor = hold.keeper.hypervisor
    if not isinstance(hypervisor, ChangesGuests):
        raise Unsupported(
            f"{hold.operation} of {hold.known.name!r}: {hypervisor.name} does not change it while "
            f"a guest runs; change the definition (config) alone",
            feature=_FEATURE,
            domain=hold.known.name,
        )
    return hypervisor
