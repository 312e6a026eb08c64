"""One Python API over many hypervisors, every one of them a plugin.

::

    import polyvisor

    with polyvisor.open() as host:
        for domain in host.domains:
            print(domain.name, domain.state)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach
from polyvisor._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.connection import Connection, open  # noqa: A004
    from polyvisor.domain import Domain
    from polyvisor.errors import PolyvisorError
    from polyvisor.events import Event, EventKind
    from polyvisor.hookspecs import hookimpl
    from polyvisor.host import HostInfo
    from polyvisor.jobs import JobProgress
    from polyvisor.model import DomainSpec
    from polyvisor.states import DomainInfo, DomainState, DomainStatus, StateReason

__all__ = [
    "Connection",
    "Domain",
    "DomainInfo",
    "DomainSpec",
    "DomainState",
    "DomainStatus",
    "Event",
    "EventKind",
    "HostInfo",
    "JobProgress",
    "PolyvisorError",
    "StateReason",
    "__version__",
    "hookimpl",
    "open",
]

# Where each public name lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "Connection": "connection",
        "Domain": "domain",
        "DomainInfo": "states",
        "DomainSpec": "model",
        "DomainState": "states",
        "DomainStatus": "states",
        "Event": "events",
        "EventKind": "events",
        "HostInfo": "host",
        "JobProgress": "jobs",
        "PolyvisorError": "errors",
        "StateReason": "states",
        "hookimpl": "hookspecs",
        "open": "connection",
    },
)
