"""Figures of a domain's disks, interfaces, memory and processors, each asked for alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import LLONG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from polyvisor_remote.server.session import Session
    from polyvisor_remote.wire import TypedParam

_VCPU = re.compile(r"vcpu\.(\d+)\.state$")
#: ``virDomainMemoryStatTags`` by the figure of ``virsh domstats`` that has the same.
_MEMORY = {
    "balloon.swap_in": 0,
    "balloon.swap_out": 1,
    "balloon.major_fault": 2,
    "balloon.minor_fault": 3,
    "balloon.unused": 4,
    "balloon.available": 5,
    "balloon.current": 6,
    "balloon.rss": 7,
    "balloon.usable": 8,
    "balloon.last-update": 9,
    "balloon.disk_caches": 10,
    "balloon.hugetlb_pgalloc": 11,
    "balloon.hugetlb_pgfail": 12,
}
#: ``VIR_DOMAIN_BLOCK_STATS_*`` by the same.
_BLOCK = {
    "wr.bytes": "wr_bytes",
    "wr.reqs": "wr_operations",
    "rd.bytes": "rd_bytes",
    "rd.reqs": "rd_operations",
    "fl.reqs": "flush_operations",
    "wr.times": "wr_total_times",
    "rd.times": "rd_total_times",
    "fl.times": "flush_total_times",
}
_UNKNOWN = -1
#: ``VIR_TYPED_PARAM_STRING_OKAY``.
_TEXT = 4


def _running(session: Session, uuid: UUID) -> Mapping[str, Any]:
    """Return the figures of a domain that runs."""
    if not session.driver.domains.summary(uuid).state.active:
        raise Failure(55, "domain is not running")
    return session.driver.domains.stats(uuid)


def _of_device(
    figures: Mapping[str, Any], kind: str, names: tuple[str | None, ...]
) -> dict[str, Any] | None:
    """Return the figures of one device, known by one of its names."""
    for number in range(int(figures.get(f"{kind}.count", 0))):
        start = f"{kind}.{number}."
        if {figures.get(start + "name"), figures.get(start + "path")} & set(names):
            return {
                name.removeprefix(start): value
                for name, value in figures.items()
                if name.startswith(start)
            }
    return None


def _disk(session: Session, uuid: UUID, path: str) -> dict[str, Any]:
    """Return the figures of a disk; none, where the driver counts nothing."""
    figures = _running(session, uuid)
    if not path:
        total: dict[str, int] = {}
        for name, value in figures.items():
            first, _, rest = name.partition(".")
            key = rest.partition(".")[2]
            if first == "block" and key in _BLOCK:
                total[key] = total.get(key, 0) + value
        return total
    found = _of_device(figures, "block", (path,))
    if found is not None:
        return found
    for disk in session.driver.domains.spec(uuid).devices.disks:
        target, source = disk.target, disk.source
        if path in (target and target.dev, source and (source.file or source.dev)):
            return {}
    raise Failure(8, f"invalid path: {path}")


@serves("domain_block_stats", slow=True)
def block_stats(session: Session, arguments: Any) -> tuple[int, ...]:
    """Return what a disk has done; no path means all disks together."""
    uuid = session.uuid(arguments.dom)
    found = _disk(session, uuid, arguments.path)
    names = ("rd.reqs", "rd.bytes", "wr.reqs", "wr.bytes")
    return (*(int(found.get(name, _UNKNOWN)) for name in names), _UNKNOWN)


@serves("domain_block_stats_flags", slow=True)
def block_stats_flags(session: Session, arguments: Any) -> tuple[list[TypedParam], int]:
    """Return what a disk has done, by names, or how many names there are."""
    check_flags(arguments.flags, _TEXT, "virDomainBlockStatsFlags")
    uuid = session.uuid(arguments.dom)
    found = _disk(session, uuid, arguments.path)
    told = {word: int(found[name]) for name, word in _BLOCK.items() if name in found}
    sent = params(told, dict.fromkeys(told, LLONG))
    if arguments.nparams:
        sent = sent[: max(0, arguments.nparams)]
        return sent, len(sent)
    return [], len(sent)


@serves("domain_interface_stats", slow=True)
def interface_stats(session: Session, arguments: Any) -> tuple[int, ...]:
    """Return what went through an interface, named by its target or its MAC address."""
    uuid, device = session.uuid(arguments.dom), arguments.device
    figures = _running(session, uuid)
    names: tuple[str | None, ...] = (device,)
    known = False
    devices = session.driver.domains.spec(uuid).devices
    for one in () if devices is None else devices.interfaces:
        if one.mac is not None and one.mac.address == device.lower():
            names = (device, one.target)
        if device in (one.target, one.mac and one.mac.address):
            known = True
    found = _of_device(figures, "net", names)
    if found is None and known:
        found = {}  # The driver counts nothing.
    if found is None:
        raise Failure(8, f"'{device}' is not a known interface")
    return tuple(
        int(found.get(f"{way}.{what}", _UNKNOWN))
        for way in ("rx", "tx")
        for what in ("bytes", "pkts", "errs", "drop")
    )


@serves("domain_memory_stats", slow=True)
def memory_stats(session: Session, arguments: Any) -> tuple[list[tuple[int, int]]]:
    """Return what is known of a guest's memory, in KiB."""
    check_flags(arguments.flags, 0, "virDomainMemoryStats")
    figures = _running(session, session.uuid(arguments.dom))
    found = [(tag, int(figures[name])) for name, tag in _MEMORY.items() if name in figures]
    return (found[: arguments.maxStats],)


