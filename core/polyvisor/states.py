"""The states of a domain, and why it is in them.

The words are those that ``virsh domstate --reason`` prints.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any
    from uuid import UUID

    from polyvisor._figures import DomainInfo, DomainStatus

__all__ = ["DomainInfo", "DomainState", "DomainStatus", "DomainSummary", "StateReason"]


class DomainState(StrEnum):
    """What a domain is doing (``virDomainState``)."""

    NOSTATE = "no state"
    RUNNING = "running"
    BLOCKED = "idle"
    PAUSED = "paused"
    SHUTDOWN = "in shutdown"
    SHUTOFF = "shut off"
    CRASHED = "crashed"
    PMSUSPENDED = "pmsuspended"

    @property
    def active(self) -> bool:
        """Whether the hypervisor holds a guest for the domain."""
        return self is not DomainState.SHUTOFF and self is not DomainState.NOSTATE


class StateReason(StrEnum):
    """Why a domain came into its state (``virDomain*Reason``)."""

    UNKNOWN = "unknown"
    # running
    BOOTED = "booted"
    MIGRATED = "migrated"
    RESTORED = "restored"
    FROM_SNAPSHOT = "from snapshot"
    UNPAUSED = "unpaused"
    MIGRATION_CANCELED = "migration canceled"
    SAVE_CANCELED = "save canceled"
    WAKEUP = "event wakeup"
    POSTCOPY = "post-copy"
    POSTCOPY_FAILED = "post-copy failed"
    # paused
    USER = "user"
    MIGRATING = "migrating"
    SAVING = "saving"
    DUMPING = "dumping"
    IOERROR = "I/O error"
    WATCHDOG = "watchdog"
    SHUTTING_DOWN = "shutting down"
    CREATING_SNAPSHOT = "creating snapshot"
    STARTING_UP = "starting up"
    # crashed, or shut off after it
    PANICKED = "panicked"
    CRASHED = "crashed"
    # shut off
    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    SAVED = "saved"
    FAILED = "failed"


@attrs.frozen
class DomainSummary:
    """One line of a domain list.

    Attributes:
        uuid: the domain's UUID.
        name: its name.
        id: the hypervisor's number for it while it is active, else ``None``.
        state: its state.
        reason: why.
        persistent: whether a definition is kept when it stops.
        autostart: whether it starts with the host.
        managed_save: whether the next start resumes from a managed save image.
        title: its short title, or ``None``.
    """

    uuid: UUID
    name: str
    id: int | None
    state: DomainState
    reason: StateReason
    persistent: bool = True
    autostart: bool = False
    managed_save: bool = False
    title: str | None = None


# What is asked of one domain; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(__name__, {"DomainInfo": "_figures", "DomainStatus": "_figures"})
