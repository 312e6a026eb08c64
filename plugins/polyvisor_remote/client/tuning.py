"""Shares, limits and places of a server's domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Tuning
from polyvisor.errors import InvalidArgument, NotFound, PolyvisorError, Unsupported
from polyvisor_remote.client.changing import impact
from polyvisor_remote.client.failures import RPC, UNSUPPORTED
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import INT, LLONG, STRING, UINT, ULLONG

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteTuning"]

_TEXT = 4  # VIR_TYPED_PARAM_STRING_OKAY
#: Parameters that are asked for at once, which is more than there are of any group.
_MANY = 16
#: What a limit of memory is that is none, in KiB (``VIR_DOMAIN_MEMORY_PARAM_UNLIMITED``).
_UNLIMITED = 9007199254740991
#: ``virDomainNumatuneMemMode``.
_MODES = ("strict", "preferred", "interleave", "restrictive")
#: Bytes of a map of processors that are asked for.
_MAP = 128


@attrs.frozen
class _Group:
    """How a group is read and written.

    Attributes:
        stem: what its procedures are called.
        kinds: types of values, by names or what they end with; others are unsigned long.
        device: whether it is a device's.
    """

    stem: str
    kinds: Mapping[str, int]
    device: bool = False


_GROUPS = {
    "schedinfo": _Group("scheduler_parameters", {"quota": LLONG, "weight": UINT, "cap": UINT}),
    "memtune": _Group("memory_parameters", {}),
    "blkiotune": _Group("blkio_parameters", {"device": STRING, "weight": UINT}),
    "numatune": _Group("numa_parameters", {"numa_mode": INT, "numa_nodeset": STRING}),
    "blkdeviotune": _Group("block_io_tune", {"group_name": STRING}, device=True),
    "domiftune": _Group("interface_parameters", {"": UINT}, device=True),
}


class RemoteTuning(Tuning):
    """Groups are those that the server's driver has a function for.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self._domains = driver.domains

    @cached_property
    def _known(self) -> Sequence[str]:
        nobody = self._driver.server.nobody
        answers = self._driver.link.call_all(
            [self._question(name, nobody, "vda", 0) for name in _GROUPS]
        )
        return [
            name
            for name, answer in zip(_GROUPS, answers, strict=True)
            if getattr(answer, "native_code", None) not in (UNSUPPORTED, RPC)
        ]

    @staticmethod
    def _question(name: str, dom: Any, device: str | None, flags: int) -> tuple[Any, ...]:
        group = _GROUPS[name]
        where = (device,) if group.device else ()
        end = "_flags" if group.stem == "scheduler_parameters" else ""
        return (f"domain_get_{group.stem}{end}", dom, *where, _MANY, flags)

    def groups(self) -> Sequence[str]:
        """Return those that the server has."""
        return self._known

    def _group(self, name: str) -> _Group:
        if name not in self._known:
            raise Unsupported(f"{name}: the server has no such group", feature="domains.tuning")
        return _GROUPS[name]

    def get(
        self, uuid: UUID, group: str, device: str | None = None, *, live: bool
    ) -> Mapping[str, int | str]:
        """Ask for a group's values."""
        self._group(group)
        flags = impact(live=live, config=not live) | _TEXT
        procedure, _, *rest = self._question(group, None, device, flags)
        found = self._domains.call(uuid, procedure, *rest).params
        values: dict[str, int | str] = {}
        for name, _, value in found:
            if group == "memtune":
                if value >= _UNLIMITED:
                    continue
                values[name] = value * 1024
            elif name == "numa_mode":
                values[name] = _MODES[value] if 0 <= value < len(_MODES) else str(value)
            elif value not in (0, ""):
                values[name] = value
        return values

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
        """Have some of a group's values set."""
        known = self._group(group)
        wanted: dict[str, Any] = {}
        for name, value in values.items():
            if group == "memtune":
                wanted[name] = int(value) // 1024 if value else _UNLIMITED
            elif name == "numa_mode":
                wanted[name] = _MODES.index(str(value)) if value in _MODES else value
            else:
                wanted[name] = value
        kinds = {name: _kind(known, name) for name in wanted}
        where = (device,) if known.device else ()
        end = "_flags" if known.stem == "scheduler_parameters" else ""
        flags = impact(live=live, config=config)
        typed = params(wanted, kinds)
        self._domains.call(uuid, f"domain_set_{known.stem}{end}", *where, typed, flags)

    def pins(self, uuid: UUID, *, live: bool) -> Mapping[int | str, AbstractSet[int]]:
        """Ask where vCPUs and the rest may run."""
        flags = impact(live=live, config=not live)
        cpus = self._driver.link.call("node_get_info").cpus
        most = self._domains.call(uuid, "domain_get_vcpus_flags", flags | 4).num
        answer = self._domains.call(uuid, "domain_get_vcpu_pin_info", most, _MAP, flags)
        found: dict[int | str, AbstractSet[int]] = {
            number: _numbers(answer.cpumaps[number * _MAP : (number + 1) * _MAP], cpus)
            for number in range(answer.num)
        }
        try:
            rest = self._domains.call(uuid, "domain_get_emulator_pin_info", _MAP, flags)
        except PolyvisorError:
            return found
        found["emulator"] = _numbers(rest.cpumaps[:_MAP], cpus) or frozenset(range(cpus))
        with suppress(Unsupported):
            for one in self._domains.call(uuid, "domain_get_iothread_info", flags).info:
                found[f"iothread{one.iothread_id}"] = _numbers(one.cpumap, cpus)
        return found

    def pin(
        self, uuid: UUID, which: int | str, cpus: AbstractSet[int], *, live: bool, config: bool
    ) -> None:
        """Have a vCPU, or the rest, run on some CPUs only."""
        flags = impact(live=live, config=config)
        most = self._driver.link.call("node_get_info").cpus
        if not cpus or max(cpus) >= most:
            # Servers take what their host does not have, and mean nothing by it.
            raise InvalidArgument(f"pin: {sorted(cpus)}: the host has the CPUs 0 to {most - 1}")
        length = max(cpus) // 8 + 1
        cpumap = sum(1 << cpu for cpu in cpus).to_bytes(length, "little")
        if which == "emulator":
            self._domains.call(uuid, "domain_pin_emulator", cpumap, flags)
        elif isinstance(which, int):
            self._domains.call(uuid, "domain_pin_vcpu_flags", which, cpumap, flags)
        elif which.startswith("iothread") and which[8:].isdigit():
            self._domains.call(uuid, "domain_pin_iothread", int(which[8:]), cpumap, flags)
        else:
            raise NotFound(f"pin: there is no {which!r} to pin", kind="vCPU")


def _kind(group: _Group, name: str) -> int:
    """Return the type that libvirt wants a value to have."""
    for end, kind in group.kinds.items():
        if end and (name.endswith(end) or (end == "device" and name.startswith(end))):
            return kind
    return group.kinds.get("", ULLONG)


def _numbers(cpumap: bytes, most: int) -> frozenset[int]:
    bits = int.from_bytes(cpumap, "little")
    return frozenset(number for number in range(most) if bits >> number & 1)
