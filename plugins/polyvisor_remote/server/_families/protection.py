"""What keeps a guest's memory from its host (SEV), which no driver of ours has guests with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: ``VIR_TYPED_PARAM_STRING_OKAY``.
_TEXT = 4
_INVALID, _UNSUPPORTED = 55, 84


def _need_virtual_machines(session: Session, procedure: str) -> None:
    """Refuse where the host runs nothing that could be protected so."""
    if session.driver.debug is None:
        raise unsupported(procedure)


@serves("node_get_sev_info", slow=True)
def node_get_sev_info(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Say what the host's SEV is like: here it has none."""
    check_flags(arguments.flags, _TEXT, "virNodeGetSEVInfo")
    _need_virtual_machines(session, "node_get_sev_info")
    features = session.driver.domain_capabilities().features
    if features is None or features.sev is None or not features.sev.supported:
        raise Failure(_UNSUPPORTED, "QEMU does not support SEV guest")
    raise unsupported("node_get_sev_info")


@serves("domain_get_launch_security_info", slow=True)
def get_launch_security_info(session: Session, arguments: Any) -> tuple[list[Any]]:
    """Return what is known of a guest's protection: nothing of one that has none."""
    check_flags(arguments.flags, _TEXT, "virDomainGetLaunchSecurityInfo")
    _need_virtual_machines(session, "domain_get_launch_security_info")
    uuid = session.uuid(arguments.dom)
    if session.driver.domains.spec(uuid).launch_security is None:
        return ([],)
    # A guest that has it cannot be started, so that there is nothing to measure.
    raise Failure(_INVALID, "domain is not running")


@serves("domain_set_launch_security_state", slow=True)
def set_launch_security_state(session: Session, arguments: Any) -> None:
    """Put a secret into a guest's memory: no guest here takes any."""
    check_flags(arguments.flags, 0, "virDomainSetLaunchSecurityState")
    _need_virtual_machines(session, "domain_set_launch_security_state")
    session.driver.domains.status(session.uuid(arguments.dom))
    raise Failure(_UNSUPPORTED, "QEMU does not support setting launch security state")
