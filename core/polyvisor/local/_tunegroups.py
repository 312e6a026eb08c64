"""Where the values of each tuning group stand in a definition.

The names are libvirt's (``VIR_DOMAIN_SCHEDULER_*`` and their like, ``libvirt-domain.h``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["GROUPS", "Group", "pinned"]


class Group(ABC):
    """Values of a definition.

    Args:
        name: the group's name.
        fields: where each stands, by the value's name.
        words: the values that are words; others are numbers.
    """

    def __init__(
        self, name: str, fields: Mapping[str, str], words: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.name = name
        self.fields = dict(fields)
        self.words = dict(words or {})

    def check(self, values: Mapping[str, int | str]) -> None:
        """Refuse values that the group does not have.

        Raises:
            InvalidArgument: says which.
        """
        for name, value in values.items():
            if name not in self.fields:
                raise InvalidArgument(
                    f"{self.name}: there is no {name!r}; it has {', '.join(self.fields)}"
                )
            allowed = self.words.get(name)
            if allowed is None:
                if not isinstance(value, int) or (value < 0 and not name.endswith("_quota")):
                    raise InvalidArgument(f"{self.name}: {name} is {value!r}, not a number >= 0")
            elif not isinstance(value, str) or (allowed and value not in allowed):
                wanted = f"one of {', '.join(allowed)}" if allowed else "a word"
                raise InvalidArgument(f"{self.name}: {name} is {value!r}, not {wanted}")

    def device(self, spec: DomainSpec, device: str | None) -> Any | None:
        """Return the device whose group it is; ``None`` where it is the domain's."""
        return None

    @abstractmethod
    def read(self, spec: DomainSpec, device: str | None) -> Iterator[tuple[str, int | str]]:
        """Yield the values that are set."""

    @abstractmethod
    def write(
        self, spec: DomainSpec, device: str | None, values: Mapping[str, int | str]
    ) -> DomainSpec:
        """Return a definition with some values changed."""


class _Fields(Group):
    """Values that are fields of one element of the definition."""

    def read(self, spec: DomainSpec, device: str | None) -> Iterator[tuple[str, int | str]]:
        element = self._element(spec, device)
        if element is not None:
            for name, field in self.fields.items():
                value = getattr(element, field)
                if value is not None:
                    yield name, value

    def write(
        self, spec: DomainSpec, device: str | None, values: Mapping[str, int | str]
    ) -> DomainSpec:
        element = self._element(spec, device) or self._empty()
        changes: dict[str, Any] = {
            self.fields[name]: None if self._is_none(name, value) else value
            for name, value in values.items()
        }
        changed = attrs.evolve(element, **changes)
        return self._put(spec, device, None if changed == self._empty() else changed)

    def _is_none(self, name: str, value: int | str) -> bool:
        return value == ""

    @abstractmethod
    def _empty(self) -> Any:
        """Return the element without values."""

    @abstractmethod
    def _element(self, spec: DomainSpec, device: str | None) -> Any | None:
        """Return the element, if there is one."""

    @abstractmethod
    def _put(self, spec: DomainSpec, device: str | None, element: Any | None) -> DomainSpec:
        """Return the definition with another element."""


class _Cpu(_Fields):
    def _empty(self) -> Any:
        from polyvisor.model.tuning import CpuTune

        return CpuTune()

    def _element(self, spec: DomainSpec, device: str | None) -> Any | None:
        return spec.cputune

    def _put(self, spec: DomainSpec, device: str | None, element: Any | None) -> DomainSpec:
        return attrs.evolve(spec, cputune=element)


class _Memory(_Fields):
    def _empty(self) -> Any:
        from polyvisor.model.tuning import MemoryTune

        return MemoryTune()

    def _element(self, spec: DomainSpec, device: str | None) -> Any | None:
        return spec.memtune

    def _put(self, spec: DomainSpec, device: str | None, element: Any | None) -> DomainSpec:
        return attrs.evolve(spec, memtune=element)

    def _is_none(self, name: str, value: int | str) -> bool:
        return value == 0


