"""Who a client is: what must be settled before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server.dispatch import serves

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

# remote_auth_type
_NONE, _SASL = 0, 1


@serves("auth_list", needs="nothing")
def auth_list(session: Session, arguments: Any) -> tuple[list[int]]:
    """Say how to authenticate; not at all, where the kernel or TLS has said who it is."""
    return ([_NONE if session.client.authenticated else _SASL],)
