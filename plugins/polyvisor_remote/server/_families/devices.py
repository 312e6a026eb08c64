"""Adding and removing devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Devices
    from polyvisor_remote.server.session import Session

# virDomainModificationImpact, and that of a device beside it
_LIVE, _CONFIG, _FORCE = 1, 2, 4


def _part(session: Session, procedure: str) -> Devices:
    part = session.driver.devices
    if part is None:
        raise unsupported(procedure)
    return part


def _where(session: Session, uuid: UUID, flags: int, function: str) -> dict[str, bool]:
    """Return what is to change: what flags say, or what is there now."""
    check_flags(flags, _LIVE | _CONFIG | _FORCE, function)
    if flags & (_LIVE | _CONFIG):
        return {"live": bool(flags & _LIVE), "config": bool(flags & _CONFIG)}
    active = session.driver.domains.status(uuid).state.active
    return {"live": active, "config": not active}


@serves("domain_attach_device", slow=True)
def attach_device(session: Session, arguments: Any) -> None:
    """Add one to a running domain."""
    part = _part(session, "domain_attach_device")
    part.attach(session.uuid(arguments.dom), arguments.xml, live=True, config=False)


@serves("domain_attach_device_flags", slow=True)
def attach_device_flags(session: Session, arguments: Any) -> None:
    """Add one to the guest, the definition, or both."""
    part = _part(session, "domain_attach_device_flags")
    uuid = session.uuid(arguments.dom)
    where = _where(session, uuid, arguments.flags, "virDomainAttachDeviceFlags")
    part.attach(uuid, arguments.xml, **where)


@serves("domain_update_device_flags", slow=True)
def update_device_flags(session: Session, arguments: Any) -> None:
    """Change one of the guest, the definition, or both."""
    part = _part(session, "domain_update_device_flags")
    uuid = session.uuid(arguments.dom)
    where = _where(session, uuid, arguments.flags, "virDomainUpdateDeviceFlags")
    part.update(uuid, arguments.xml, **where)


@serves("domain_detach_device", slow=True)
def detach_device(session: Session, arguments: Any) -> None:
    """Remove one from a running domain."""
    part = _part(session, "domain_detach_device")
    part.detach(session.uuid(arguments.dom), arguments.xml, live=True, config=False)


@serves("domain_detach_device_flags", slow=True)
def detach_device_flags(session: Session, arguments: Any) -> None:
    """Remove one from the guest, the definition, or both."""
    part = _part(session, "domain_detach_device_flags")
    uuid = session.uuid(arguments.dom)
    where = _where(session, uuid, arguments.flags, "virDomainDetachDeviceFlags")
    part.detach(uuid, arguments.xml, **where)