class _Blkio(Group):
    """One weight, and figures for each of the host's block devices as ``path,number,…``."""

    def check(self, values: Mapping[str, int | str]) -> None:
        super().check(values)
        for name, value in values.items():
            if name in self.words:
                _pairs(name, str(value))

    def read(self, spec: DomainSpec, device: str | None) -> Iterator[tuple[str, int | str]]:
        tune = spec.blkiotune
        if tune is None:
            return
        if tune.weight is not None:
            yield "weight", tune.weight
        for name in self.words:
            field = self.fields[name]
            told = [
                f"{one.path},{getattr(one, field)}"
                for one in tune.devices
                if getattr(one, field) is not None
            ]
            if told:
                yield name, ",".join(told)

    def write(
        self, spec: DomainSpec, device: str | None, values: Mapping[str, int | str]
    ) -> DomainSpec:
        from polyvisor.model.resource import BlkioDevice, BlkioTune

        tune = spec.blkiotune or BlkioTune()
        devices = {one.path: one for one in tune.devices}
        for name, value in values.items():
            if name == "weight":
                tune = attrs.evolve(tune, weight=int(value) or None)
                continue
            for path, number in _pairs(name, str(value)).items():
                change: dict[str, Any] = {self.fields[name]: number or None}
                devices[path] = attrs.evolve(devices.get(path) or BlkioDevice(path=path), **change)
        kept = tuple(one for one in devices.values() if one != BlkioDevice(path=one.path))
        tune = attrs.evolve(tune, devices=kept)
        return attrs.evolve(spec, blkiotune=None if tune == BlkioTune() else tune)


def _pairs(name: str, text: str) -> dict[str, int]:
    """Return ``path,number,path,number`` as numbers by path."""
    words = text.split(",") if text else []
    if len(words) % 2 or not all(word.isdigit() for word in words[1::2]):
        raise InvalidArgument(f"blkiotune: {name} is {text!r}, not PATH,NUMBER,PATH,NUMBER,…")
    return {path: int(number) for path, number in zip(words[::2], words[1::2], strict=True)}


class _Numa(_Fields):
    def _empty(self) -> Any:
        from polyvisor.model.tuning import NumaMemory

        return NumaMemory()

    def check(self, values: Mapping[str, int | str]) -> None:
        super().check(values)
        nodes = values.get("numa_nodeset")
        if nodes:
            from polyvisor.model.cpuset import members

            members(str(nodes))

    def _element(self, spec: DomainSpec, device: str | None) -> Any | None:
        return None if spec.numatune is None else spec.numatune.memory

    def _put(self, spec: DomainSpec, device: str | None, element: Any | None) -> DomainSpec:
        from polyvisor.model.tuning import NumaTune

        if element is not None and element.placement is None:
            element = attrs.evolve(element, placement="static")
        tune = attrs.evolve(spec.numatune or NumaTune(), memory=element)
        return attrs.evolve(spec, numatune=None if tune == NumaTune() else tune)


