"""The agent inside the guest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["GuestAgent"]


class GuestAgent(ABC):
    """Talks to the QEMU guest agent, or one that speaks as it does, in a running domain.

    One method: what else is asked of an agent (freeze, users, time …) the core makes of it.
    """

    @abstractmethod
    def command(self, uuid: UUID, command: str, *, timeout: float | None) -> str:
        """Send a command and return the agent's answer, both as JSON text.

        Args:
            uuid: an active domain.
            command: such as ``{"execute": "guest-ping"}``.
            timeout: seconds to wait for the answer; ``None``: as long as the agent takes.

        Raises:
            OperationInvalid: the domain has no channel for an agent.
            Timeout: the agent did not answer, or does not run.
            HypervisorError: the agent refused; its class and words are in the error.
        """
