"""Descriptors that come with calls and go with answers."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor_remote.server.client import Client

__all__ = ["Files", "announced"]

_INVALID_ARG, _ARGUMENT_UNSUPPORTED = 8, 74
_u32 = Struct(">I")
# Where the kind stands in a message's header, and where that ends.
_KIND, _HEADER = 16, 28


class Files:
    """What came with a call, and what is to go with its answer.

    Args:
        client: who calls.
        received: what came, which is closed when the call is over.

    Attributes:
        given: what goes with the answer, and is closed then; nothing goes with an error.
    """

    def __init__(self, client: Client, received: Sequence[int]) -> None:
        self.received = received
        self.given: list[int] = []
        self._client = client

    def need(self, count: int) -> Sequence[int]:
        """Return what came, if it is as many.

        Raises:
            Failure: it is not, or none can come.
        """
        if not self._client.transport.files:
            raise Failure(_ARGUMENT_UNSUPPORTED, "fd passing is not supported by this connection")
        if len(self.received) != count:
            raise Failure(
                _INVALID_ARG, f"{count} descriptors are needed, {len(self.received)} came"
            )
        return self.received


def announced(reply: bytes, count: int) -> bytes:
    """Return a reply that says how many descriptors come after it."""
    return b"".join((
        _u32.pack(len(reply) + _u32.size), reply[_u32.size : _KIND],
        _u32.pack(Kind.REPLY_WITH_FDS), reply[_KIND + _u32.size : _HEADER], _u32.pack(count),
        reply[_HEADER:],
    ))  # fmt: skip