class _OfDevice(Group):
    """Values of a device that is named by its target.

    Args:
        kind: field of ``devices`` in which it is.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        fields: Mapping[str, str],
        words: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(name, fields, words)
        self._kind = kind

    def device(self, spec: DomainSpec, device: str | None) -> Any:
        return getattr(spec.devices, self._kind)[self._place(spec, device)]

    def _place(self, spec: DomainSpec, device: str | None) -> int:
        """Return where the device with a target, a MAC or a source is."""
        for place, one in enumerate(getattr(spec.devices, self._kind)):
            source, mac = getattr(one, "source", None), getattr(one, "mac", None)
            names = {
                getattr(one.target, "dev", one.target),
                getattr(source, "file", None) or getattr(source, "dev", None),
                None if mac is None else mac.address,
            }
            if device is not None and device in names:
                return place
        raise NotFound(f"{self.name} of {spec.name!r}: no device {device!r}", key=str(device))

    def _with(self, spec: DomainSpec, device: str | None, **changes: Any) -> DomainSpec:
        there, place = getattr(spec.devices, self._kind), self._place(spec, device)
        put: dict[str, Any] = {
            self._kind: (
                *there[:place],
                attrs.evolve(there[place], **changes),
                *there[place + 1 :],
            )
        }
        return attrs.evolve(spec, devices=attrs.evolve(spec.devices, **put))


class _Disk(_OfDevice, _Fields):
    def check(self, values: Mapping[str, int | str]) -> None:
        super().check(values)
        for measure in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max"):
            if values.get(f"total_{measure}") and (
                values.get(f"read_{measure}") or values.get(f"write_{measure}")
            ):
                raise InvalidArgument(
                    f"blkdeviotune: total_{measure} and those for reading or writing "
                    f"exclude each other"
                )

    def write(
        self, spec: DomainSpec, device: str | None, values: Mapping[str, int | str]
    ) -> DomainSpec:
        # A total takes the place of what was set for reading and writing, and the other way.
        cleared: dict[str, int | str] = {}
        for name, value in values.items():
            way, _, measure = name.partition("_")
            if value and not name.endswith("_length") and way in ("total", "read", "write"):
                others = ("read", "write") if way == "total" else ("total",)
                cleared.update({f"{other}_{measure}": 0 for other in others})
        return super().write(spec, device, {**cleared, **values})

    def _is_none(self, name: str, value: int | str) -> bool:
        return value in (0, "")

    def _empty(self) -> Any:
        from polyvisor.model.devices.disk import IoTune

        return IoTune()

    def _element(self, spec: DomainSpec, device: str | None) -> Any | None:
        return self.device(spec, device).iotune

    def _put(self, spec: DomainSpec, device: str | None, element: Any | None) -> DomainSpec:
        return self._with(spec, device, iotune=element)


class _Interface(_OfDevice):
    def read(self, spec: DomainSpec, device: str | None) -> Iterator[tuple[str, int | str]]:
        bandwidth = self.device(spec, device).bandwidth
        for name in self.fields:
            way, _, field = name.partition(".")
            limit = getattr(bandwidth, way, None)
            value = getattr(limit, field, None)
            if value is not None:
                yield name, value

    def write(
        self, spec: DomainSpec, device: str | None, values: Mapping[str, int | str]
    ) -> DomainSpec:
        from polyvisor.model.devices.interface import Bandwidth, BandwidthLimit

        bandwidth = self.device(spec, device).bandwidth or Bandwidth()
        for way in ("inbound", "outbound"):
            given: dict[str, Any] = {
                name.partition(".")[2]: value or None
                for name, value in values.items()
                if name.startswith(f"{way}.")
            }
            if not given:
                continue
            # As libvirt has it, a way that is named is set as a whole.
            limit: BandwidthLimit | None = BandwidthLimit(**given)
            assert limit is not None
            if limit.average is None and limit.floor is None:
                if limit != BandwidthLimit() and "average" not in given:
                    raise InvalidArgument(
                        f"domiftune: {way}.peak and {way}.burst need {way}.average"
                    )
                limit = None
            put: dict[str, Any] = {way: limit}
            bandwidth = attrs.evolve(bandwidth, **put)
        return self._with(spec, device, bandwidth=None if bandwidth == Bandwidth() else bandwidth)


_MEASURES = (
    *(f"{way}_{unit}_sec" for unit in ("bytes", "iops") for way in ("total", "read", "write")),
    *(f"{way}_{unit}_sec_max" for unit in ("bytes", "iops") for way in ("total", "read", "write")),
    "size_iops_sec",
    "group_name",
    *(
        f"{way}_{unit}_sec_max_length"
        for unit in ("bytes", "iops")
        for way in ("total", "read", "write")
    ),
)
_DEVICE_VALUES = ("weight", "read_iops_sec", "write_iops_sec", "read_bytes_sec", "write_bytes_sec")

#: By the name of virsh's command.
GROUPS: dict[str, Group] = {
    "schedinfo": _Cpu(
        "schedinfo",
        {
            "cpu_shares": "shares",
            "vcpu_period": "period",
            "vcpu_quota": "quota",
            **{
                f"{who}_{what}": f"{who}_{what}"
                for who in ("emulator", "global", "iothread")
                for what in ("period", "quota")
            },
        },
    ),
    "memtune": _Memory(
        "memtune",
        {name: name for name in ("hard_limit", "soft_limit", "swap_hard_limit", "min_guarantee")},
    ),
    "blkiotune": _Blkio(
        "blkiotune",
        {"weight": "weight", **{f"device_{name}": name for name in _DEVICE_VALUES}},
        {f"device_{name}": () for name in _DEVICE_VALUES},
    ),
    "numatune": _Numa(
        "numatune",
        {"numa_mode": "mode", "numa_nodeset": "nodeset"},
        {
            "numa_mode": ("strict", "preferred", "interleave", "restrictive"),
            "numa_nodeset": (),
        },
    ),
    "blkdeviotune": _Disk(
        "blkdeviotune", "disks", {name: name for name in _MEASURES}, {"group_name": ()}
    ),
    "domiftune": _Interface(
        "domiftune",
        "interfaces",
        {
            name: name
            for way in ("inbound", "outbound")
            for name in (
                f"{way}.average",
                f"{way}.peak",
                f"{way}.burst",
                *(("inbound.floor",) if way == "inbound" else ()),
            )
        },
    ),
}


def io_threads(spec: DomainSpec) -> list[int]:
    """Return the numbers of a domain's I/O threads: those that are given, then the lowest free."""
    given = spec.iothreadids.iothreads if spec.iothreadids is not None else ()
    found = [one.id for one in given if one.id is not None]
    number = 0
    while len(found) < (spec.iothreads or 0):
        number += 1
        if number not in found:
            found.append(number)
    return sorted(found)


