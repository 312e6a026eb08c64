"""Finding domains, and what can be said of each at once."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import NotFound
from polyvisor.states import DomainState
from polyvisor_remote.server._families.arguments import (
    check_flags,
    memory_kib,
    reference,
    summary_reference,
)
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.numbers import STATES, ListDomains, reason_number
from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polyvisor.states import DomainSummary
    from polyvisor_remote.server.session import Session

_ALL = int(~ListDomains(0))
#: Domains that an answer has at most (``REMOTE_DOMAIN_LIST_MAX``).
_DOMAINS_MAX = 16384
_domain = program("remote").structure("domain").codec
_pack_count = struct.Struct(">I").pack
_L = ListDomains
#: Pairs and groups: a domain passes if it has one of the properties asked for in each.
#: Plain numbers, with which to reckon takes a tenth of the time.
_ACTIVE, _INACTIVE = int(_L.ACTIVE), int(_L.INACTIVE)
_GROUPS = tuple(
    map(
        int,
        (
            _L.PERSISTENT | _L.TRANSIENT,
            _L.RUNNING | _L.PAUSED | _L.SHUTOFF | _L.OTHER,
            _L.MANAGEDSAVE | _L.NO_MANAGEDSAVE,
            _L.AUTOSTART | _L.NO_AUTOSTART,
            _L.HAS_SNAPSHOT | _L.NO_SNAPSHOT,
            _L.HAS_CHECKPOINT | _L.NO_CHECKPOINT,
        ),
    )
)
_CHOICES = sum(_GROUPS)
_SNAPSHOTS = int(_L.HAS_SNAPSHOT | _L.NO_SNAPSHOT)
_STATES = {
    DomainState.RUNNING: _L.RUNNING,
    DomainState.PAUSED: _L.PAUSED,
    DomainState.SHUTOFF: _L.SHUTOFF,
}


def kinds(flags: int) -> dict[str, bool]:
    """Return which of active and inactive domains the flags of a list let through."""
    asked = flags & (_ACTIVE | _INACTIVE)
    return {"active": asked != _INACTIVE, "inactive": asked != _ACTIVE}


def choice(session: Session, flags: int) -> Callable[[DomainSummary], bool] | None:
    """Return what says of a domain whether the other flags choose it; ``None``: they do."""
    if not flags & _CHOICES:
        return None
    asked = [flags & group for group in _GROUPS if flags & group]
    snapshots = bool(flags & _SNAPSHOTS)
    return lambda one: all(_properties(session, one, snapshots) & group for group in asked)


def _chosen(session: Session, flags: int) -> Sequence[DomainSummary]:
    """Return the domains that the flags of a list choose."""
    found = session.driver.domains.summaries(**kinds(flags))
    test = choice(session, flags)
    return found if test is None else [one for one in found if test(one)]


def _properties(session: Session, one: DomainSummary, snapshots: bool) -> int:
    has = (
        (_L.PERSISTENT if one.persistent else _L.TRANSIENT)
        | _STATES.get(one.state, _L.OTHER)
        | (_L.MANAGEDSAVE if one.managed_save else _L.NO_MANAGEDSAVE)
        | (_L.AUTOSTART if one.autostart else _L.NO_AUTOSTART)
        | _L.NO_CHECKPOINT
    )
    if snapshots:
        part = session.driver.snapshots
        has |= _L.HAS_SNAPSHOT if part is not None and part.list(one.uuid) else _L.NO_SNAPSHOT
    return int(has)


def kept_references(session: Session, found: Sequence[DomainSummary]) -> list[bytes]:
    """Return domains as clients know them, encoded.

    What was made for the last list is kept: that a list is the same is seen by its values
    being the same ones, which takes a hundredth of the time of making it.
    """
    kept = session.shared.kept
    before: tuple[Sequence[DomainSummary], list[bytes]] = kept.get("references", ((), []))
    if before[0] != found:
        encode = _domain.encode
        before = (found, [encode(summary_reference(one)) for one in found])
        kept["references"] = before
    return before[1]


@serves("connect_list_all_domains")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int] | bytes:
    """Return the domains that flags choose, or how many they are."""
    flags = arguments.flags
    check_flags(flags, _ALL, "virConnectListAllDomains")
    found = _chosen(session, flags)
    if not arguments.need_results:
        return [], len(found)
    if len(found) > _DOMAINS_MAX:
        raise Failure(39, f"{len(found)} domains are more than the {_DOMAINS_MAX} of one answer")
    count = _pack_count(len(found))
    return b"".join((count, *kept_references(session, found), count))


@serves("connect_num_of_domains")
def num_of_domains(session: Session, arguments: Any) -> tuple[int]:
    """Count the active ones."""
    return (len(session.driver.domains.list(inactive=False)),)


@serves("connect_num_of_defined_domains")
def num_of_defined_domains(session: Session, arguments: Any) -> tuple[int]:
    """Count the inactive ones."""
    return (len(session.driver.domains.list(active=False)),)


@serves("connect_list_domains")
def list_domains(session: Session, arguments: Any) -> tuple[list[int]]:
    """Return the numbers of the active ones."""
    found = session.driver.domains.summaries(inactive=False)
    numbers = [one.id for one in found if one.id is not None]
    return (numbers[: max(0, arguments.maxids)],)


@serves("connect_list_defined_domains")
def list_defined_domains(session: Session, arguments: Any) -> tuple[list[str]]:
    """Return the names of the inactive ones."""
    found = session.driver.domains.summaries(active=False)
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@serves("domain_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    domains = session.driver.domains
    try:
        uuid = domains.by_name(arguments.name)
    except NotFound as error:
        raise NotFound(f"no domain with matching name '{arguments.name}'") from error
    return (summary_reference(domains.summary(uuid)),)


@serves("domain_lookup_by_id")
def lookup_by_id(session: Session, arguments: Any) -> tuple[Any]:
    """Find an active one by its number."""
    domains = session.driver.domains
    try:
        uuid = domains.by_id(arguments.id)
    except NotFound as error:
        raise NotFound(f"no domain with matching id {arguments.id}") from error
    return (summary_reference(domains.summary(uuid)),)


@serves("domain_lookup_by_uuid")
def lookup_by_uuid(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its UUID."""
    uuid = UUID(bytes=arguments.uuid)
    try:
        return (reference(session, uuid),)
    except NotFound as error:
        raise NotFound(f"no domain with matching uuid '{uuid}'") from error


