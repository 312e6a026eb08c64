"""The error of a message that is not what the protocol says."""

from __future__ import annotations

from polyvisor.errors import ConnectError

__all__ = ["WireError"]


class WireError(ConnectError):
    """A message is malformed, over a cap, or cannot be sent (``VIR_ERR_RPC``)."""

    code = "wire"
    libvirt = 39