def pinned(spec: DomainSpec, which: int | str, cpus: AbstractSet[int]) -> DomainSpec:
    """Return a definition in which a vCPU, ``"iothread1"`` or ``"emulator"`` runs on these CPUs.

    Raises:
        InvalidArgument: the domain cannot have such a vCPU or thread.
    """
    from polyvisor.model.cpuset import compact
    from polyvisor.model.tuning import CpuTune, EmulatorPin, IoThreadPin, VcpuPin

    tune, cpuset = spec.cputune or CpuTune(), compact(sorted(cpus))
    if which == "emulator":
        tune = attrs.evolve(tune, emulatorpin=EmulatorPin(cpuset=cpuset))
        return attrs.evolve(spec, cputune=tune)
    if isinstance(which, str):
        known = {f"iothread{number}": number for number in io_threads(spec)}
        if which not in known:
            raise InvalidArgument(f"pin of {spec.name!r}: it has no {which}")
        mine = IoThreadPin(iothread=known[which], cpuset=cpuset)
        others = (pin for pin in tune.iothreadpins if pin.iothread != known[which])
        threads = tuple(sorted((*others, mine), key=lambda one: one.iothread or 0))
        return attrs.evolve(spec, cputune=attrs.evolve(tune, iothreadpins=threads))
    count = 1 if spec.vcpu is None else spec.vcpu.count
    if not 0 <= which < count:
        raise InvalidArgument(f"pin of {spec.name!r}: it has no vCPU {which}, only {count}")
    pins = {pin.vcpu: pin for pin in tune.vcpupins}
    pins[which] = VcpuPin(vcpu=which, cpuset=cpuset)
    ordered = tuple(pins[number] for number in sorted(pins, key=lambda one: one or 0))
    return attrs.evolve(spec, cputune=attrs.evolve(tune, vcpupins=ordered))
