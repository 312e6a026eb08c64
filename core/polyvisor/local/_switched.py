"""Migrations that are switched before all memory is over there (post-copy), on either side.

The commit of the destination is the point at which ownership passes here as well, and the
destination runs the guest only after it. What differs is that nothing can be given up from
the switch on: a destination that nobody works on takes the domain over then, and a source is
not ended before the last page has left it. Which of both it is the hypervisor is asked.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from polyvisor.errors import HypervisorError, MigrationError, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._keeper import LIVELY
from polyvisor.local._switch import PostCopy, SwitchesGuests
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import LocalHypervisor
    from polyvisor.local._keeper import Keeper
    from polyvisor.local._rest import Rest

__all__ = [
    "ARRIVED",
    "CUT_OFF",
    "follow",
    "how_far",
    "is_switched",
    "left_behind",
    "note_leaving",
    "rest_of",
    "settle_leaving",
    "switches_guests",
    "wait_for_rest",
]

#: A guest's runtime fact at the destination: some of its memory may still be at the source.
ARRIVED = "post_copy"
#: What a hypervisor says of a stream that was cut off.
CUT_OFF = frozenset({PostCopy.BROKEN, PostCopy.LOST})
#: Seconds that a switch takes which was asked for: the hypervisor is in a pass over memory.
SWITCHING = 5.0


def switches_guests(hypervisor: LocalHypervisor) -> SwitchesGuests:
    """Return the hypervisor as one that switches guests."""
    if not isinstance(hypervisor, SwitchesGuests):
        raise HypervisorError(f"{hypervisor.name} cannot migrate guests by post-copy")
    return cast("SwitchesGuests", hypervisor)


def how_far(hold: Hold) -> PostCopy | None:
    """Ask the hypervisor how far the guest's migration is; ``None`` if its guest is gone."""
    if hold.keeper.must_end(hold.known):
        return None
    return switches_guests(hold.keeper.hypervisor).post_copy(hold.guest)


def is_switched(hold: Hold) -> bool:
    """Say whether the destination has the guest and part of its memory is still at the source."""
    return how_far(hold) in (PostCopy.FLOWING, *CUT_OFF)


# Source


def note_leaving(hold: Hold, far: PostCopy | None, **more: Any) -> None:
    """Record that the source has the rest of a guest that is over there."""
    intent = hold.known.intent
    assert intent is not None
    broken = far in CUT_OFF
    reason = StateReason.POSTCOPY_FAILED if broken else StateReason.POSTCOPY
    happened = []
    if hold.known.reason is not reason or hold.known.state in LIVELY:
        happened.append((EventKind.SUSPENDED, "post-copy-failed" if broken else "post-copy"))
    intent = {**intent, "phase": "post-copy", **more}
    hold.change(*happened, durable=True, state=DomainState.PAUSED, reason=reason, intent=intent)


def rest_of(hold: Hold, rest: Rest) -> dict[str, Any]:
    """Source: wait until all memory is over there, which has the domain.

    Returns:
        The figures of that, as far as they are known.

    Raises:
        MigrationError: the stream was cut off.
    """
    intent = hold.known.intent
    assert intent is not None
    peer = intent["peer"] or "its destination"
    note_leaving(hold, PostCopy.FLOWING, owner="destination")
    hold.tell()
    try:
        return rest.wait()
    except PolyvisorError as error:
        name = hold.known.name
        far = None
        with suppress(PolyvisorError):
            far = how_far(hold)
        there = _over_there(hold) if far in CUT_OFF else far
        if there is PostCopy.DONE:
            return {}  # Only its word of that was lost.
        if far not in CUT_OFF:
            # Waiting has failed; whoever next looks finds out about the guest.
            words = f"how it goes on is not known ({error.message})"
        elif not _left_behind(hold, there):
            words = (
                f"its guest was lost there before all of its memory had arrived, and what was "
                f"left of it here is gone too ({error.message})"
            )
        else:
            further = "until the migration is taken up again with post_copy_resume"
            if far is PostCopy.LOST:
                further = (
                    f"for good; then what is left is to destroy it there and on {hold.keeper.uri}"
                )
            words = (
                f"the stream was cut off before all of its memory had arrived ({error.message}); "
                f"it may stand still there {further}"
            )
        raise MigrationError(
            f"migrate {name!r}: {peer} has the domain, but {words}",
            phase="confirm",
            side="source",
            owner="destination",
            domain=name,
            operation="migrate",
        ) from error


def left_behind(hold: Hold) -> None:
    """Source: record a stream that was cut off; clear away what is of no use any more."""
    _left_behind(hold, _over_there(hold))


def _left_behind(hold: Hold, there: PostCopy | None) -> bool:
    """Do so, knowing how far the guest is over there; return whether anything is left here."""
    from polyvisor.local._departure import let_go

    if there in (None, PostCopy.DONE):
        let_go(hold)
        return False
    note_leaving(hold, PostCopy.BROKEN)
    hold.tell()
    return True


def _over_there(hold: Hold) -> PostCopy | None:
    """Ask the destination how far its guest is; ``None`` if it has none any more.

    That it is whole is believed only if it says so: whoever pauses or resumes a guest that is
    not leaves another reason.
    """
    from polyvisor.connection import open as open_connection

    intent = hold.known.intent
    assert intent is not None
    if intent["peer"] is not None and hold.keeper.home.roots is not None:
        with suppress(PolyvisorError), open_connection(intent["peer"]) as peer:
            domains = peer.driver.domains
            if not domains.exists(hold.uuid):
                return None
            status = domains.status(hold.uuid)
            if not status.state.active:
                return None
            if status.state in LIVELY and status.reason is StateReason.MIGRATED:
                return PostCopy.DONE
    return PostCopy.BROKEN


