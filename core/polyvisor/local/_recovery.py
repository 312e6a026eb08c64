"""Putting things right after a process was killed, or after a guest has ended of itself.

Called with the domain's lock held. Since the lock was free, nobody works on the domain
any more: an intent in its record was left by a process that is dead.

================ ====================================================================
intent           what is done
================ ====================================================================
``start``        the guest had never run for anybody: it is cleared away
``run``          the guest was whole and about to run: it is let run
``save``         the image was whole: it is put in its place and the guest goes;
                 it was not: it goes, and the guest runs on
``snapshot``     the same, but the guest runs on in both cases; new images that are not
                 used are removed, those that are become the domain's
``revert``       disks that were going back go back; or new images that are not used go
``snapshot-delete``  what was merged is recorded; what was not stays
``checkpoint``   it is not recorded: no account is kept from it on
``backup``       it was half begun: it is ended, and a checkpoint with it is no more
``undefine``     the rest of it is removed
``migrate-out``  the destination is asked, see :mod:`polyvisor.local._departure`
``migrate-in``   nobody had taken the domain over: it is given up, unless the guest is here
                 already by post-copy: then it is taken over, see
                 :mod:`polyvisor.local._switched`
``restart``      the guest had rebooted or crashed: it is started anew
``own``          the hypervisor's own affair: it settles it
================ ====================================================================
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.errors import Busy, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._hypervisor import Observation
from polyvisor.local._keeper import LIVELY, same_state
from polyvisor.state import FileIdentity
from polyvisor.state._files import part_of, remove_part
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.local._hold import Hold

__all__ = ["end_gone", "look", "settle"]


def settle(hold: Hold) -> None:
    """Bring record and guest together again."""
    record = hold.record
    if record is not None and record.intent is not None:
        _INTENTS[record.intent["op"]](hold)
        record = hold.record
    if record is None or not record.active or record.intent is not None:
        return
    seen = look(hold)
    if seen.state is DomainState.SHUTOFF:
        if not hold.keeper.must_end(record):
            hold.keeper.hypervisor.ended(hold.guest)
        if seen.restart:
            _start_anew(hold)
        else:
            end_gone(hold, seen.reason)
    else:
        if seen.rebooted:
            hold.change((EventKind.REBOOT, ""), state=seen.state, reason=seen.reason)
        elif not same_state(seen, record):
            _note(hold, seen)
        if "post_copy" in record.runtime:
            from polyvisor.local._switched import follow

            follow(hold)


def look(hold: Hold) -> Observation:
    """Look at the guest; one that cannot or must not be there counts as gone."""
    record = hold.known
    if hold.keeper.must_end(record):
        return Observation(
            DomainState.SHUTOFF, StateReason.DESTROYED if record.owner else StateReason.UNKNOWN
        )
    return hold.keeper.hypervisor.observe(hold.guest, deep=True)


def _note(hold: Hold, seen: Observation) -> None:
    """Record a state that the guest came into of itself."""
    reason = seen.reason
    happened: list[tuple[EventKind, str]] = []
    if seen.state in LIVELY:
        reason = StateReason.UNPAUSED if reason is StateReason.UNKNOWN else reason
        happened.append((EventKind.RESUMED, "unpaused"))
    elif seen.state is DomainState.PAUSED:
        happened.append((EventKind.SUSPENDED, SUSPENDED_DETAILS.get(reason, "paused")))
    elif seen.state is DomainState.CRASHED:
        happened.append((EventKind.CRASHED, "panicked"))
    elif seen.state is DomainState.PMSUSPENDED:
        happened.append((EventKind.PMSUSPENDED, "memory"))
    elif seen.state is DomainState.SHUTDOWN:
        happened.append((EventKind.SHUTDOWN, "finished"))
    hold.change(*happened, state=seen.state, reason=reason)


#: libvirt's ``virDomainEventSuspendedDetailType`` for a guest that paused of itself.
SUSPENDED_DETAILS = {StateReason.IOERROR: "ioerror", StateReason.WATCHDOG: "watchdog"}
#: libvirt's ``virDomainEventStoppedDetailType`` by the reason for being shut off.
STOPPED_DETAILS = {
    StateReason.SHUTDOWN: "shutdown",
    StateReason.DESTROYED: "destroyed",
    StateReason.CRASHED: "crashed",
    StateReason.PANICKED: "crashed",
    StateReason.MIGRATED: "migrated",
    StateReason.SAVED: "saved",
    StateReason.FROM_SNAPSHOT: "from-snapshot",
}


def end_gone(hold: Hold, reason: StateReason) -> None:
    """Clear away a guest that is gone, or that must not be there any more."""
    record = hold.known
    with suppress(PolyvisorError):  # What it leaves beside itself is not worth failing for.
        hold.keeper.hypervisor.destroy(hold.guest)
    happened = []
    if reason is StateReason.SHUTDOWN and record.state is not DomainState.SHUTDOWN:
        happened.append((EventKind.SHUTDOWN, "finished"))
    happened.append((EventKind.STOPPED, STOPPED_DETAILS.get(reason, "failed")))
    hold.end(reason, *happened)


def _start_anew(hold: Hold) -> None:
    """Make a new guest in place of one that has ended and is to be started again."""
    from polyvisor.local._launch import boot_anew

    boot_anew(hold)


def _not_started(hold: Hold) -> None:
    intent = hold.known.intent
    assert intent is not None
    hold.keeper.hypervisor.destroy(hold.guest)
    if "made" in intent:
        from polyvisor.local._snapshot_revert import unmade

        unmade(hold, intent["made"])
    hold.end(StateReason.FAILED, intent=None)


def _run_on(hold: Hold) -> None:
    """Let the guest run that was about to; the image it came from is used up."""
    from polyvisor.local._launch import let_run

    intent = hold.known.intent
    assert intent is not None
    seen = look(hold)
    if seen.state is not DomainState.SHUTOFF:
        let_run(hold)
        return
    if intent["image"] is not None:
        with suppress(OSError):
            os.unlink(intent["image"])
    if "snapshot" in intent:
        from polyvisor.local._snapshot_revert import reverted

        reverted(hold, intent["snapshot"])
    end_gone(hold, seen.reason)


def _end_save(hold: Hold) -> None:
    from polyvisor.local._save import stop_saved

    intent = hold.known.intent
    assert intent is not None
    path = intent["path"]
    if intent.get("identity"):
        image = FileIdentity(*intent["identity"])
        if FileIdentity.of(path) != image and FileIdentity.of(part_of(path)) == image:
            with suppress(OSError):
                os.rename(part_of(path), path)
        if FileIdentity.of(path) == image:
            stop_saved(hold)
            return
    _go_on(hold)


def _end_snapshot(hold: Hold) -> None:
    intent = hold.known.intent
    assert intent is not None
    if "plan" in intent:
        from polyvisor.local._snapshot_take import settle_taking

        settle_taking(hold)
        return
    _go_on(hold)
    known = {snapshot.path for snapshot in hold.keeper.home.store.snapshots(hold.uuid)}
    if intent["path"] not in known:
        with suppress(OSError):
            os.unlink(intent["path"])


def _go_on(hold: Hold) -> None:
    from polyvisor.local._save import go_on

    intent = hold.known.intent
    assert intent is not None
    seen = look(hold)
    if seen.state is DomainState.SHUTOFF:
        end_gone(hold, seen.reason)
    else:
        go_on(hold, abandoned=True)
    with suppress(Busy, OSError):
        remove_part(intent["path"])


def _end_revert(hold: Hold) -> None:
    from polyvisor.local._snapshot_revert import settle_reverting

    settle_reverting(hold)


def _end_delete(hold: Hold) -> None:
    from polyvisor.local._snapshot_delete import settle_deleting

    settle_deleting(hold)


def _end_checkpoint(hold: Hold) -> None:
    from polyvisor.local._checkpoints import settle_tracking

    settle_tracking(hold)


def _end_backup(hold: Hold) -> None:
    from polyvisor.local._backups import settle_backup

    settle_backup(hold)


def _undefine(hold: Hold) -> None:
    from polyvisor.local._domains import forget_definition

    forget_definition(hold)


def _depart(hold: Hold) -> None:
    from polyvisor.local._departure import settle_departure

    settle_departure(hold)


def _give_up_arrival(hold: Hold) -> None:
    from polyvisor.local._arrival import settle_arrival

    settle_arrival(hold)


def _own(hold: Hold) -> None:
    hold.keeper.hypervisor.settle(hold)


_INTENTS: dict[str, Callable[[Hold], None]] = {
    "start": _not_started,
    "run": _run_on,
    "save": _end_save,
    "snapshot": _end_snapshot,
    "revert": _end_revert,
    "snapshot-delete": _end_delete,
    "checkpoint": _end_checkpoint,
    "backup": _end_backup,
    "undefine": _undefine,
    "migrate-out": _depart,
    "migrate-in": _give_up_arrival,
    "restart": _start_anew,
    "own": _own,
}
