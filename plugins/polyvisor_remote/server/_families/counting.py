"""Perf events: which ones a definition wants to have counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from polyvisor_remote.server._families.arguments import impact
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import BOOLEAN

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: ``VIR_TYPED_PARAM_STRING_OKAY``.
_TEXT = 4
_UNSUPPORTED = 84


@serves("domain_get_perf_events", slow=True)
def get_perf_events(session: Session, arguments: Any) -> tuple[list[Any]]:
    """Return which events are counted, of a running guest none, and of a definition its wishes."""
    from polyvisor.model.perf import PerfName

    if session.driver.tuning is None:
        raise unsupported("domain_get_perf_events")
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainGetPerfEvents", also=_TEXT)
    wanted: set[str] = set()
    if not where["live"]:
        perf = session.driver.domains.spec(uuid, inactive=True).perf
        wanted = {one.name for one in perf.events if one.enabled} if perf is not None else set()
    names = get_args(PerfName)
    return (params({name: int(name in wanted) for name in names}, dict.fromkeys(names, BOOLEAN)),)


@serves("domain_set_perf_events", slow=True)
def set_perf_events(session: Session, arguments: Any) -> None:
    """Refuse: the kernel counts an event as long as somebody holds its counter."""
    if session.driver.tuning is None:
        raise unsupported("domain_set_perf_events")
    uuid = session.uuid(arguments.dom)
    impact(session, uuid, arguments.flags, "virDomainSetPerfEvents", also=_TEXT)
    raise Failure(
        _UNSUPPORTED,
        "the kernel counts perf events for a process that holds their counters, and none of "
        "polyvisor's stays beside a guest; count with 'perf stat -p' and the PID of its QEMU",
    )
