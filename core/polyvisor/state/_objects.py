"""What a store keeps of host objects that are not domains."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["ObjectRecord"]


@attrs.frozen
class ObjectRecord:
    """One object of the host that is not a domain.

    Attributes:
        family: ``"network"``, ``"pool"`` …
        key: its UUID as text, or its name where its family has no UUIDs.
        name: its name, unique in its family.
        definition: its document as it is kept; ``None`` for a transient one.
        live: its document while it is active.
        autostart: whether it starts with the host.
        boot_id: the boot of the host in which it was started.
        data: what its family keeps beside that, plain JSON values.
    """

    family: str
    key: str
    name: str
    definition: str | None = None
    live: str | None = None
    autostart: bool = False
    boot_id: str | None = None
    data: dict[str, Any] = attrs.field(factory=dict)

    @property
    def active(self) -> bool:
        """Whether it is there now."""
        return self.live is not None
