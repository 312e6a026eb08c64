"""Adding and removing devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import impact, need
from polyvisor_remote.server.dispatch import serves

if TYPE_CHECKING:
    from polyvisor.driver import Devices
    from polyvisor_remote.server.session import Session

#: ``VIR_DOMAIN_DEVICE_MODIFY_FORCE``.
_FORCE = 4


def _part(session: Session, procedure: str) -> Devices:
    return need(session.driver.devices, procedure)


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
    where = impact(session, uuid, arguments.flags, "virDomainAttachDeviceFlags", also=_FORCE)
    part.attach(uuid, arguments.xml, **where)


@serves("domain_update_device_flags", slow=True)
def update_device_flags(session: Session, arguments: Any) -> None:
    """Change one of the guest, the definition, or both."""
    part = _part(session, "domain_update_device_flags")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainUpdateDeviceFlags", also=_FORCE)
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
    where = impact(session, uuid, arguments.flags, "virDomainDetachDeviceFlags", also=_FORCE)
    part.detach(uuid, arguments.xml, **where)


@serves("domain_detach_device_alias", slow=True)
def detach_device_alias(session: Session, arguments: Any) -> None:
    """Remove the one of a name from the guest, the definition, or both."""
    part = _part(session, "domain_detach_device_alias")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainDetachDeviceAlias")
    part.detach_alias(uuid, arguments.alias, **where)
