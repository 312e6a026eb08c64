"""What every driver can be told whose guests polyvisor keeps itself."""

from __future__ import annotations

from polyvisor.driver import Setting

__all__ = ["SETTINGS"]

#: The settings that :class:`LocalDriver` reads, for a driver to declare with its own.
SETTINGS = (
    Setting(
        "lock_timeout",
        float,
        30.0,
        "seconds to wait for a domain that another operation holds, before `Busy`",
    ),
)
