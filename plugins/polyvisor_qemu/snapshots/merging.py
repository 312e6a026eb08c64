"""Images whose data goes down into the ones below them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PolyvisorError, StorageError, Timeout
from polyvisor_qemu.imagetool import qemu_img
from polyvisor_qemu.jobs import failed
from polyvisor_qemu.nodes import chain_of, disk_of
from polyvisor_qemu.nodes import drop as drop_node
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest, Merge
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.nodes import Opened
    from polyvisor_qemu.qmp import Monitor

__all__ = ["merge", "merged"]

#: Seconds in which a job that was told to end has ended.
_ENDING = 60.0


def merge(
    hypervisor: QemuHypervisor, guest: Guest | None, merges: Sequence[Merge], job: Job
) -> None:
    """See :meth:`polyvisor.local.SnapshotsDisks.merge`."""
    live = [one for one in merges if guest is not None and one.active]
    for one in merges:
        if one in live:
            continue
        job.report("disks")
        job.check()
        qemu_img(
            "commit", "-q", "-d", "-f", "qcow2", "-b", one.lower, one.upper,
            path=one.upper, what="merge",
        )  # fmt: skip
    if guest is not None and live:
        guest.runtime["moved"] = True
        with hypervisor.monitor(guest) as monitor:
            _merge_live(monitor, guest, live, job)
    for one in merges:
        for path in one.above:
            qemu_img(
                "rebase", "-q", "-u", "-f", "qcow2", "-b", one.lower, "-F", one.format, path,
                path=path, what="move",
            )  # fmt: skip


def _merge_live(monitor: Monitor, guest: Guest, merges: Sequence[Merge], job: Job) -> None:
    begun: dict[str, tuple[Merge, list[Opened], Opened]] = {}
    try:
        for one in merges:
            chain = chain_of(monitor, guest.spec, disk_of(guest.spec, one.disk))
            upper = _layer(guest, chain, one.upper)
            lower = _layer(guest, chain, one.lower)
            name = f"{'active-' if upper is chain[0] else ''}commit-{one.disk}"
            monitor.execute(
                "block-commit", job_id=name, device=chain[0].node, top_node=upper.node,
                base_node=lower.node,
            )  # fmt: skip
            begun[name] = one, chain, upper
        active = {name for name, (_, chain, upper) in begun.items() if upper is chain[0]}
        _wait(monitor, set(begun), job, ready=active)
        if active:
            # What the guest writes from here on is in the lower image alone: until it is
            # recorded that the disk is that, it must not write.
            monitor.execute("stop")
            for name in active:
                monitor.execute("job-complete", id=name)
            _wait(monitor, active, None, ready=())
    except BaseException:
        for name in begun:
            with suppress(PolyvisorError):
                _cancel(monitor, name)
        raise
    for one, chain, _ in begun.values():
        kept = {o.node for o in chain_of(monitor, guest.spec, disk_of(guest.spec, one.disk))}
        for old in chain:
            if old.node not in kept:
                drop_node(monitor, old.node, path=old.path)


def _wait(monitor: Monitor, names: set[str], job: Job | None, *, ready: Iterable[str]) -> None:
    """Wait until jobs are over, or ready where they are to be that."""
    errors: dict[str, str] = {}
    deadline = None if job is not None else time.monotonic() + _ENDING
    while True:
        while (event := monitor.next_event(0)) is not None:
            data: dict[str, Any] = event.get("data", {})
            if event["event"] == "BLOCK_JOB_COMPLETED" and "error" in data:
                errors[data["device"]] = data["error"]
        there = {one["device"]: one for one in monitor.execute("query-block-jobs")}
        for name in names & errors.keys():
            raise failed(f"merge ({name})", errors[name])
        left = names & there.keys()
        lost = set(ready) - there.keys()
        if lost:
            raise StorageError(f"merge: the job {lost.pop()} has ended before its time")
        if job is not None:
            moving = [there[name] for name in left]
            total = sum(one["len"] for one in moving)
            done = sum(one["offset"] for one in moving)
            job.report("disks", total=total, processed=done, remaining=total - done)
            job.check()
        if all(name in ready and there[name]["ready"] for name in left):
            return
        if deadline is not None and time.monotonic() > deadline:
            raise Timeout(f"merge: {', '.join(left)} did not end in {_ENDING:g} s")
        if (event := monitor.next_event(0.1)) is not None:
            monitor.events.appendleft(event)  # for the next round


def _layer(guest: Guest, chain: list[Opened], path: str) -> Opened:
    for one in chain:
        if one.path == path:
            return one
    raise StorageError(f"{guest.name!r} has {path} open no more", path=path, domain=guest.name)


def _cancel(monitor: Monitor, name: str) -> None:
    with suppress(QmpError):
        monitor.execute("block-job-cancel", device=name, force=True)
    deadline = time.monotonic() + _ENDING
    while any(one["device"] == name for one in monitor.execute("query-block-jobs")):
        if time.monotonic() > deadline:
            raise Timeout(f"merge: {name} did not end in {_ENDING:g} s")
        monitor.next_event(0.05)


def merged(hypervisor: QemuHypervisor, guest: Guest | None, one: Merge) -> bool:
    """See :meth:`polyvisor.local.SnapshotsDisks.merged`."""
    if guest is None or not one.active:
        # Done or not, what is in the upper image lies rightly over the lower one.
        return False
    guest.runtime["moved"] = True
    with hypervisor.monitor(guest) as monitor:
        for kind in ("active-commit", "commit"):
            _cancel(monitor, f"{kind}-{one.disk}")
        chain = chain_of(monitor, guest.spec, disk_of(guest.spec, one.disk))
        return all(layer.path != one.upper for layer in chain)
