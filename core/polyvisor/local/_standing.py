"""Guests that are to stand still, and to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.events import EventKind
from polyvisor.local._keeper import LIVELY
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper

__all__ = ["resume", "stop_on_its_way", "suspend"]


def suspend(hold: Hold) -> None:
    """Stop a guest.

    Args:
        hold: its domain, which is active.

    Raises:
        OperationInvalid: it does not run.
    """
    state = hold.known.state
    if state not in LIVELY:
        raise hold.invalid(f"it is {state}")
    hold.keeper.hypervisor.suspend(hold.guest)
    hold.change((EventKind.SUSPENDED, "paused"), state=DomainState.PAUSED, reason=StateReason.USER)


def resume(hold: Hold) -> None:
    """Let a guest run on.

    Args:
        hold: its domain, which is active.

    Raises:
        OperationInvalid: it is not paused.
    """
    state = hold.known.state
    if state is not DomainState.PAUSED:
        raise hold.invalid(f"it is {state}")
    hold.keeper.hypervisor.resume(hold.guest)
    hold.change(
        (EventKind.RESUMED, "unpaused"), state=DomainState.RUNNING, reason=StateReason.UNPAUSED
    )


def stop_on_its_way(keeper: Keeper, uuid: UUID) -> bool:
    """Have a running guest that is being sent away stand still until it is over there.

    Returns:
        Whether whoever sends it was told; else it is not on its way, or not like that.
    """
    record = keeper.need(uuid)
    intent = record.intent or {}
    if intent.get("op") != "migrate-out" or intent["phase"] not in ("begun", "performing"):
        return False
    from polyvisor.local._departure import migrates_guests

    if record.state not in LIVELY or not migrates_guests(keeper.hypervisor).stops_on_wish:
        return False
    return keeper.home.jobs.wish(str(uuid), {"suspend": True})
