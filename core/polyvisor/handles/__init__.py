"""What hangs on a :class:`~polyvisor.domain.Domain`, by subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.handles._agent import AgentResult, DomainAgent
    from polyvisor.handles._debug import DomainDebug
    from polyvisor.handles._disks import DomainBackup, DomainCheckpoints, DomainDisks
    from polyvisor.handles._tuning import DomainTuning

__all__ = [
    "AgentResult",
    "DomainAgent",
    "DomainBackup",
    "DomainCheckpoints",
    "DomainDebug",
    "DomainDisks",
    "DomainTuning",
]

# Where they live; imported when they are first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "AgentResult": "_agent",
        "DomainAgent": "_agent",
        "DomainBackup": "_disks",
        "DomainCheckpoints": "_disks",
        "DomainDebug": "_debug",
        "DomainDisks": "_disks",
        "DomainTuning": "_tuning",
    },
)
