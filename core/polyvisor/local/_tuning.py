"""Weights, limits and places: in definitions, and of guests that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Tuning
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid, Unsupported
from polyvisor.local._fields import changed
from polyvisor.local._hypervisor import TunesGuests

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec

__all__ = ["LocalTuning"]


class LocalTuning(Tuning):
    """Keeps values in definitions; a running guest's change if its hypervisor can.

    Args:
        keeper: what it belongs to.
        cpus: gives the number of the host's CPUs.
    """

    def __init__(self, keeper: Keeper, cpus: Callable[[], int]) -> None:
        self._keeper = keeper
        self._cpus = cpus
        if isinstance(keeper.hypervisor, TunesGuests):
            self.scheduler = keeper.hypervisor.scheduler

    def groups(self) -> Sequence[str]:
        from polyvisor.local._tunegroups import GROUPS

        hypervisor = self._keeper.hypervisor
        return hypervisor.tunable if isinstance(hypervisor, TunesGuests) else tuple(GROUPS)

    def get(
        self, uuid: UUID, group: str, device: str | None = None, *, live: bool
    ) -> Mapping[str, int | str]:
        found = self._group(group)
        spec = self._spec(uuid, live)
        return dict(found.read(spec, device))

    def set(
        self,
        uuid: UUID,
        group: str,
        values: Mapping[str, int | str],
        device: str | None = None,
        *,
        live: bool,
        config: bool,
    ) -> None:
        found = self._group(group)
        found.check(values)
        with self._keeper.hold(uuid, group) as hold:
            changes = changed(
                hold, lambda spec: found.write(spec, device, values), live=live, config=config
            )
            if live:
                place = found.device(hold.guest.spec, device)
                self._tuner(hold).tune(hold.guest, group, values, place)
            hold.change(durable=config, **changes)

    def pins(self, uuid: UUID, *, live: bool) -> Mapping[int | str, AbstractSet[int]]:
        from polyvisor.local._tunegroups import io_threads
        from polyvisor.model.cpuset import members

        spec = self._spec(uuid, live)
        tune = spec.cputune
        anywhere = frozenset(range(self._cpus()))
        usual = anywhere
        if spec.vcpu is not None and spec.vcpu.cpuset is not None:
            usual = frozenset(members(spec.vcpu.cpuset))
        count = 1 if spec.vcpu is None else spec.vcpu.count
        found: dict[int | str, AbstractSet[int]] = dict.fromkeys(range(count), usual)
        found["emulator"] = usual
        if tune is not None:
            for pin in tune.vcpupins:
                if pin.vcpu in found and pin.cpuset is not None:
                    found[pin.vcpu] = frozenset(members(pin.cpuset))
            if tune.emulatorpin is not None and tune.emulatorpin.cpuset is not None:
                found["emulator"] = frozenset(members(tune.emulatorpin.cpuset))
        # A guest's I/O threads are begun where the emulator is.
        begun = found["emulator"] if live else usual
        placed = {} if tune is None else {one.iothread: one.cpuset for one in tune.iothreadpins}
        for number in io_threads(spec):
            where = placed.get(number)
            found[f"iothread{number}"] = frozenset(members(where)) if where else begun
        return found

    def pin(
        self, uuid: UUID, which: int | str, cpus: AbstractSet[int], *, live: bool, config: bool
    ) -> None:
        from polyvisor.local._tunegroups import pinned

        if isinstance(which, str) and which not in self.pins(uuid, live=live):
            raise NotFound(f"pin: there is no {which!r} to pin", kind="thread", key=which)
        most = self._cpus()
        if not cpus or min(cpus) < 0 or max(cpus) >= most:
            raise InvalidArgument(
                f"pin {which}: give CPUs of the host, which are numbered from 0 to {most - 1}"
            )
        with self._keeper.hold(uuid, "pin") as hold:
            changes = changed(
                hold, lambda spec: pinned(spec, which, cpus), live=live, config=config
            )
            if live:
                self._tuner(hold).pin(hold.guest, which, cpus)
            hold.change(durable=config, **changes)

    def _spec(self, uuid: UUID, live: bool) -> DomainSpec:
        record = self._keeper.look(uuid)
        document = record.live if live else record.definition
        if document is None:
            why = "it is not running" if live else "it is transient"
            raise OperationInvalid(f"tuning of {record.name!r}: {why}", domain=record.name)
        return document.spec()

    def _group(self, name: str) -> Any:
        from polyvisor.local._tunegroups import GROUPS

        if name not in self.groups():
            raise Unsupported(
                f"tune {name!r}: {self._keeper.hypervisor.name} has {', '.join(self.groups())}",
                feature="domains.tuning",
            )
        return GROUPS[name]

    def _tuner(self, hold: Hold) -> TunesGuests:
        hypervisor = self._keeper.hypervisor
        if not isinstance(hypervisor, TunesGuests):
            raise Unsupported(
                f"{hold.operation} of {hold.known.name!r}: {hypervisor.name} does not tune a "
                f"guest that runs; change the definition (config) alone",
                feature="domains.tuning",
                domain=hold.known.name,
            )
        return hypervisor
