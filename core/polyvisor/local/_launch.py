"""Making guests run: from their definitions, and from images."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PolyvisorError, SemanticError
from polyvisor.events import EventKind
from polyvisor.local._keeper import this_process
from polyvisor.state import remove_tree
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.driver import DomainOptions
    from polyvisor.local._hold import Happened, Hold
    from polyvisor.local._hypervisor import Guest
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.state import Document

__all__ = [
    "announced",
    "boot",
    "boot_anew",
    "check_compatible",
    "completed",
    "let_run",
    "run_image",
]


def completed(keeper: Keeper, spec: DomainSpec, operation: str, *, kept: bool = True) -> DomainSpec:
    """Return a definition as it is to be kept: with UUID, without number, with defaults.

    Args:
        keeper: whose domain it becomes.
        spec: the definition.
        operation: for errors.
        kept: it is to be kept; else it is to run at once.

    Raises:
        SpecError: this hypervisor cannot run such a machine.
    """
    import attrs

    hypervisor = keeper.hypervisor
    if spec.type not in hypervisor.domain_types:
        known = ", ".join(hypervisor.domain_types)
        raise SemanticError(
            f"{operation} {spec.name!r}: {hypervisor.name} does not run domains of type "
            f"{spec.type!r}; it runs: {known}",
            domain=spec.name,
            operation=operation,
            element="domain",
            fault=f"type {spec.type!r}",
        )
    spec = spec.with_uuid()
    if spec.id is not None:
        spec = attrs.evolve(spec, id=None)
    return hypervisor.complete(spec) if kept else hypervisor.complete_to_run(spec)


def announced(keeper: Keeper, spec: DomainSpec) -> DomainSpec:
    """Return the definition to start, as hooks changed it.

    Raises:
        Vetoed: a hook refused.
        SemanticError: a hook gave it another identity.
    """
    changed = keeper.hooks.domain_starting(keeper.uri, spec)
    if changed is not spec and (changed.name, changed.uuid) != (spec.name, spec.uuid):
        raise SemanticError(
            f"start {spec.name!r}: a hook gave it the name {changed.name!r} and the UUID "
            f"{changed.uuid}; hooks may change everything but those",
            domain=spec.name,
            operation="start",
        )
    return changed


def check_compatible(old: DomainSpec, new: DomainSpec, operation: str) -> None:
    """Refuse a definition with which the guest that runs with ``old`` cannot go on.

    Raises:
        SemanticError: names the first difference that the guest would notice.
    """
    from polyvisor.model.diff import abi_difference

    difference = abi_difference(old, new)
    if difference is not None:
        raise SemanticError(
            f"{operation} {old.name!r}: the given definition is another machine than the one "
            f"the guest knows: {difference}",
            domain=old.name,
            operation=operation,
            element=difference.path,
        )


def boot(hold: Hold, spec: DomainSpec, options: DomainOptions) -> None:
    """Start an inactive or new domain afresh."""
    hypervisor = hold.keeper.hypervisor
    before = hold.record
    spec = announced(hold.keeper, spec)
    hypervisor.check_start(spec)
    guest = hold.begin(
        spec,
        {"op": "start"},
        definition=before.definition if before is not None else None,
        owner=this_process() if options.autodestroy else None,
    )
    happened: list[Happened] = [(EventKind.STARTED, "booted")]
    try:
        guest.runtime = hypervisor.launch(guest, spec)
        if options.paused:
            happened.append((EventKind.SUSPENDED, "paused"))
            state, reason = DomainState.PAUSED, StateReason.USER
        else:
            hypervisor.resume(guest)
            state, reason = DomainState.RUNNING, StateReason.BOOTED
        hold.change(*happened, state=state, reason=reason, intent=None)
    except BaseException:
        # What cannot be cleared away now stays recorded, and is when the domain is next
        # touched; the caller hears what went wrong first.
        with suppress(PolyvisorError):
            hold.undo(before)
        raise


def boot_anew(hold: Hold) -> None:
    """Start an active domain afresh whose guest has ended; it stays as persistent as it is."""
    import attrs

    hypervisor = hold.keeper.hypervisor
    record = hold.known
    live = record.live
    assert live is not None
    spec = attrs.evolve(live.spec(), id=None)
    hold.change(intent={"op": "restart"})
    hypervisor.destroy(hold.guest)
    if record.run_dir is not None:
        remove_tree(record.run_dir)
    guest = hold.begin(spec, {"op": "restart"}, definition=record.definition, owner=record.owner)
    try:
        guest.runtime = hypervisor.launch(guest, spec)
        hypervisor.resume(guest)
        hold.change(
            (EventKind.REBOOT, ""),
            state=DomainState.RUNNING,
            reason=StateReason.BOOTED,
            intent=None,
        )
    except BaseException:
        with suppress(PolyvisorError):
            hypervisor.destroy(hold.guest)
        hold.end(StateReason.FAILED, (EventKind.STOPPED, "failed"))
        raise


def run_image(
    hold: Hold,
    spec: DomainSpec,
    make: Callable[[Guest], dict[str, Any]],
    *,
    run: bool,
    reason: StateReason,
    image: str | None = None,
    owner: str | None = None,
    definition: Document | None = None,
    more: dict[str, Any] | None = None,
) -> None:
    """Start an inactive or new domain with a guest that ``make`` reads from somewhere.

    Args:
        hold: the domain.
        spec: what is to run.
        make: makes the guest, stopped, and returns its runtime facts.
        run: whether it is to run then, or to stay paused.
        reason: how the domain came to run.
        image: a file that is used up with this.
        owner: the process whose end destroys the domain.
        definition: what is kept of a persistent domain from now on; ``None``: as before.
        more: what the intents say beyond that.
    """
    before = hold.record
    kept = before.definition if before is not None else None
    more = more or {}
    guest = hold.begin(spec, {"op": "start", **more}, definition=kept, owner=owner)
    try:
        guest.runtime = make(guest)
        # From here on the guest is complete and what it came from may be used up: a
        # process that comes after us lets it run.
        intent = {**more, "op": "run", "run": run, "reason": str(reason), "image": image}
        changes: dict[str, Any] = {"managed_save": None} if image is not None else {}
        if definition is not None:
            changes["definition"] = definition
        hold.change(intent=intent, durable=bool(changes), **changes)
    except BaseException:
        with suppress(PolyvisorError):
            hold.undo(before)
        raise
    let_run(hold)


_DETAILS = {
    StateReason.RESTORED: "restored",
    StateReason.MIGRATED: "migrated",
    StateReason.POSTCOPY: "post-copy",
    StateReason.FROM_SNAPSHOT: "from-snapshot",
}


def let_run(hold: Hold, more: Callable[[], dict[str, Any]] = dict) -> None:
    """Carry out the intent ``run``: the guest is complete and stands still.

    Args:
        hold: the domain.
        more: gives further new values of the record's fields, once the guest runs.
    """
    from polyvisor.state._files import remove_file

    intent = hold.known.intent
    assert intent is not None
    reason = StateReason(intent["reason"])
    detail = _DETAILS[reason]
    if intent["run"]:
        hold.keeper.hypervisor.resume(hold.guest)
    if intent["image"] is not None:
        remove_file(intent["image"])
    if "snapshot" in intent:
        from polyvisor.local._snapshot_revert import reverted

        reverted(hold, intent["snapshot"])
    happened: list[Happened] = []
    if reason not in (StateReason.MIGRATED, StateReason.POSTCOPY):
        happened.append((EventKind.STARTED, detail))
        if not intent["run"]:
            happened.append((EventKind.SUSPENDED, detail))
    elif intent["run"]:
        happened.append((EventKind.RESUMED, detail))
    else:
        happened.append((EventKind.SUSPENDED, "paused"))
    changes = more()
    if intent["run"]:
        changes |= {"state": DomainState.RUNNING, "reason": reason}
    else:
        from_snapshot = reason is StateReason.FROM_SNAPSHOT
        still = reason if from_snapshot else StateReason.USER
        changes |= {"state": DomainState.PAUSED, "reason": still}
    hold.change(*happened, intent=None, **changes)
