"""How much of the host a domain has: virtual CPUs and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.model.cpuset import members
from polyvisor_remote.server._families.arguments import impact, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from polyvisor.driver import Resources
    from polyvisor_remote.server.session import Session

# VIR_DOMAIN_VCPU_MAXIMUM and VIR_DOMAIN_MEM_MAXIMUM
_MAXIMUM = 4


def _part(session: Session, procedure: str) -> Resources:
    return need(session.driver.resources, procedure)


@serves("domain_set_vcpus", slow=True)
def set_vcpus(session: Session, arguments: Any) -> None:
    """Set how many vCPUs a running domain has."""
    part = _part(session, "domain_set_vcpus")
    part.set_vcpus(session.uuid(arguments.dom), arguments.nvcpus, live=True, config=False)


@serves("domain_set_vcpus_flags", slow=True)
def set_vcpus_flags(session: Session, arguments: Any) -> None:
    """Set how many vCPUs the guest, the definition, or both have."""
    part = _part(session, "domain_set_vcpus_flags")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainSetVcpusFlags", also=_MAXIMUM)
    change = part.set_max_vcpus if arguments.flags & _MAXIMUM else part.set_vcpus
    change(uuid, arguments.nvcpus, **where)


@serves("domain_set_vcpu", slow=True)
def set_vcpu(session: Session, arguments: Any) -> None:
    """Plug certain vCPUs into the guest, the definition, or both, or out."""
    part = _part(session, "domain_set_vcpu")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainSetVcpu")
    if arguments.state not in (0, 1):
        raise Failure(8, f"unsupported state {arguments.state}")
    try:
        numbers = set(members(arguments.cpumap))
    except InvalidArgument as error:
        raise Failure(8, f"Failed to parse bitmap '{arguments.cpumap}'") from error
    part.enable_vcpus(uuid, numbers, bool(arguments.state), **where)


@serves("domain_set_memory", slow=True)
def set_memory(session: Session, arguments: Any) -> None:
    """Set the memory of a running domain, given in KiB."""
    part = _part(session, "domain_set_memory")
    size = arguments.memory * 1024
    part.set_memory(session.uuid(arguments.dom), size, live=True, config=False)


@serves("domain_set_memory_flags", slow=True)
def set_memory_flags(session: Session, arguments: Any) -> None:
    """Set the memory of the guest, the definition, or both, given in KiB."""
    part = _part(session, "domain_set_memory_flags")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainSetMemoryFlags", also=_MAXIMUM)
    change = part.set_max_memory if arguments.flags & _MAXIMUM else part.set_memory
    change(uuid, arguments.memory * 1024, **where)


@serves("domain_set_memory_stats_period", slow=True)
def set_memory_stats_period(session: Session, arguments: Any) -> None:
    """Have a guest's balloon tell how its memory is used every so many seconds."""
    part = _part(session, "domain_set_memory_stats_period")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainSetMemoryStatsPeriod")
    if arguments.period < 0:
        said = "period in virDomainSetMemoryStatsPeriod must be zero or greater than zero"
        raise Failure(8, said)
    part.set_memory_stats_period(uuid, arguments.period, **where)


@serves("domain_set_max_memory", slow=True)
def set_max_memory(session: Session, arguments: Any) -> None:
    """Set the most memory that what there is now may have, given in KiB."""
    part = _part(session, "domain_set_max_memory")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, 0, "virDomainSetMaxMemory", also=_MAXIMUM)
    part.set_max_memory(uuid, arguments.memory * 1024, **where)
