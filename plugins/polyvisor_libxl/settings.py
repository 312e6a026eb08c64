"""What ``[plugins.libxl]`` can say."""

from __future__ import annotations

from polyvisor.driver import Setting
from polyvisor.local import SETTINGS as LOCAL

__all__ = ["SETTINGS"]

SETTINGS = (
    Setting("library", str, None, "path of the libxenlight to use, instead of the one installed"),
    Setting(
        "autoballoon",
        bool | str,
        "auto",
        'whether the control domain gives up memory for guests; `"auto"`: unless Xen\'s command '
        "line gives it a fixed amount (`dom0_mem=`)",
    ),
    Setting(
        "migration_ports", list, [49152, 49215], "first and last TCP port for streams of migrations"
    ),
    Setting("migration_address", str, "::", "address to listen on for them; `::`: all"),
    Setting(
        "migration_host",
        str,
        None,
        "host that sources are told to connect to: `migration_address` if that is one address, "
        "else the host's name",
    ),
    *LOCAL,
)
