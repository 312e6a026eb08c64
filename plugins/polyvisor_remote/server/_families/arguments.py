"""What families share: domains as clients know them, and flags that they may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from polyvisor_remote.server.failures import Failure, unsupported

if TYPE_CHECKING:
    from polyvisor.states import DomainSummary
    from polyvisor_remote.server.session import Session

__all__ = [
    "CONFIG",
    "LIVE",
    "check_flags",
    "impact",
    "memory_kib",
    "need",
    "reference",
    "summary_reference",
]

_Part = TypeVar("_Part")

_INVALID_ARG = 8
#: ``virDomainModificationImpact``.
LIVE, CONFIG = 1, 2


def need(part: _Part | None, procedure: str, home: str = "remote") -> _Part:
    """Return a part of a driver, or say that there is none.

    Args:
        part: the part.
        procedure: what it is needed for.
        home: that procedure's program.

    Raises:
        Failure: there is none.
    """
    if part is None:
        raise unsupported(procedure, home)
    return part


def impact(
    session: Session, uuid: UUID, flags: int, function: str, *, also: int = 0
) -> dict[str, bool]:
    """Return whether the guest, the definition, or both are meant: what flags say.

    No flag means what there is now: the guest of an active domain, else the definition.

    Args:
        session: the client's.
        uuid: the domain.
        flags: the call's.
        function: its C function, for errors.
        also: flags of other meanings that the call knows.

    Raises:
        Failure: a flag is not known.
    """
    check_flags(flags, LIVE | CONFIG | also, function)
    if flags & (LIVE | CONFIG):
        return {"live": bool(flags & LIVE), "config": bool(flags & CONFIG)}
    active = session.driver.domains.summary(uuid).state.active
    return {"live": active, "config": not active}


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
