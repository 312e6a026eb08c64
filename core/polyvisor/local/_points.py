"""Names under which a host's store keeps things: checkpoints, words of monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["MONITOR", "checkpoint_family"]

#: Detail of the events of the kind ``guest`` that are a monitor's own words.
MONITOR = "monitor"


def checkpoint_family(uuid: UUID) -> str:
    """Return the family of objects under which a domain's checkpoints are kept."""
    return f"checkpoint:{uuid}"
