"""Leases of a lock manager."""

from __future__ import annotations

from polyvisor.model._codecs import ULONG
from polyvisor.model.binding import Element, attr, child, element, value

__all__ = ["Lease", "LeaseTarget"]


@element(kw_only=True)
class LeaseTarget(Element):
    """Where the lease is kept."""

    path: str | None = attr()
    offset: int | None = attr(ULONG)


@element(kw_only=True)
class Lease(Element):
    """A lease that the domain holds while it runs."""

    lockspace: str | None = value()
    key: str | None = value()
    target: LeaseTarget | None = child(LeaseTarget)