def settle_leaving(hold: Hold) -> bool:
    """Source: find out how far a migration is whose process was killed, and record it.

    Returns:
        Whether there was a switch, so that all is done; else it is as any other migration,
        and its stream does not flow any more.
    """
    from polyvisor.driver import Outcome
    from polyvisor.local._departure import ask, let_go

    intent = hold.known.intent
    assert intent is not None
    if hold.keeper.must_end(hold.known):
        return False
    far = how_far(hold)
    deadline = time.monotonic() + SWITCHING
    while far is PostCopy.AHEAD and intent["phase"] == "post-copy" and time.monotonic() < deadline:
        # The word may have been given just before the process was killed.
        time.sleep(0.02)
        far = how_far(hold)
    if far is PostCopy.AHEAD:
        switches_guests(hold.keeper.hypervisor).take_back(hold.guest)
        while ask(hold) is Outcome.UNKNOWN and time.monotonic() < deadline:
            time.sleep(0.05)
        return False
    if far not in (PostCopy.FLOWING, *CUT_OFF):
        if far is PostCopy.DONE and intent.get("owner") == "destination":
            let_go(hold)
            return True
        return False
    if intent.get("owner") == "destination":
        _noted(hold, far)
        return True
    answer = ask(hold)
    while answer is Outcome.UNKNOWN and time.monotonic() < deadline:
        time.sleep(0.05)  # What tells it that there was a switch is on its way.
        answer = ask(hold)
    if answer is Outcome.FINISHED:
        _noted(hold, far, owner="destination")
    elif answer is Outcome.ABORTED:
        why = "it has given it up after the switch, from which nothing leads back"
        note_leaving(hold, far, unsettled=why)
    else:
        why = "it cannot be reached" if answer is None else "it is still at work on it"
        note_leaving(hold, far, unsettled=why)
    return True


def _noted(hold: Hold, far: PostCopy, **more: Any) -> None:
    if far in CUT_OFF:
        intent = hold.known.intent
        assert intent is not None
        if more:
            hold.change(intent={**intent, "phase": "post-copy", **more}, durable=True)
        left_behind(hold)
        return
    wanted = StateReason.POSTCOPY
    if more or (hold.known.state, hold.known.reason) != (DomainState.PAUSED, wanted):
        note_leaving(hold, far, **more)


# Destination


def wait_for_rest(keeper: Keeper, uuid: UUID, job: Job) -> None:
    """Destination: wait until all of a guest's memory is here, which finish tells of.

    Others may work on the domain meanwhile; what its migration does is heard of by events.

    Raises:
        MigrationError: the stream was cut off, or the guest is gone.
        Cancelled: the job was; the migration is not.
    """
    from polyvisor.local._events import LocalEvents

    store, bell = keeper.home.store, keeper.home.bells.hang()
    listening = LocalEvents(keeper)
    stream = listening.stream()  # Somebody has to watch the guest as long as this is here.
    poller = select.poll()
    for waited in (bell, job):
        poller.register(waited, select.POLLIN)
    try:
        record = store.get(uuid)
        if record is not None:
            keeper.fresh(record, deep=True)
        while True:
            job.check()
            bell.silence()
            record = store.get(uuid)
            if record is None or not record.active:
                why = "its guest was lost there before all of its memory had arrived"
                raise _not_whole(keeper, uuid, why)
            if ARRIVED not in record.runtime:
                return
            if record.reason is StateReason.POSTCOPY_FAILED:
                raise _not_whole(
                    keeper,
                    uuid,
                    "the stream was cut off before all of its memory had arrived; its guest may "
                    "stand still there until the migration is taken up again with post_copy_resume",
                )
            poller.poll()
    finally:
        del stream
        listening.close()
        bell.close()


def _not_whole(keeper: Keeper, uuid: UUID, why: str) -> MigrationError:
    record = keeper.home.store.get(uuid)
    name = str(uuid) if record is None else record.name
    return MigrationError(
        f"migrate {name!r}: {keeper.uri} has the domain, but {why}",
        phase="finish",
        side="destination",
        owner="destination",
        domain=name,
        operation="migrate",
    )


def follow(hold: Hold) -> None:
    """Destination: record how far the memory is of a guest that runs already."""
    record = hold.known
    far = how_far(hold)
    if far is PostCopy.DONE or far is None:
        if far is PostCopy.DONE:
            switches_guests(hold.keeper.hypervisor).arrived(hold.guest)
        hold.guest.runtime.pop(ARRIVED, None)
        if record.reason not in (StateReason.POSTCOPY, StateReason.POSTCOPY_FAILED):
            hold.change()
        elif record.state in LIVELY:
            hold.change((EventKind.RESUMED, "migrated"), reason=StateReason.MIGRATED)
        else:
            hold.change(reason=StateReason.USER)
        return
    running, before = record.state in LIVELY, record.reason
    broken = far is PostCopy.BROKEN
    wanted = StateReason.POSTCOPY_FAILED if broken else StateReason.POSTCOPY
    ours = before in (StateReason.POSTCOPY, StateReason.POSTCOPY_FAILED)
    if before is wanted or not (running or record.state is DomainState.PAUSED):
        return
    if not running and not broken and not ours:
        return  # Somebody has paused it.
    kind = EventKind.RESUMED if running else EventKind.SUSPENDED
    hold.change((kind, "post-copy-failed" if broken else "post-copy"), reason=wanted)
