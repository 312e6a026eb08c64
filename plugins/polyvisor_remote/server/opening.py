"""From what a client names to the connection that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polyvisor
from polyvisor.errors import UriError
from polyvisor.uri import ConnectionUri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polyvisor.config import Config
    from polyvisor.connection import Connection
    from polyvisor_remote.server.client import Identity
    from polyvisor_remote.server.server import Access
    from polyvisor_remote.wire import Procedure

__all__ = ["guard", "opener"]


def opener(config: Config, schemes: Sequence[str] = ()) -> Callable[[str | None, bool], Connection]:
    """Return what opens connections for clients.

    A URI that a configured connection has gets that connection, with its settings; any
    other is opened as it is. None means the configured default.

    Args:
        config: the configuration.
        schemes: URI schemes that clients may open; none: all.
    """
    named = {str(ConnectionUri.parse(one.uri)): name for name, one in config.connections.items()}

    def open_(target: str | None, readonly: bool) -> Connection:
        if target is None:
            return polyvisor.open(None, readonly=readonly, config=config)
        uri = ConnectionUri.parse(target)
        if uri.transport is not None:
            raise UriError(
                f"{target}: this daemon opens hypervisors on its own host alone; connect to "
                f"the other host instead"
            )
        if schemes and uri.scheme not in schemes:
            raise UriError(f"{target}: this daemon serves {', '.join(schemes)} alone")
        return polyvisor.open(named.get(str(uri), str(uri)), readonly=readonly, config=config)

    return open_


def guard(config: Config) -> Access | None:
    """Return what asks plugins whether a client may call something; ``None`` if none cares."""
    from polyvisor.connection import registry

    plugins = registry(config)
    if not plugins.guards_remote_calls:
        return None

    def access(identity: Identity, procedure: Procedure, arguments: Any) -> bool:
        needed = tuple(
            f"{one.object}:{one.action}"
            for one in procedure.permissions
            if one.condition is None or one.condition.holds(arguments)
        )
        plugins.remote_call(identity.name, procedure.name, needed, arguments)
        return True

    return access
