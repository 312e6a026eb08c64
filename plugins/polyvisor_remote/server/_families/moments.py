"""What snapshots and checkpoints share: libvirt calls both of them moments of a domain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from polyvisor.errors import AlreadyExists
from polyvisor_remote.server.failures import Failure

__all__ = ["in_moments_words", "need_none", "need_parent"]

_INVALID_ARG, _OPERATION_FAILED, _OPERATION_UNSUPPORTED = 8, 9, 84


@contextmanager
def in_moments_words(name: str | None) -> Iterator[None]:
    """Say in libvirt's words that there is a moment of that name."""
    try:
        yield
    except AlreadyExists as error:
        raise Failure(_OPERATION_FAILED, f"domain moment {name} already exists") from error


def need_parent(name: str | None, parent: str | None, known: Collection[str]) -> None:
    """Refuse a moment that is taken back before its parent.

    Raises:
        Failure: the parent is not known.
    """
    if parent is not None and parent not in known:
        raise Failure(_INVALID_ARG, f"parent {parent} for moment {name} not found")


def need_none(found: Sequence[object], kind: str, other: str) -> None:
    """Refuse a moment of a kind while there are some of the other.

    Raises:
        Failure: there are.
    """
    if found:
        raise Failure(_OPERATION_UNSUPPORTED, f"cannot create {kind} while {other} exists")
