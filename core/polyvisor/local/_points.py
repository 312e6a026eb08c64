"""Where checkpoints are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["checkpoint_family"]


def checkpoint_family(uuid: UUID) -> str:
    """Return the family of objects under which a domain's checkpoints are kept."""
    return f"checkpoint:{uuid}"
