"""Changing a migration that is under way, whoever drives it.

What the client that drives it says between begin and perform counts from its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import Steering
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.migration import departures
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import function_name, unsupported

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: ``VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY``.
_AFTER_THE_SWITCH = 1
_MIB = 1 << 20


def _steer(session: Session, arguments: Any, procedure: str, known: int, **wish: Any) -> None:
    check_flags(arguments.flags, known, function_name(procedure))
    part = need(session.driver.migration, procedure)
    if not session.connection.support.usable("migration.steering"):
        raise unsupported(procedure)
    uuid = session.uuid(arguments.dom)
    departure = departures(session).get(uuid)
    if departure is None:
        part.steer(uuid, Steering(**wish))
    else:
        departure.job.wish(**wish)


@serves("domain_migrate_set_max_downtime", slow=True)
def set_max_downtime(session: Session, arguments: Any) -> None:
    """Change how long the guest may stand still; the call has milliseconds."""
    downtime = arguments.downtime / 1000
    _steer(session, arguments, "domain_migrate_set_max_downtime", 0, downtime=downtime)


@serves("domain_migrate_set_max_speed", slow=True)
def set_max_speed(session: Session, arguments: Any) -> None:
    """Change how much is sent in a second; the call has MiB."""
    later = bool(arguments.flags & _AFTER_THE_SWITCH)
    wish = {"post_copy_bandwidth" if later else "bandwidth": arguments.bandwidth * _MIB}
    _steer(session, arguments, "domain_migrate_set_max_speed", _AFTER_THE_SWITCH, **wish)


@serves("domain_migrate_start_post_copy", slow=True)
def start_post_copy(session: Session, arguments: Any) -> None:
    """Switch to the destination now."""
    _steer(session, arguments, "domain_migrate_start_post_copy", 0, post_copy=True)
