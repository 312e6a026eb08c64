"""What the families of host objects share: finding, listing and filtering them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.failures import function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polyvisor.objects import ObjectSummary


__all__ = ["LIST_FLAGS", "counted", "filtered", "key_of", "named", "reference"]

#: ``virConnectListAllNetworksFlags``, which pools have too: pairs, of which one is enough.
_INACTIVE, _ACTIVE, _PERSISTENT, _TRANSIENT, _AUTOSTART, _NO_AUTOSTART = (
    1 << bit for bit in range(6)
)
LIST_FLAGS = 63


def key_of(named_: Any) -> str:
    """Return the key of an object that a client named by its UUID."""
    return str(UUID(bytes=named_.uuid))


def reference(one: ObjectSummary) -> tuple[str, bytes]:
    """Return an object as clients know it: name and UUID."""
    return one.name, one.uuid.bytes if one.uuid is not None else bytes(16)


def filtered(found: Sequence[ObjectSummary], flags: int) -> list[ObjectSummary]:
    """Return the objects that flags choose."""
    pairs: list[tuple[int, int, Callable[[ObjectSummary], bool]]] = [
        (_ACTIVE, _INACTIVE, lambda one: one.active),
        (_PERSISTENT, _TRANSIENT, lambda one: one.persistent),
        (_AUTOSTART, _NO_AUTOSTART, lambda one: one.autostart),
    ]
    chosen = list(found)
    for yes, no, test in pairs:
        if (asked := flags & (yes | no)) in (yes, no):
            chosen = [one for one in chosen if test(one) is (asked == yes)]
    return chosen


def counted(
    found: Sequence[Any], arguments: Any, known: int, procedure: str
) -> tuple[list[Any], int]:
    """Return a list's answer: what was found, or how many if that is all that is asked.

    Args:
        found: references.
        arguments: the call's, with ``need_results`` and ``flags``.
        known: flags that the list knows.
        procedure: its name.
    """
    check_flags(arguments.flags, known, function_name(procedure))
    return (list(found) if arguments.need_results else []), len(found)


def named(found: Sequence[ObjectSummary], most: int, *, active: bool) -> list[str]:
    """Return the names of the active or the inactive ones, no more than asked for."""
    return [one.name for one in found if one.active is active][: max(0, most)]
