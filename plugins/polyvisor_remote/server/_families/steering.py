"""Changing a migration that is under way, whoever drives it.

What the client that drives it says between begin and perform counts from its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import MigrationLimits, Steering
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.migration import departures
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, function_name, unsupported

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: ``VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY``.
_AFTER_THE_SWITCH = 1
_MIB = 1 << 20
#: What stands for no limit (``QEMU_DOMAIN_MIG_BANDWIDTH_MAX``), in MiB per second.
_NO_LIMIT = ((1 << 63) - 1) // _MIB
_INVALID = 55


def _steer(session: Session, arguments: Any, procedure: str, known: int, **wish: Any) -> None:
    check_flags(arguments.flags, known, function_name(procedure))
    part = need(session.driver.migration, procedure)
    if not session.connection.support.usable("migration.steering"):
        raise unsupported(procedure)
    uuid = session.uuid(arguments.dom)
    departure = departures(session).get(uuid)
    if departure is None and "post_copy" in wish:
        part.steer(uuid, Steering(**wish))
    elif departure is None:
        part.set_limits(uuid, MigrationLimits(**wish))
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


def _limits(session: Session, arguments: Any, procedure: str, known: int) -> MigrationLimits:
    check_flags(arguments.flags, known, function_name(procedure))
    part = need(session.driver.migration, procedure)
    if not session.connection.support.usable("migration.limits"):
        raise unsupported(procedure)
    uuid = session.uuid(arguments.dom)
    if not session.driver.domains.summary(uuid).state.active:
        if procedure == "domain_migrate_get_max_speed":
            return MigrationLimits()
        raise Failure(_INVALID, "domain is not running")
    return part.limits(uuid)


@serves("domain_migrate_get_max_speed", slow=True)
def get_max_speed(session: Session, arguments: Any) -> tuple[int]:
    """Return how much may be sent in a second, in MiB."""
    limits = _limits(session, arguments, "domain_migrate_get_max_speed", _AFTER_THE_SWITCH)
    if arguments.flags & _AFTER_THE_SWITCH:
        return ((limits.post_copy_bandwidth or 0) // _MIB,)
    return (_NO_LIMIT if limits.bandwidth is None else limits.bandwidth // _MIB,)


@serves("domain_migrate_get_max_downtime", slow=True)
def get_max_downtime(session: Session, arguments: Any) -> tuple[int]:
    """Return for how many milliseconds the guest may stand still."""
    limits = _limits(session, arguments, "domain_migrate_get_max_downtime", 0)
    if limits.downtime is None:
        raise unsupported("domain_migrate_get_max_downtime")
    return (round(limits.downtime * 1000),)


@serves("domain_migrate_get_compression_cache", slow=True)
def get_compression_cache(session: Session, arguments: Any) -> tuple[int]:
    """Return how many bytes are kept to compare with."""
    limits = _limits(session, arguments, "domain_migrate_get_compression_cache", 0)
    if limits.xbzrle_cache is None:
        raise unsupported("domain_migrate_get_compression_cache")
    return (limits.xbzrle_cache,)


@serves("domain_migrate_set_compression_cache", slow=True)
def set_compression_cache(session: Session, arguments: Any) -> None:
    """Set how many bytes are kept to compare with, from the next migration on."""
    limits = _limits(session, arguments, "domain_migrate_set_compression_cache", 0)
    if limits.xbzrle_cache is None:
        raise unsupported("domain_migrate_set_compression_cache")
    part = need(session.driver.migration, "domain_migrate_set_compression_cache")
    wanted = MigrationLimits(xbzrle_cache=arguments.cacheSize)
    part.set_limits(session.uuid(arguments.dom), wanted)
