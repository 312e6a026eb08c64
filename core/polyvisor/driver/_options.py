"""How domains are started, saved and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["DomainOptions", "SaveOptions"]


@attrs.frozen
class DomainOptions:
    """How to start a domain.

    Attributes:
        paused: leave its vCPUs stopped.
        autodestroy: destroy it when the connection closes.
        force_boot: boot afresh even if there is a managed save image, and drop that.
    """

    paused: bool = False
    autodestroy: bool = False
    force_boot: bool = False


@attrs.frozen
class SaveOptions:
    """How to save or restore.

    Attributes:
        paused: whether the guest is to be paused after restoring, or running;
            ``None``: as it was when it was saved.
        spec: a changed definition to store or to restore with, or ``None``.
        compression: ``"none"``, ``"gzip"``, ``"zstd"`` …; ``None``: as configured.
    """

    paused: bool | None = None
    spec: DomainSpec | None = None
    compression: str | None = None
