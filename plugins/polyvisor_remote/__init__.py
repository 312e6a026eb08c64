"""libvirt's wire protocol, both ways.

``wire``    the protocol without sockets: declared procedures, codecs, framing
``server``  polyvisord, which serves any plugin to libvirt's own clients
``client``  the driver that uses any libvirtd or polyvisord
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.hookspecs import hookimpl

if TYPE_CHECKING:
    from polyvisor.driver import DriverInfo

__all__ = ["polyvisor_api", "polyvisor_drivers"]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1


@hookimpl
def polyvisor_drivers() -> list[DriverInfo]:
    """Announce the driver of other hosts' drivers."""
    from polyvisor.driver import DriverInfo

    return [
        DriverInfo(
            name="remote",
            schemes=(),
            transports=("unix", "tcp", "tls", "ssh", "ext"),
            summary="any driver of a libvirtd or polyvisord, here or on another host",
            factory="polyvisor_remote.client.driver:RemoteDriver",
            target="polyvisor_remote.conformance:target",
            settings="polyvisor_remote.settings:SETTINGS",
        )
    ]
