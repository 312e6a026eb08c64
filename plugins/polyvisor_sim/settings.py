"""What ``[plugins.sim]`` and ``[plugins.test]`` can say."""

from __future__ import annotations

from polyvisor.driver import Setting
from polyvisor.local import SETTINGS

__all__ = ["SIM", "TEST"]

SIM = SETTINGS
TEST = (
    *SETTINGS,
    Setting("user", str, None, "who one is, where the node file has `<auth>`"),
    Setting("password", str, None, "the password of that user"),
)
