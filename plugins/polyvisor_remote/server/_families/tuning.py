"""Shares, limits and places: schedulers and pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import LIVE, impact, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import mapping, params
from polyvisor_remote.wire.params import LLONG, ULLONG

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from polyvisor.driver import Tuning
    from polyvisor_remote.server.session import Session

#: ``VIR_TYPED_PARAM_STRING_OKAY``.
_TEXT = 4
_SCHEDULER = {
    "cpu_shares": ULLONG,
    **{
        f"{who}_{what}": ULLONG if what == "period" else LLONG
        for who in ("vcpu", "emulator", "global", "iothread")
        for what in ("period", "quota")
    },
}


def part_of(session: Session, procedure: str) -> Tuning:
    return need(session.driver.tuning, procedure)


# Schedulers


@serves("domain_get_scheduler_type")
def get_scheduler_type(session: Session, arguments: Any) -> tuple[str, int]:
    """Return the scheduler's name and how many values it has."""
    part = part_of(session, "domain_get_scheduler_type")
    session.uuid(arguments.dom)
    return part.scheduler, len(_SCHEDULER)


def _scheduler(session: Session, uuid: UUID, live: bool) -> list[Any]:
    found = part_of(session, "domain_get_scheduler_parameters").get(uuid, "schedinfo", live=live)
    return params({name: found.get(name, 0) for name in _SCHEDULER}, _SCHEDULER)


@serves("domain_get_scheduler_parameters", slow=True)
def get_scheduler_parameters(session: Session, arguments: Any) -> tuple[Any]:
    """Return the scheduler's values; one that is not set is 0."""
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, 0, "virDomainGetSchedulerParameters", also=_TEXT)
    return (_scheduler(session, uuid, where["live"])[: arguments.nparams],)


@serves("domain_get_scheduler_parameters_flags", slow=True)
def get_scheduler_parameters_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Return the scheduler's values of the guest or the definition."""
    uuid = session.uuid(arguments.dom)
    flags = arguments.flags
    where = impact(session, uuid, flags, "virDomainGetSchedulerParametersFlags", also=_TEXT)
    return (_scheduler(session, uuid, where["live"])[: arguments.nparams],)


def _set_scheduler(session: Session, arguments: Any, flags: int, function: str) -> None:
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, flags, function, also=_TEXT)
    part = part_of(session, "domain_set_scheduler_parameters")
    part.set(uuid, "schedinfo", mapping(arguments.params), None, **where)


@serves("domain_set_scheduler_parameters", slow=True)
def set_scheduler_parameters(session: Session, arguments: Any) -> None:
    """Set some of the scheduler's values."""
    _set_scheduler(session, arguments, 0, "virDomainSetSchedulerParameters")


@serves("domain_set_scheduler_parameters_flags", slow=True)
def set_scheduler_parameters_flags(session: Session, arguments: Any) -> None:
    """Set some of the scheduler's values for the guest, the definition, or both."""
    function = "virDomainSetSchedulerParametersFlags"
    _set_scheduler(session, arguments, arguments.flags, function)


# Pins


def _numbers(cpumap: bytes, most: int) -> frozenset[int]:
    """Return the CPUs of a map, of those that the host has."""
    bits = int.from_bytes(cpumap, "little")
    return frozenset(number for number in range(most) if bits >> number & 1)


def cpumap(cpus: Iterable[int], length: int) -> bytes:
    return sum(1 << cpu for cpu in cpus if cpu < length * 8).to_bytes(length, "little")


def pin(session: Session, arguments: Any, which: int | str, flags: int, function: str) -> None:
    uuid = session.uuid(arguments.dom)
    part = part_of(session, "domain_pin_vcpu")
    where = impact(session, uuid, flags, function, also=_TEXT)
    if which != "emulator" and which not in part.pins(uuid, live=where["live"]):
        raise Failure(8, f"requested vcpu '{which}' is not present in the domain")
    cpus = _numbers(arguments.cpumap, session.driver.host().cpus)
    if not cpus:
        raise Failure(8, "Empty cpu list for pinning")
    part.pin(uuid, which, cpus, **where)


@serves("domain_pin_vcpu", slow=True)
def pin_vcpu(session: Session, arguments: Any) -> None:
    """Let a running domain's vCPU run on some CPUs only."""
    pin(session, arguments, arguments.vcpu, LIVE, "virDomainPinVcpu")


@serves("domain_pin_vcpu_flags", slow=True)
def pin_vcpu_flags(session: Session, arguments: Any) -> None:
    """The same of the guest, the definition, or both."""
    pin(session, arguments, arguments.vcpu, arguments.flags, "virDomainPinVcpuFlags")


@serves("domain_pin_emulator", slow=True)
def pin_emulator(session: Session, arguments: Any) -> None:
    """Let what runs beside the vCPUs run on some CPUs only."""
    pin(session, arguments, "emulator", arguments.flags, "virDomainPinEmulator")


@serves("domain_get_vcpu_pin_info", slow=True)
def get_vcpu_pin_info(session: Session, arguments: Any) -> tuple[bytes, int]:
    """Return where vCPUs may run, one map after the other."""
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainGetVcpuPinInfo", also=_TEXT)
    pins = part_of(session, "domain_get_vcpu_pin_info").pins(uuid, live=where["live"])
    numbers = sorted(one for one in pins if isinstance(one, int))[: max(0, arguments.ncpumaps)]
    length = _length(arguments.maplen)
    return b"".join(cpumap(pins[number], length) for number in numbers), len(numbers)


@serves("domain_get_emulator_pin_info", slow=True)
def get_emulator_pin_info(session: Session, arguments: Any) -> tuple[bytes, int]:
    """Return where the rest may run."""
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainGetEmulatorPinInfo", also=_TEXT)
    pins = part_of(session, "domain_get_emulator_pin_info").pins(uuid, live=where["live"])
    return cpumap(pins["emulator"], _length(arguments.maplen)), 1


def _length(asked: int) -> int:
    """Return the length of a map (REMOTE_CPUMAP_MAX is the most)."""
    if not 0 < asked <= 2048:
        raise Failure(8, f"a map of {asked} bytes; from 1 to 2048 can be asked for")
    return asked
