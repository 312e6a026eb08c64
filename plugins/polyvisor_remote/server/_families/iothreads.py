"""I/O threads: where they run, and which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import impact, need
from polyvisor_remote.server._families.tuning import cpumap, part_of, pin
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.wire import mapping

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import Resources
    from polyvisor_remote.server.session import Session

_INVALID_ARG, _CONFIG_UNSUPPORTED, _NO_CONFIG = 8, 67, 84
_MOST = (1 << 31) - 1
_POLLING = ("poll_max_ns", "poll_grow", "poll_shrink")


@serves("domain_get_iothread_info", slow=True)
def get_iothread_info(session: Session, arguments: Any) -> tuple[list[tuple[int, bytes]], int]:
    """Return where each I/O thread may run."""
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, "virDomainGetIOThreadInfo")
    pins = part_of(session, "domain_get_iothread_info").pins(uuid, live=where["live"])
    length = (session.driver.host().cpus + 7) // 8
    found = [
        (int(name.removeprefix("iothread")), cpumap(cpus, length))
        for name, cpus in pins.items()
        if isinstance(name, str) and name.startswith("iothread")
    ]
    return found, len(found)


@serves("domain_pin_iothread", slow=True)
def pin_iothread(session: Session, arguments: Any) -> None:
    """Let an I/O thread run on some CPUs only."""
    which, function = f"iothread{arguments.iothreads_id}", "virDomainPinIOThread"
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, function)
    if which not in part_of(session, "domain_pin_iothread").pins(uuid, live=where["live"]):
        kind = "iothread" if where["live"] else "iothreadid"
        raise Failure(8, f"{kind} {arguments.iothreads_id} not found")
    pin(session, arguments, which, arguments.flags, function)


def _changed(session: Session, arguments: Any, procedure: str, function: str) -> Any:
    """Return the part, the domain, the thread's number, and where it is to be changed."""
    number = arguments.iothread_id
    if number == 0:
        raise Failure(_INVALID_ARG, "invalid value of 0 for iothread_id")
    if not session.connection.support.usable("devices.iothreads"):
        raise unsupported(procedure)
    part: Resources = need(session.driver.resources, procedure)
    uuid = session.uuid(arguments.dom)
    return part, uuid, number, impact(session, uuid, arguments.flags, function)


def _there(session: Session, uuid: UUID, where: dict[str, bool]) -> list[set[int]]:
    """Return the threads of each definition that is to be changed, the kept one first."""
    pins = part_of(session, "domain_get_iothread_info").pins
    return [
        {
            int(name.removeprefix("iothread"))
            for name in pins(uuid, live=live)
            if isinstance(name, str) and name.startswith("iothread")
        }
        for live, wanted in ((False, where["config"]), (True, where["live"]))
        if wanted
    ]


@serves("domain_add_iothread", slow=True)
def add_iothread(session: Session, arguments: Any) -> None:
    """Add an I/O thread."""
    part, uuid, number, where = _changed(
        session, arguments, "domain_add_iothread", "virDomainAddIOThread"
    )
    if any(number in known for known in _there(session, uuid, where)):
        raise Failure(_INVALID_ARG, f"an IOThread is already using iothread_id '{number}'")
    part.add_iothread(uuid, number, **where)


@serves("domain_del_iothread", slow=True)
def del_iothread(session: Session, arguments: Any) -> None:
    """Remove an I/O thread."""
    part, uuid, number, where = _changed(
        session, arguments, "domain_del_iothread", "virDomainDelIOThread"
    )
    if any(number not in known for known in _there(session, uuid, where)):
        raise Failure(_INVALID_ARG, f"cannot find IOThread '{number}' in iothreadids list")
    part.remove_iothread(uuid, number, **where)


@serves("domain_set_iothread_params", slow=True)
def set_iothread_params(session: Session, arguments: Any) -> None:
    """Set how an I/O thread works."""
    part, uuid, number, where = _changed(
        session, arguments, "domain_set_iothread_params", "virDomainSetIOThreadParams"
    )
    if any(number not in known for known in _there(session, uuid, where)):
        raise Failure(_INVALID_ARG, f"cannot find IOThread '{number}' in iothreadids")
    values = mapping(arguments.params)
    if where["config"] and any(name in values for name in _POLLING):
        raise Failure(_NO_CONFIG, "configuring persistent polling values is not supported")
    for name in _POLLING:
        if values.get(name, 0) > _MOST:
            said = (
                f"{name.replace('_', '-')} ({values[name]}) must be less than or equal to {_MOST}"
            )
            raise Failure(_CONFIG_UNSUPPORTED, said)
    part.set_iothread(uuid, number, values, **where)
