"""The agent inside the guest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from polyvisor.model.devices.disk import Disk

__all__ = ["AGENT_SECONDS", "GuestAgent"]

#: Seconds that an agent has for its answer unless somebody says otherwise
#: (``VIR_DOMAIN_QEMU_AGENT_COMMAND_DEFAULT``).
AGENT_SECONDS = 5.0


class GuestAgent(ABC):
    """Talks to the QEMU guest agent, or one that speaks as it does, in a running domain.

    What else is asked of an agent (freeze, users, time …) the core makes of :meth:`command`.
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

    def set_timeout(self, uuid: UUID, seconds: float | None) -> None:
        """Say how long its answers are waited for, by those who name no other time.

        They give :data:`AGENT_SECONDS` or ``None`` to :meth:`command`.

        Args:
            uuid: an active domain; it holds as long as that runs.
            seconds: for an answer; ``None``: as long as the agent takes.

        Raises:
            OperationInvalid: it does not run.
            Unsupported: the driver has one time for all.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("this driver waits for all agents alike", feature="guest.agent")

    def disks(self, uuid: UUID) -> Sequence[Disk] | None:
        """Return the domain's disks with the addresses at which its guest sees them.

        Args:
            uuid: an active domain.

        Returns:
            ``None``: they are those that its definition states.
        """
        return None
