"""How much of the host a domain has: virtual CPUs and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Resources
    from polyvisor_remote.server.session import Session

# virDomainModificationImpact
_LIVE, _CONFIG = 1, 2


def _part(session: Session, procedure: str) -> Resources:
    part = session.driver.resources
    if part is None:
        raise unsupported(procedure)
    return part


def _where(session: Session, uuid: UUID, flags: int, function: str) -> dict[str, bool]:
    """Return what is to change: what flags say, or what is there now."""
    check_flags(flags, _LIVE | _CONFIG, function)
    if flags:
        return {"live": bool(flags & _LIVE), "config": bool(flags & _CONFIG)}
    active = session.driver.domains.status(uuid).state.active
    return {"live": active, "config": not active}


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
    where = _where(session, uuid, arguments.flags, "virDomainSetVcpusFlags")
    part.set_vcpus(uuid, arguments.nvcpus, **where)


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
    where = _where(session, uuid, arguments.flags, "virDomainSetMemoryFlags")
    part.set_memory(uuid, arguments.memory * 1024, **where)
