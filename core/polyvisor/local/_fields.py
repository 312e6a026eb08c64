"""Changing a domain's documents: the live definition, the kept one, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.state import Document

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.local._hold import Hold
    from polyvisor.model import DomainSpec

__all__ = ["changed", "definition_of"]


def definition_of(hold: Hold) -> DomainSpec:
    """Return the definition that counts from the domain's next start on.

    Raises:
        OperationInvalid: it is transient.
    """
    definition = hold.known.definition
    if definition is None:
        raise hold.invalid("it is transient, there is no definition to change")
    return definition.spec()


def changed(
    hold: Hold, change: Callable[[DomainSpec], DomainSpec], *, live: bool, config: bool
) -> dict[str, Any]:
    """Return the new documents of a domain's record; nothing is recorded yet.

    Raises:
        InvalidArgument: neither is to be changed.
        OperationInvalid: there is no such document.
    """
    if not live and not config:
        raise InvalidArgument(
            f"{hold.operation} {hold.known.name!r}: say whether the running guest, the "
            f"definition, or both are to be changed"
        )
    changes: dict[str, Any] = {}
    if live:
        hold.need_active()
        changes["live"] = Document(change(hold.guest.spec))
    if config:
        changes["definition"] = Document(change(definition_of(hold)))
    return changes
