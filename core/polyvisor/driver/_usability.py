"""What a probe answers."""

from __future__ import annotations

import attrs

__all__ = ["Usability"]


@attrs.frozen
class Usability:
    """Whether a driver can work on this machine.

    Attributes:
        usable: whether it can.
        reason: what is missing, or which version was found.
        remedy: what to install or do, such as ``"apt install qemu-system-x86"``.
    """

    usable: bool
    reason: str = ""
    remedy: str = ""