@serves("domain_get_cpu_stats", slow=True)
def get_cpu_stats(session: Session, arguments: Any) -> tuple[list[TypedParam], int]:
    """Return the time that a domain has used in all; no driver tells it for each CPU."""
    check_flags(arguments.flags, _TEXT, "virDomainGetCPUStats")
    if arguments.start_cpu != -1:
        raise unsupported("domain_get_cpu_stats")
    figures = _running(session, session.uuid(arguments.dom))
    names = {"cpu.time": "cpu_time", "cpu.user": "user_time", "cpu.system": "system_time"}
    told = params({word: figures.get(name) for name, word in names.items()})
    if arguments.nparams:
        return told[: arguments.nparams], len(told[: arguments.nparams])
    return [], len(told)


# Processors


@serves("connect_get_max_vcpus")
def get_max_vcpus(session: Session, arguments: Any) -> tuple[int]:
    """Return how many vCPUs a domain may have, as the default machine says it."""
    from polyvisor.errors import Unsupported

    kind = arguments.type
    try:
        most = session.driver.domain_capabilities(kind=kind).max_vcpus
    except Unsupported as error:
        raise unsupported("connect_get_max_vcpus") from error
    if most is None:
        raise unsupported("connect_get_max_vcpus")
    return (most,)


@serves("domain_get_vcpus", slow=True)
def get_vcpus(session: Session, arguments: Any) -> tuple[list[tuple[int, int, int, int]], bytes]:
    """Return each vCPU's state and time, and where it may run; where it does is not known."""
    uuid = session.uuid(arguments.dom)
    figures = _running(session, uuid)
    most, length = max(0, arguments.maxinfo), arguments.maplen
    # Those that are on need not be the first ones.
    told = [int(found[1]) for name in figures if (found := _VCPU.match(name))]
    numbers = sorted(told or range(int(figures["vcpu.current"])))[:most]
    info = [
        (
            number,
            int(figures.get(f"vcpu.{number}.state", 1)),
            int(figures.get(f"vcpu.{number}.time", 0)),
            _UNKNOWN,
        )
        for number in numbers
    ]
    if length <= 0:
        return info, b""
    pins = need(session.driver.tuning, "domain_get_vcpus").pins(uuid, live=True)
    maps = (
        sum(1 << cpu for cpu in pins[number] if cpu < length * 8).to_bytes(length, "little")
        for number in numbers
    )
    return info, b"".join(maps)


@serves("domain_get_disk_errors")
def get_disk_errors(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return disks with errors: a driver tells of those as they happen, and keeps none."""
    check_flags(arguments.flags, 0, "virDomainGetDiskErrors")
    uuid = session.uuid(arguments.dom)
    need(session.driver.block, "domain_get_disk_errors")
    if not session.driver.domains.summary(uuid).state.active:
        raise Failure(55, "domain is not running")
    return [], 0
