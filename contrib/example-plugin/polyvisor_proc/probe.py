"""Whether the plugin works on this machine."""

from __future__ import annotations

import os

from polyvisor.driver import Usability

__all__ = ["usable"]


def usable() -> Usability:
    """Say whether processes can be told apart and waited for."""
    if not os.path.exists("/proc/self/stat"):
        return Usability(False, "there is no /proc", "mount -t proc proc /proc")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return Usability(False, "the kernel has no pidfd_open", "use Linux 5.3 or later")
    return Usability(True)
