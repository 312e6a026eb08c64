"""What a store keeps of a domain."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.states import DomainState, DomainSummary, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.state._document import Document

__all__ = ["Record"]


@attrs.frozen(eq=False)
class Record:
    """One domain.

    Attributes:
        uuid: its UUID.
        name: its name.
        definition: what counts from its next start; ``None`` for a transient one.
        live: what runs, while it is active.
        id: its number while it is active.
        state: its state.
        reason: why.
        autostart: whether it starts with the host.
        title: its short title.
        managed_save: path of its managed save image.
        runtime: what the hypervisor keeps about the guest, plain JSON values; never
            changed in place.
        run_dir: folder of the running guest.
        boot_id: the boot of the host in which it was started.
        intent: an operation under way, plain JSON values with the key ``"op"``; what a
            killed process leaves here tells the next one what to clear up.
        owner: the process whose end destroys the domain, as ``"pid:start time"``.
        job: the figures of its last job that was completed, as JSON, which few readers read.
    """

    uuid: UUID
    name: str
    definition: Document | None = None
    live: Document | None = None
    id: int | None = None
    state: DomainState = DomainState.SHUTOFF
    reason: StateReason = StateReason.UNKNOWN
    autostart: bool = False
    title: str | None = None
    managed_save: str | None = None
    runtime: dict[str, Any] = attrs.field(factory=dict)
    run_dir: str | None = None
    boot_id: str | None = None
    intent: dict[str, Any] | None = None
    owner: str | None = None
    job: str | None = None

    @property
    def persistent(self) -> bool:
        """Whether a definition is kept when it stops."""
        return self.definition is not None

    @property
    def active(self) -> bool:
        """Whether the hypervisor holds, or is about to hold, a guest for it."""
        return self.id is not None

    @cached_property
    def kept(self) -> dict[str, Any]:
        """What is worked out from the record and kept with it, by names of who does so.

        Never stored, and not handed on to a record that is made from this one.
        """
        return {}

    @cached_property
    def summary(self) -> DomainSummary:
        """Its line in a list of domains: the same one as long as the record is the same."""
        return DomainSummary(
            self.uuid,
            self.name,
            self.id,
            self.state,
            self.reason,
            self.definition is not None,
            self.autostart,
            self.managed_save is not None,
            self.title,
        )