@serves("domain_get_state")
def get_state(session: Session, arguments: Any) -> tuple[int, int]:
    """Return the state and why."""
    check_flags(arguments.flags, 0, "virDomainGetState")
    status = session.driver.domains.status(UUID(bytes=arguments.dom.uuid))
    return STATES[status.state], reason_number(status.state, status.reason)


@serves("domain_get_info")
def get_info(session: Session, arguments: Any) -> tuple[int, int, int, int, int]:
    """Return state, memory, processors and time."""
    info = session.driver.domains.info(UUID(bytes=arguments.dom.uuid))
    return (
        STATES[info.state],
        memory_kib(info.max_memory),
        memory_kib(info.memory),
        info.vcpus,
        int((info.cpu_time or 0.0) * 1e9),
    )


@serves("domain_get_os_type")
def get_os_type(session: Session, arguments: Any) -> tuple[str]:
    """Return how it boots."""
    return (session.driver.domains.info(UUID(bytes=arguments.dom.uuid)).os_type,)


@serves("domain_get_max_memory")
def get_max_memory(session: Session, arguments: Any) -> tuple[int]:
    """Return the memory that it may have at most, in KiB."""
    return (memory_kib(session.driver.domains.info(UUID(bytes=arguments.dom.uuid)).max_memory),)


@serves("domain_is_active")
def is_active(session: Session, arguments: Any) -> tuple[int]:
    """Say whether there is a guest."""
    one = session.driver.domains.summary(UUID(bytes=arguments.dom.uuid))
    return (int(one.state.active),)


@serves("domain_is_persistent")
def is_persistent(session: Session, arguments: Any) -> tuple[int]:
    """Say whether there is a definition."""
    return (int(session.driver.domains.summary(UUID(bytes=arguments.dom.uuid)).persistent),)


@serves("domain_is_updated")
def is_updated(session: Session, arguments: Any) -> tuple[int]:
    """Say that what is told of one is what there is, as libvirt does of any."""
    session.driver.domains.summary(UUID(bytes=arguments.dom.uuid))
    return (0,)


@serves("domain_get_autostart")
def get_autostart(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it starts with the host."""
    return (int(session.driver.domains.summary(UUID(bytes=arguments.dom.uuid)).autostart),)


@serves("domain_set_autostart", slow=True)
def set_autostart(session: Session, arguments: Any) -> None:
    """Have it start with the host, or not."""
    session.driver.domains.set_autostart(UUID(bytes=arguments.dom.uuid), bool(arguments.autostart))


@serves("domain_get_messages")
def get_messages(session: Session, arguments: Any) -> tuple[list[str]]:
    """Return what is odd about it: drivers report nothing of the kind."""
    check_flags(arguments.flags, 3, "virDomainGetMessages")
    session.driver.domains.summary(UUID(bytes=arguments.dom.uuid))
    return ([],)
