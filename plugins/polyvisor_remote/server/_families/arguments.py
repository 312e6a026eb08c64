"""What families share: domains as clients know them, and flags that they may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from polyvisor.states import DomainSummary
    from polyvisor_remote.server.session import Session

__all__ = ["check_flags", "reference", "summary_reference"]

_INVALID_ARG = 8


def check_flags(given: int, known: int, function: str) -> None:
    """Refuse flags that are not known, in libvirt's words.

    Raises:
        Failure: there is one.
    """
    if given & ~known:
        raise Failure(
            _INVALID_ARG, f"unsupported flags (0x{given & ~known:x}) in function {function}"
        )


def summary_reference(summary: DomainSummary) -> tuple[str, bytes, int]:
    """Return a domain as clients know it: name, UUID, number."""
    number = summary.id
    return summary.name, summary.uuid.bytes, -1 if number is None else number


def reference(session: Session, uuid: UUID) -> tuple[str, bytes, int]:
    """Return the domain with a UUID as clients know it.

    Raises:
        NotFound: there is none.
    """
    return summary_reference(session.driver.domains.summary(uuid))


def memory_kib(value: Any) -> int:
    """Return bytes as libvirt's KiB."""
    return int(value) // 1024
