"""libvirt's clients served by polyvisor's drivers.

``server``      takes clients in and has their calls answered
``loop``        waits for sockets; ``crew``: threads for what takes long
``client``      one client: its messages, its queue, its limits
``session``     what a client has opened, and the connections that clients share
``dispatch``    which function serves which procedure; the functions are in ``_families``
``streams``     data that follows a call
``failures``    errors in libvirt's numbers and words; ``numbers``: states and events
``listening``   local sockets and TCP; ``tls``: certificates; ``scram``: passwords
``settings``    ``[plugins.remote]``; ``opening``: what clients may open
``daemon``      the process: signals, systemd
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor_remote.server.server import Server

__all__ = ["Server"]


def __getattr__(name: str) -> Any:
    # The client reads tables of this package and needs none of the rest.
    if name == "Server":
        from polyvisor_remote.server.server import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
