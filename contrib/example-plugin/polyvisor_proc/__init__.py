"""Plain processes as domains: an example of a plugin for polyvisor."""

from __future__ import annotations

from polyvisor.driver import DriverInfo
from polyvisor.hookspecs import hookimpl

__all__ = ["polyvisor_api", "polyvisor_drivers"]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1


@hookimpl
def polyvisor_drivers() -> list[DriverInfo]:
    """Announce ``proc``."""
    return [
        DriverInfo(
            name="proc",
            schemes=("proc",),
            summary="Plain processes",
            factory="polyvisor_proc.driver:ProcDriver",
            probe="polyvisor_proc.probe:usable",
            default_uri="proc:///default",
            target="polyvisor_proc.target:target",
        )
    ]
